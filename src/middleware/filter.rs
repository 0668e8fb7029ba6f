//! The filter: paths whose requests do not replicate attribute writes, as Tomcat's `filter`.

use std::fmt;

use regex::{Regex, RegexBuilder};
use regex_syntax::{
    ast::{self, Ast, RepetitionKind, parse::Parser},
    hir::translate::Translator,
};
use serde::{Deserialize, Deserializer, de};

/// Patterns of paths. A path is filtered when one of them matches the whole of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter(Vec<Regex>);

impl Filter {
    pub(super) fn add(&mut self, pattern: &str) -> Result<(), FilterError> {
        let regex = compile(pattern)?;
        if pattern.contains(';') {
            crate::log::warn!(
                filter = pattern,
                "the filter has a `;`, which no path has as a separator: \
                 call with_filter once for each pattern"
            );
        }
        self.0.push(regex);
        Ok(())
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn matches(&self, path: &str) -> bool {
        self.0.iter().any(|regex| regex.is_match(path))
    }
}

/// Checks a pattern.
#[cfg(feature = "server-xml")]
pub(crate) fn check_filter(pattern: &str) -> Result<(), FilterError> {
    compile(pattern).map(drop)
}

/// The reason why a pattern is no filter.
///
/// Its text shows the pattern with a mark under the position.
#[derive(Clone, PartialEq, Eq)]
pub struct FilterError {
    pattern: String,
    /// Bytes before the place; `None` when the pattern as a whole is at fault.
    at: Option<usize>,
    problem: String,
    hint: Option<&'static str>,
}

impl FilterError {
    /// Returns the pattern as it was given.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Returns where the pattern goes wrong, in bytes from its start; `None` when it is too large.
    #[must_use]
    pub const fn position(&self) -> Option<usize> {
        self.at
    }
}

/// Reads a list of patterns.
impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut filter = Self::default();
        for pattern in Vec::<String>::deserialize(deserializer)? {
            filter.add(&pattern).map_err(de::Error::custom)?;
        }
        Ok(filter)
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pattern,
            at,
            problem,
            hint,
        } = self;
        write!(f, "invalid filter: {problem}")?;
        match at {
            Some(at) => {
                let before = pattern.get(..*at).unwrap_or(pattern).chars().count();
                // A width in the format string panics beyond 65 535.
                let space = " ".repeat(before);
                write!(f, " at position {at}\n    {pattern}\n    {space}^")?;
            }
            None => write!(f, "\n    {pattern}")?,
        }
        match hint {
            Some(hint) => write!(f, "\n{hint}"),
            None => Ok(()),
        }
    }
}

/// Shows the same text as `Display`, since a `main` that returns an error shows its `Debug`.
impl fmt::Debug for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for FilterError {}

fn compile(pattern: &str) -> Result<Regex, FilterError> {
    let error = |at, problem, hint| FilterError {
        pattern: pattern.to_owned(),
        at,
        problem,
        hint,
    };
    let tree = Parser::new().parse(pattern).map_err(|found| {
        let at = found.span().start.offset;
        error(
            Some(at),
            problem(found.kind()),
            hint(found.kind(), pattern, at),
        )
    })?;
    if let Some(at) = possessive_quantifier(&tree) {
        let problem = "possessive quantifiers are not supported".to_owned();
        return Err(error(Some(at), problem, Some(JAVA_SYNTAX)));
    }
    Translator::new()
        .translate(pattern, &tree)
        .map_err(|found| {
            let at = found.span().start.offset;
            error(Some(at), found.kind().to_string(), None)
        })?;
    anchored(pattern).map_err(|found| error(None, found.to_string(), None))
}

/// Compiles a pattern that matches the whole path, as Tomcat does.
fn anchored(pattern: &str) -> Result<Regex, regex::Error> {
    let regex = |text: &str| RegexBuilder::new(text).nest_limit(NEST_LIMIT).build();
    regex(&format!(r"\A(?:{pattern})\z")).or_else(|found| match found {
        // In verbose mode a comment may run to the end of the line, and over our parenthesis.
        regex::Error::Syntax(_) => regex(&format!("\\A(?:{pattern}\n)\\z")),
        other => Err(other),
    })
}

fn problem(kind: &ast::ErrorKind) -> String {
    match kind {
        ast::ErrorKind::UnsupportedLookAround => "look-around is not supported".to_owned(),
        ast::ErrorKind::UnsupportedBackreference => "back-references are not supported".to_owned(),
        other => other.to_string(),
    }
}

fn hint(kind: &ast::ErrorKind, pattern: &str, at: usize) -> Option<&'static str> {
    let rest = pattern.get(at..).unwrap_or_default();
    let is_java = matches!(
        kind,
        ast::ErrorKind::UnsupportedLookAround | ast::ErrorKind::UnsupportedBackreference
    ) || rest.starts_with("(?>")
        || pattern
            .get(..at)
            .is_some_and(|before| before.ends_with("(?") && rest.starts_with('>'));
    if is_java {
        Some(JAVA_SYNTAX)
    } else if pattern.contains(';') {
        Some(NO_SEPARATOR)
    } else {
        None
    }
}

/// Returns where `*+`, `++`, `?+` or `}+` stands: legal here, but with another meaning than in
/// Java.
fn possessive_quantifier(tree: &Ast) -> Option<usize> {
    struct Finder(Option<usize>);

    impl ast::Visitor for Finder {
        type Output = Option<usize>;
        type Err = ();

        fn finish(self) -> Result<Option<usize>, ()> {
            Ok(self.0)
        }

        fn visit_pre(&mut self, ast: &Ast) -> Result<(), ()> {
            if let Ast::Repetition(outer) = ast
                && matches!(outer.op.kind, RepetitionKind::OneOrMore)
                && matches!(*outer.ast, Ast::Repetition(_))
            {
                self.0 = self.0.or(Some(outer.op.span.start.offset));
            }
            Ok(())
        }
    }

    ast::visit(tree, Finder(None)).unwrap_or(None)
}

/// More than the parser's own 250, so that the anchors around a pattern do not make it too deep.
const NEST_LIMIT: u32 = 260;
const JAVA_SYNTAX: &str = "this is Java syntax, which matching in linear time does not have: \
     write it without, for example with several calls of with_filter";
const NO_SEPARATOR: &str =
    "`;` does not separate patterns (it did up to Tomcat 6): call with_filter once for each";

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(patterns: &[&str]) -> Filter {
        let mut filter = Filter::default();
        for pattern in patterns {
            filter.add(pattern).expect("valid pattern");
        }
        filter
    }

    fn refusal(pattern: &str) -> FilterError {
        compile(pattern).expect_err("should be refused")
    }

    #[test]
    fn debug_of_a_refusal_shows_where_the_pattern_goes_wrong() {
        let refusal = refusal("/a(");
        assert_eq!(format!("{refusal:?}"), refusal.to_string());
    }

    #[test]
    fn any_pattern_must_match_the_whole_path() {
        let filter = filter(&[r".*\.(gif|js)", r"/static/.*"]);
        for path in ["/a.gif", "/b/c.js", "/static/", "/static/x"] {
            assert!(filter.matches(path), "{path}");
        }
        for path in ["/a.gif/edit", "/a.gifs", "/x/static/y", ""] {
            assert!(!filter.matches(path), "{path}");
        }
    }

    #[test]
    fn alternatives_cannot_escape_the_anchors() {
        let filter = filter(&["/a|/b"]);
        assert!(filter.matches("/a") && filter.matches("/b"));
        assert!(!filter.matches("/ab") && !filter.matches("x/b"));
    }

    #[test]
    fn verbose_mode_with_a_comment_is_anchored_too() {
        let filter = filter(&["(?x) /a # the letter"]);
        assert!(filter.matches("/a"));
        assert!(!filter.matches("/ab"));
    }

    #[test]
    fn unclosed_group_of_the_how_to_shows_pattern_and_position() {
        let pattern = r".*\.(gif|.*\.(js|.*\.(jpg|.*\.(png|.*\.(htm|.*\.(html|.*\.(css|.*\.(txt|;";
        let error = refusal(pattern);
        let shown = error.to_string();
        let at = pattern.rfind('(').expect("the last group");
        assert_eq!(error.position(), Some(at), "{shown}");
        assert!(shown.contains(&format!("unclosed group at position {at}\n")));
        assert!(shown.contains(pattern), "{shown}");
        assert!(shown.contains("`;` does not separate patterns"), "{shown}");
        let mark = shown.lines().nth(2).expect("a line with the mark");
        assert_eq!(mark, format!("    {:at$}^", ""));
    }

    #[test]
    fn escaped_letter_of_the_how_to_shows_pattern_and_position() {
        let error = refusal(r".*\.gif;.*\js;.*\jpg;.*\png;.*\html;.*\html;.*\css;.*\txt;");
        let shown = error.to_string();
        assert_eq!(error.position(), Some(10), "{shown}");
        assert!(
            shown.contains("unrecognized escape sequence at position 10"),
            "{shown}"
        );
    }

    #[test]
    fn mistake_far_to_the_right_is_shown() {
        let error = refusal(&format!("{}(", "a".repeat(70_000)));
        assert_eq!(error.position(), Some(70_000));
        assert!(error.to_string().ends_with(" ^"));
    }

    #[test]
    fn java_syntax_is_named() {
        for (pattern, at) in [
            ("/(?!static).*", 1),
            ("/(?=x).*", 1),
            (".*(?<=gif)", 2),
            (".*(?<!gif)", 2),
            (r"(a)\1", 3),
            (".*+gif", 2),
            ("a++", 2),
            ("a{2}+", 4),
            ("(?>a)b", 2),
        ] {
            let error = refusal(pattern);
            let shown = error.to_string();
            assert!(shown.contains("Java syntax"), "{shown}");
            assert_eq!(error.position(), Some(at), "{shown}");
        }
    }

    #[test]
    fn grouped_repetition_is_not_possessive() {
        assert!(filter(&["(?:a*)+", "(a+)+b"]).matches("aa"));
    }

    #[test]
    fn size_limit_is_an_error() {
        let error = refusal(r"(?:\w{1000}){1000}");
        assert_eq!(error.position(), None);
        assert!(error.to_string().contains("size limit"), "{error}");
    }

    #[test]
    fn unknown_classes_are_refused_with_their_position() {
        assert_eq!(refusal(r"/a\p{Nonsense}").position(), Some(2));
    }
}

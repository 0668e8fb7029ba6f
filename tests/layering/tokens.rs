//! Just enough of a lexer to tell paths from comments and strings.

/// A word, `::`, or a single other character.
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// The tokens of a file without comments, strings and character literals.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(length) = next_length(rest) {
        let (token, after) = rest.split_at(length);
        let is_word = token.starts_with(is_word_char);
        if token == "::" || is_word || (length == 1 && !token.trim().is_empty()) {
            let text = token.to_owned();
            tokens.push(Token { text, line });
        }
        line += token.matches('\n').count();
        rest = after;
    }
    tokens
}

pub(crate) fn is_path_start(tokens: &[Token], at: usize) -> bool {
    // A leading `::` makes the path start at another crate's root, which is no business of ours.
    at == 0 || tokens[at - 1].text != "::"
}

pub(crate) fn after_separator(tokens: &[Token], at: usize) -> Option<usize> {
    let is_separator = tokens.get(at + 1)?.text == "::";
    (is_separator && at + 2 < tokens.len()).then_some(at + 2)
}

fn next_length(text: &str) -> Option<usize> {
    let first = text.chars().next()?;
    let length = if text.starts_with("//") {
        text.find('\n').unwrap_or(text.len())
    } else if text.starts_with("/*") {
        comment_length(text)
    } else if let Some(length) = raw_string_length(text) {
        length
    } else if first == '"' {
        quoted_length(text, '"')
    } else if first == '\'' && is_char_literal(text) {
        quoted_length(text, '\'')
    } else if text.starts_with("::") {
        2
    } else if is_word_char(first) {
        text.find(|c| !is_word_char(c)).unwrap_or(text.len())
    } else {
        first.len_utf8()
    };
    Some(length)
}

/// Block comments nest.
fn comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn raw_string_length(text: &str) -> Option<usize> {
    let start = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let content = start.trim_start_matches('#');
    let hashes = start.len() - content.len();
    let content = content.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = content
        .find(&end)
        .map_or(content.len(), |at| at + end.len());
    Some(text.len() - content.len() + length)
}

fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A quote also begins a lifetime.
fn is_char_literal(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    chars.next() == Some('\\') || chars.next() == Some('\'')
}

const fn is_word_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

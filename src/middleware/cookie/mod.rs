//! The session cookie: its rules, how it is found in a request, how it is set and removed.
//!
//! A name with the `__Host-` prefix is accepted by browsers only with `Secure`, `Path=/` and no
//! `Domain`, one with `__Secure-` only with `Secure`, one with `__Http-` or `__Host-Http-` only with
//! `HttpOnly` besides. `SameSite=None` needs `Secure`, and `Partitioned` needs both. A browser drops
//! a cookie that breaks these rules without a word, so they are checked at start.

pub(super) mod request_cookies;
pub(super) mod seal;

use cookie::{Cookie, Expiration, time};
use http::HeaderValue;
use memchr::{memchr, memmem};
use serde::{Deserialize, Serialize};

use self::seal::{OpenedCookie, Seal, SealRules};
use super::layer_error::LayerError;
use crate::session::{CookieValue, Route, is_of_layer, is_token};

/// The requests from other sites with which a browser sends the session cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SameSite {
    /// None. A user who follows a link from elsewhere arrives without the session.
    Strict,
    /// Top-level navigation only. The default.
    #[default]
    Lax,
    /// All, as embedded apps need it. Requires `Secure`.
    None,
}

/// The rules of the cookie, as the layer's setters or a configuration say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CookieRules {
    /// `None`: the default name, which depends on the context.
    pub(crate) name: Option<String>,
    pub(crate) secure: bool,
    pub(crate) http_only: bool,
    pub(crate) same_site: SameSite,
    pub(crate) domain: Option<String>,
    pub(crate) path: String,
    pub(crate) persistent: bool,
    pub(crate) partitioned: bool,
    #[serde(skip)]
    pub(crate) seal: SealRules,
    /// Whether to work over plain HTTP: without `Secure` and without a prefix that requires it.
    #[serde(rename = "insecure_for_development")]
    pub(crate) development: bool,
}

/// The end of a cookie that outlives its browser.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CookieEnd {
    max_age: time::Duration,
    expires: Option<time::OffsetDateTime>,
}

impl CookieEnd {
    /// 400 days, which browsers shorten longer lives to.
    pub(crate) const LONGEST_MS: u64 = 400 * 24 * 60 * 60 * 1000;

    /// Returns the end of a cookie that is sent at `wall_ms`, in whole seconds.
    pub(crate) fn after(left_ms: u64, wall_ms: u64) -> Self {
        let seconds = |ms: u64| i64::try_from(ms.div_ceil(1000)).unwrap_or(i64::MAX);
        let max_age = time::Duration::seconds(seconds(left_ms.min(Self::LONGEST_MS)));
        let sent = time::OffsetDateTime::from_unix_timestamp(seconds(wall_ms));
        Self {
            max_age,
            // A clock may stand at a year that no date has.
            expires: sent.ok().and_then(|sent| sent.checked_add(max_age)),
        }
    }
}

impl Default for CookieRules {
    fn default() -> Self {
        Self {
            name: None,
            secure: true,
            http_only: true,
            same_site: SameSite::default(),
            domain: None,
            path: "/".to_owned(),
            persistent: false,
            partitioned: false,
            seal: SealRules::default(),
            development: false,
        }
    }
}

impl CookieRules {
    /// Checks the rules, and returns the cookie of `context`; `None` is the app without one.
    pub(crate) fn check(&self, context: Option<&str>) -> Result<SessionCookie, LayerError> {
        if let Some(context) = context
            && (context.is_empty() || !is_of_layer(context))
        {
            return Err(LayerError::InvalidContext {
                context: context.to_owned(),
            });
        }
        let name = self.effective_name(context);
        let secure = self.secure && !self.development;
        if !is_token(&name) || name.len() > MAX_NAME_LENGTH {
            return Err(LayerError::InvalidName { name });
        }
        let is_path = self.path.starts_with('/') && self.path.bytes().all(is_path_byte);
        if !is_path || self.path.len() > MAX_PATH_LENGTH {
            return Err(LayerError::InvalidPath {
                path: self.path.clone(),
            });
        }
        if let Some(domain) = &self.domain
            && !((1..=MAX_DOMAIN_LENGTH).contains(&domain.len())
                && domain.bytes().all(is_domain_byte))
        {
            return Err(LayerError::InvalidDomain {
                domain: domain.clone(),
            });
        }
        let prefix = Prefix::of(&name);
        if let Some(prefix) = prefix
            && let Some((why, fix)) = self.broken_rule(prefix, secure)
        {
            let prefix = prefix.text;
            return Err(LayerError::Prefix {
                name,
                prefix,
                why,
                fix,
            });
        }
        if self.same_site == SameSite::None && !secure {
            return Err(LayerError::SameSiteNone);
        }
        if self.partitioned && !(secure && self.same_site == SameSite::None) {
            return Err(LayerError::Partitioned);
        }
        Ok(SessionCookie {
            token_name: CookieName::new(format!("{name}{TOKEN_SUFFIX}")),
            name: CookieName::new(name),
            seal: self.seal.check()?,
            follows: None,
            rules: Self {
                secure,
                ..self.clone()
            },
        })
    }

    fn effective_name(&self, context: Option<&str>) -> String {
        let name = match (&self.name, context) {
            (Some(name), _) => name.clone(),
            (None, None) => DEFAULT_NAME.to_owned(),
            (None, Some(context)) => format!("{DEFAULT_NAME}-{context}"),
        };
        match Prefix::of(&name).filter(|_| self.development) {
            Some(prefix) => name[prefix.text.len()..].to_owned(),
            None => name,
        }
    }

    /// Returns the rule of the prefix that these break, and the call that mends it.
    const fn broken_rule(
        &self,
        prefix: &Prefix,
        secure: bool,
    ) -> Option<(&'static str, &'static str)> {
        if !secure {
            Some(("without `Secure`", "leave out `with_secure(false)`"))
        } else if prefix.http_only && !self.http_only {
            Some(("without `HttpOnly`", "leave out `with_http_only(false)`"))
        } else if prefix.host && self.domain.is_some() {
            Some(("with a `Domain`", "leave out `with_domain`"))
        } else if prefix.host && self.path.len() != 1 {
            Some(("with a `Path` other than `/`", "leave out `with_path`"))
        } else {
            None
        }
    }
}

/// The start of a name by which browsers keep a cookie only with certain attributes. All need
/// `Secure`.
struct Prefix {
    text: &'static str,
    /// Whether it needs `Path=/` and no `Domain`.
    host: bool,
    http_only: bool,
}

impl Prefix {
    fn of(name: &str) -> Option<&'static Self> {
        // Browsers compare them without regard to case.
        let has = |prefix: &&Self| {
            let start = name.get(..prefix.text.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.text))
        };
        PREFIXES.iter().find(has)
    }

    const fn new(text: &'static str, host: bool, http_only: bool) -> Self {
        Self {
            text,
            host,
            http_only,
        }
    }
}

/// A cookie whose rules are checked.
#[derive(Clone, Debug)]
pub(crate) struct SessionCookie {
    name: CookieName,
    /// The name of the cookie that tells what the client has written. It has the prefix of the
    /// other, and the same attributes.
    token_name: CookieName,
    seal: Seal,
    /// The route that every value gets, whatever that of its session is.
    follows: Option<Route>,
    rules: CookieRules,
}

impl SessionCookie {
    /// Has every value that is given out end in this route, also in place of another one.
    pub(crate) fn follow(&mut self, route: Route) {
        self.follows = Some(route);
    }

    pub(crate) fn name(&self) -> &str {
        &self.name.text
    }

    pub(crate) fn token_name(&self) -> &str {
        &self.token_name.text
    }

    pub(crate) fn is_persistent(&self) -> bool {
        self.rules.persistent
    }

    /// Returns whether a `Cookie` field may hold our cookie. It is cheap, and says yes too often
    /// rather than no.
    pub(crate) fn may_be_in(&self, field: &HeaderValue) -> bool {
        self.name.finder.find(field.as_bytes()).is_some()
    }

    /// Returns the values that a `Cookie` field has for our name, in the client's order.
    pub(crate) fn values_in<'a>(&'a self, field: &'a HeaderValue) -> impl Iterator<Item = &'a str> {
        self.name.values_in(field)
    }

    /// Returns the values that a `Cookie` field has for the name that tells what the client has
    /// written.
    pub(crate) fn tokens_in<'a>(&'a self, field: &'a HeaderValue) -> impl Iterator<Item = &'a str> {
        self.token_name.values_in(field)
    }

    /// Returns the value that opens the session, for the client.
    pub(crate) fn seal(&self, cookie: &CookieValue, route: Option<&Route>) -> String {
        let route = self.follows.as_ref().or(route);
        self.seal.seal(self.name(), cookie, route)
    }

    /// Returns what a value of our name opens, if this app's nodes may have written it.
    pub(crate) fn open(&self, value: &str) -> Option<OpenedCookie> {
        let mut opened = self.seal.open(self.name(), value)?;
        if let Some(route) = &self.follows {
            opened.is_outdated |= Route::of(value) != Some(route.as_str());
        }
        Some(opened)
    }

    /// Returns the `Set-Cookie` field that gives the client `value`.
    pub(crate) fn set(&self, value: String, end: Option<CookieEnd>) -> HeaderValue {
        self.set_named(self.name(), value, end)
    }

    /// Returns the `Set-Cookie` field that tells the client what it has written.
    pub(crate) fn set_token(&self, value: String, end: Option<CookieEnd>) -> HeaderValue {
        self.set_named(self.token_name(), value, end)
    }

    /// Returns the `Set-Cookie` field that takes the session away.
    pub(crate) fn removal(&self) -> HeaderValue {
        self.removal_of(self.name())
    }

    /// Returns the `Set-Cookie` field that takes away what the client has written.
    pub(crate) fn token_removal(&self) -> HeaderValue {
        self.removal_of(self.token_name())
    }

    fn set_named(&self, name: &str, value: String, end: Option<CookieEnd>) -> HeaderValue {
        let mut cookie = self.with_attributes(name, value);
        if let Some(end) = end {
            cookie.set_max_age(end.max_age);
            // Java's clients take a cookie with `Max-Age` alone for one of RFC 2965.
            cookie.set_expires(end.expires);
        }
        header(&cookie)
    }

    /// Returns the field that removes a cookie. It has the same attributes, or a browser would take
    /// it for another cookie, or refuse it for its prefix.
    fn removal_of(&self, name: &str) -> HeaderValue {
        let mut cookie = self.with_attributes(name, String::new());
        cookie.set_max_age(time::Duration::ZERO);
        cookie.set_expires(Expiration::from(time::OffsetDateTime::UNIX_EPOCH));
        header(&cookie)
    }

    fn with_attributes<'a>(&'a self, name: &'a str, value: String) -> Cookie<'a> {
        let rules = &self.rules;
        let mut cookie = Cookie::new(name, value);
        cookie.set_path(rules.path.as_str());
        cookie.set_secure(rules.secure);
        cookie.set_http_only(rules.http_only);
        cookie.set_partitioned(rules.partitioned);
        cookie.set_same_site(match rules.same_site {
            SameSite::Strict => cookie::SameSite::Strict,
            SameSite::Lax => cookie::SameSite::Lax,
            SameSite::None => cookie::SameSite::None,
        });
        if let Some(domain) = &rules.domain {
            cookie.set_domain(domain.as_str());
        }
        cookie
    }
}

/// A cookie's name, prepared to be looked for.
#[derive(Clone, Debug)]
struct CookieName {
    text: String,
    finder: memmem::Finder<'static>,
}

impl CookieName {
    fn new(text: String) -> Self {
        let finder = memmem::Finder::new(&text).into_owned();
        Self { text, finder }
    }

    /// Returns the values that a `Cookie` field has for this name, in the client's order.
    ///
    /// The name is searched for, and not all cookies one after the other: a field of 400 KB may
    /// hold 400 000 of them. Only a semicolon separates cookies. Commas do so for old clients, but
    /// a site on a sibling domain can write one into a cookie of its own, and with it a cookie that
    /// the `__Host-` prefix would not let it set.
    fn values_in<'a>(&'a self, field: &'a HeaderValue) -> impl Iterator<Item = &'a str> {
        let field = field.as_bytes();
        let found = self.finder.find_iter(field).take(MAX_OCCURRENCES);
        found.filter_map(move |at| {
            let before = field[..at].trim_ascii_end();
            if !matches!(before.last(), None | Some(b';')) {
                return None;
            }
            let behind = field[at + self.text.len()..].trim_ascii_start();
            let value = behind.strip_prefix(b"=")?;
            let end = memchr(b';', value).unwrap_or(value.len());
            str::from_utf8(unquoted(value[..end].trim_ascii())).ok()
        })
    }
}

/// Takes away the pair of quotes that RFC 6265 allows around a value. Java's clients write it.
fn unquoted(value: &[u8]) -> &[u8] {
    let inner = value.strip_prefix(b"\"");
    inner
        .and_then(|value| value.strip_suffix(b"\""))
        .unwrap_or(value)
}

/// Returns a field that logs of headers do not show, and that HPACK keeps in no table.
fn header(cookie: &Cookie<'_>) -> HeaderValue {
    let mut field = HeaderValue::try_from(cookie.to_string())
        .expect("name, path and domain are checked, the value is base64 and a route");
    field.set_sensitive(true);
    field
}

/// Returns whether the text is a token of RFC 9110, as RFC 6265 wants a cookie name.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b';'
}

fn is_domain_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.'
}

/// How often a name may stand in a `Cookie` field, as part of other names and values included, until
/// the rest is not looked at: more often than an honest client writes it.
const MAX_OCCURRENCES: usize = 64;
const DEFAULT_NAME: &str = "__Host-id";
const TOKEN_SUFFIX: &str = "-seen";
/// A prefix stands before those that it begins with.
const PREFIXES: [Prefix; 4] = [
    Prefix::new("__Host-Http-", true, true),
    Prefix::new("__Host-", true, false),
    Prefix::new("__Http-", false, true),
    Prefix::new("__Secure-", false, false),
];
/// Browsers drop a cookie of more than 4096 bytes of name and value.
const MAX_NAME_LENGTH: usize = 1024;
/// Browsers ignore a longer attribute, and send the cookie everywhere.
const MAX_PATH_LENGTH: usize = 1024;
/// Of a DNS name.
const MAX_DOMAIN_LENGTH: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    fn values(field: &'static str) -> Vec<String> {
        let cookie = CookieRules::default().check(None).expect("defaults");
        let field = HeaderValue::from_static(field);
        cookie.values_in(&field).map(str::to_owned).collect()
    }

    #[test]
    fn values_are_found_by_their_exact_name() {
        assert_eq!(values("a=1; __Host-id=x;__Host-id=y; b=2"), ["x", "y"]);
        assert_eq!(values("__Host-id2=x; my__Host-id=y; __host-id=z"), [""; 0]);
        assert_eq!(values("__Host-id"), [""; 0]);
    }

    #[test]
    fn spaces_around_names_and_values_do_not_matter() {
        assert_eq!(values(" __Host-id = x ;\t__Host-id=y"), ["x", "y"]);
        assert_eq!(values("; ;__Host-id;__Host-id=;"), [""]);
    }

    #[test]
    fn one_pair_of_quotes_around_a_value_is_taken_away() {
        let java = r#"$Version="1"; __Host-id="x";$Path="/""#;
        assert_eq!(values(java), ["x"]);
        let odd = r#"__Host-id=""y""; __Host-id="; __Host-id="z; __Host-id="""#;
        assert_eq!(values(odd), ["\"y\"", "\"", "\"z", ""]);
    }

    #[test]
    fn a_comma_in_another_cookie_brings_none_of_ours() {
        for planted in [
            "$Version=1,__Host-id=planted",
            r#"$Version="1", __Host-id="planted""#,
            "theme=dark,__Host-id=planted; b=2",
        ] {
            assert_eq!(values(planted), [""; 0], "{planted}");
        }
    }

    #[test]
    fn expires_says_the_same_as_max_age_and_neither_more_than_400_days() {
        let cookie = CookieRules::default().check(None).expect("defaults");
        for (left_ms, expected) in [
            (
                59_001,
                "; Max-Age=60; Expires=Fri, 02 Jan 1970 00:01:00 GMT",
            ),
            (
                u64::MAX,
                "; Max-Age=34560000; Expires=Sat, 06 Feb 1971 00:00:00 GMT",
            ),
        ] {
            let end = CookieEnd::after(left_ms, 24 * 60 * 60 * 1000);
            let field = cookie.set(String::new(), Some(end));
            let text = field.to_str().expect("ASCII");
            assert!(text.contains(expected), "{text}");
        }
        // No date of HTTP is so late.
        let field = cookie.set(String::new(), Some(CookieEnd::after(1, u64::MAX)));
        let text = field.to_str().expect("ASCII");
        assert!(
            text.contains("Max-Age=1") && !text.contains("Expires"),
            "{text}"
        );
    }

    #[test]
    fn a_name_within_other_names_and_values_is_passed_over() {
        assert_eq!(values("__Host-id__Host-id=x; a=__Host-id=y"), [""; 0]);
        assert_eq!(values("a=__Host-id; __Host-id=__Host-id"), ["__Host-id"]);
    }

    #[test]
    fn a_field_is_not_looked_through_for_ever() {
        let cookie = CookieRules::default().check(None).expect("defaults");
        let values = |field: String| {
            let field = HeaderValue::try_from(field).expect("visible");
            cookie.values_in(&field).count()
        };
        let many = MAX_OCCURRENCES - 1;
        assert_eq!(values(format!("{};__Host-id=x", ";".repeat(400_000))), 1);
        assert_eq!(
            values(format!("{}__Host-id=x", "a=__Host-id;".repeat(many))),
            1
        );
        assert_eq!(
            values(format!("{}__Host-id=x", "a=__Host-id;".repeat(many + 1))),
            0
        );
    }

    #[test]
    fn a_broken_neighbour_does_not_hide_our_cookie() {
        let cookie = CookieRules::default().check(None).expect("defaults");
        let field = HeaderValue::from_bytes(b"x=\xff; __Host-id=v").expect("opaque bytes");
        assert!(cookie.may_be_in(&field));
        assert_eq!(cookie.values_in(&field).collect::<Vec<_>>(), ["v"]);
    }

    #[test]
    fn paths_and_domains_that_cannot_be_sent_are_refused() {
        for path in ["", "shop", "/a;b", "/a b", "/ä", "/\n"] {
            let rules = CookieRules {
                name: Some("id".to_owned()),
                path: path.to_owned(),
                ..CookieRules::default()
            };
            let error = rules.check(None).expect_err(path);
            assert_eq!(
                error,
                LayerError::InvalidPath {
                    path: path.to_owned()
                }
            );
        }
        for domain in ["", "a b", "a;b", "ä.example"] {
            let rules = CookieRules {
                name: Some("id".to_owned()),
                domain: Some(domain.to_owned()),
                ..CookieRules::default()
            };
            let error = rules.check(None).expect_err(domain);
            assert_eq!(
                error,
                LayerError::InvalidDomain {
                    domain: domain.to_owned()
                }
            );
        }
    }
}

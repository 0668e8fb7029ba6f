//! The session cookie: its rules, how it is found in a request, how it is set and removed.
//!
//! A name with the `__Host-` prefix is accepted by browsers only with `Secure`, `Path=/` and no
//! `Domain`, one with `__Secure-` only with `Secure`, and `SameSite=None` needs `Secure`, too. A
//! browser drops a cookie that breaks these rules without a word, so they are checked at start.

pub(super) mod request_cookies;
pub(super) mod seal;

use std::time::Duration;

use cookie::{Cookie, Expiration, time};
use http::HeaderValue;
use memchr::memchr;

use self::seal::{OpenedCookie, Seal, SealRules};
use super::layer_error::LayerError;
use crate::session::{CookieValue, MAX_CONTEXT_LENGTH, Route};

/// The requests from other sites with which a browser sends the session cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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

/// The rules of the cookie, as the layer's setters say.
#[derive(Clone, Debug)]
pub(crate) struct CookieRules {
    /// `None`: the default name, which depends on the context.
    pub(crate) name: Option<String>,
    pub(crate) secure: bool,
    pub(crate) http_only: bool,
    pub(crate) same_site: SameSite,
    pub(crate) domain: Option<String>,
    pub(crate) path: String,
    pub(crate) persistence: Persistence,
    pub(crate) seal: SealRules,
    /// Whether to work over plain HTTP: without `Secure` and without a prefix that requires it.
    pub(crate) development: bool,
}

/// The life of the cookie in the browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    Browser,
    /// With `Max-Age`, as long as the session lives.
    Session,
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
            persistence: Persistence::Browser,
            seal: SealRules::default(),
            development: false,
        }
    }
}

impl CookieRules {
    /// Checks the rules, and returns the cookie of `context`; `None` is the app without one.
    pub(crate) fn check(&self, context: Option<&str>) -> Result<SessionCookie, LayerError> {
        if let Some(context) = context
            && !(is_token(context) && context.len() <= MAX_CONTEXT_LENGTH)
        {
            return Err(LayerError::InvalidContext {
                context: context.to_owned(),
            });
        }
        let name = self.effective_name(context);
        let secure = self.secure && !self.development;
        if !is_token(&name) {
            return Err(LayerError::InvalidName { name });
        }
        if !self.path.starts_with('/') || !self.path.bytes().all(is_path_byte) {
            return Err(LayerError::InvalidPath {
                path: self.path.clone(),
            });
        }
        if let Some(domain) = &self.domain
            && (domain.is_empty() || !domain.bytes().all(is_domain_byte))
        {
            return Err(LayerError::InvalidDomain {
                domain: domain.clone(),
            });
        }
        if has_prefix(&name, HOST_PREFIX)
            && let Some((why, fix)) = self.broken_host_rule(secure)
        {
            return Err(LayerError::HostPrefix { name, why, fix });
        }
        if has_prefix(&name, SECURE_PREFIX) && !secure {
            return Err(LayerError::SecurePrefix { name });
        }
        if self.same_site == SameSite::None && !secure {
            return Err(LayerError::SameSiteNone);
        }
        Ok(SessionCookie {
            token_name: format!("{name}{TOKEN_SUFFIX}"),
            name,
            seal: self.seal.check()?,
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
        if self.development {
            for prefix in [HOST_PREFIX, SECURE_PREFIX] {
                if has_prefix(&name, prefix) {
                    return name[prefix.len()..].to_owned();
                }
            }
        }
        name
    }

    const fn broken_host_rule(&self, secure: bool) -> Option<(&'static str, &'static str)> {
        if !secure {
            Some(("without `Secure`", "leave out `with_secure(false)`"))
        } else if self.domain.is_some() {
            Some(("with a `Domain`", "leave out `with_domain`"))
        } else if self.path.len() != 1 {
            Some(("with a `Path` other than `/`", "leave out `with_path`"))
        } else {
            None
        }
    }
}

/// A cookie whose rules are checked.
#[derive(Clone, Debug)]
pub(crate) struct SessionCookie {
    name: String,
    /// The name of the cookie that tells what the client has written. It has the prefix of the
    /// other, and the same attributes.
    token_name: String,
    seal: Seal,
    rules: CookieRules,
}

impl SessionCookie {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn token_name(&self) -> &str {
        &self.token_name
    }

    pub(crate) fn is_persistent(&self) -> bool {
        self.rules.persistence == Persistence::Session
    }

    /// Returns what `Max-Age` says when the session has this long to live; `None` for a cookie that
    /// ends with the browser.
    pub(crate) fn max_age(&self, remaining_ms: Option<u64>) -> Option<Duration> {
        self.is_persistent()
            .then(|| Duration::from_secs(remaining_ms.unwrap_or(u64::MAX).div_ceil(1000)))
    }

    /// Returns whether a `Cookie` field may hold our cookie. It is cheap, and says yes too often
    /// rather than no.
    pub(crate) fn may_be_in(&self, field: &HeaderValue) -> bool {
        starts(field.as_bytes()).any(|rest| rest.starts_with(self.name.as_bytes()))
    }

    /// Returns the values that a `Cookie` field has for our name, in the client's order.
    pub(crate) fn values_in<'a>(&'a self, field: &'a HeaderValue) -> impl Iterator<Item = &'a str> {
        values_of(&self.name, field)
    }

    /// Returns the values that a `Cookie` field has for the name that tells what the client has
    /// written.
    pub(crate) fn tokens_in<'a>(&'a self, field: &'a HeaderValue) -> impl Iterator<Item = &'a str> {
        values_of(&self.token_name, field)
    }

    /// Returns the value that opens the session, for the client.
    pub(crate) fn seal(&self, cookie: &CookieValue, route: Option<&Route>) -> String {
        self.seal.seal(&self.name, cookie, route)
    }

    /// Returns what a value of our name opens, if this app's nodes may have written it.
    pub(crate) fn open(&self, value: &str) -> Option<OpenedCookie> {
        self.seal.open(&self.name, value)
    }

    /// Returns the `Set-Cookie` field that gives the client `value`.
    pub(crate) fn set(&self, value: String, max_age: Option<Duration>) -> HeaderValue {
        self.set_named(&self.name, value, max_age)
    }

    /// Returns the `Set-Cookie` field that tells the client what it has written.
    pub(crate) fn set_token(&self, value: String, max_age: Option<Duration>) -> HeaderValue {
        self.set_named(&self.token_name, value, max_age)
    }

    /// Returns the `Set-Cookie` field that takes the session away.
    pub(crate) fn removal(&self) -> HeaderValue {
        self.removal_of(&self.name)
    }

    /// Returns the `Set-Cookie` field that takes away what the client has written.
    pub(crate) fn token_removal(&self) -> HeaderValue {
        self.removal_of(&self.token_name)
    }

    fn set_named(&self, name: &str, value: String, max_age: Option<Duration>) -> HeaderValue {
        let mut cookie = self.with_attributes(name, value);
        if let Some(max_age) = max_age {
            let seconds = i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX);
            cookie.set_max_age(time::Duration::seconds(seconds));
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

fn values_of<'a>(name: &'a str, field: &'a HeaderValue) -> impl Iterator<Item = &'a str> {
    starts(field.as_bytes()).filter_map(move |rest| {
        let behind = rest.strip_prefix(name.as_bytes())?;
        let value = behind.trim_ascii_start().strip_prefix(b"=")?;
        let end = memchr(b';', value).unwrap_or(value.len());
        str::from_utf8(value[..end].trim_ascii()).ok()
    })
}

/// Returns what a `Cookie` field holds from the start of each of its cookies on.
fn starts(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut last = None;
    std::iter::from_fn(move || {
        // The end of a cookie is looked for only when another one is asked for: most fields have
        // one cookie, or ours is the first.
        let rest = match last {
            None => field,
            Some(last) => &last[memchr(b';', last)? + 1..],
        };
        last = Some(rest.trim_ascii_start());
        last
    })
}

fn header(cookie: &Cookie<'_>) -> HeaderValue {
    HeaderValue::try_from(cookie.to_string())
        .expect("name, path and domain are checked, the value is base64 and a route")
}

fn has_prefix(name: &str, prefix: &str) -> bool {
    // Browsers compare the prefixes without regard to case.
    name.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// Returns whether the text is a token of RFC 9110, as RFC 6265 wants a cookie name.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b';'
}

fn is_domain_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.'
}

const DEFAULT_NAME: &str = "__Host-id";
const TOKEN_SUFFIX: &str = "-seen";
const HOST_PREFIX: &str = "__Host-";
const SECURE_PREFIX: &str = "__Secure-";

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

//! What the cookies and paths of a request go through, for [`crate::internals`].

use http::{HeaderMap, HeaderValue, header::COOKIE};

use super::{
    cookie::{CookieRules, SessionCookie, request_cookies::RequestCookies},
    filter::{Filter, FilterError},
};
use crate::{
    config::ClusterSecret,
    session::{BootId, Origin, SessionKey, Stamp, Tag, Token, TokenKey},
};

/// The `Cookie` fields of a request to a layer with the default cookie.
#[derive(Debug)]
pub struct CookieHeaders {
    cookies: RequestCookies,
    cookie: SessionCookie,
}

impl CookieHeaders {
    /// Takes the fields that an HTTP server would pass on; others are left out.
    ///
    /// # Panics
    ///
    /// Beyond the number of fields that a header map holds, which is more than 10 000.
    #[must_use]
    pub fn new<'a>(fields: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut headers = HeaderMap::new();
        for field in fields {
            if let Ok(value) = HeaderValue::from_bytes(field) {
                headers.append(COOKIE, value);
            }
        }
        let cookie = CookieRules::default().check(None).expect("defaults");
        Self {
            cookies: RequestCookies::find(&cookie, None, &mut headers),
            cookie,
        }
    }

    /// Returns the session cookies that are tried, as this crate writes them, without a route.
    #[must_use]
    pub fn candidates(&self) -> Vec<String> {
        let candidates = self.cookies.candidates(&self.cookie);
        candidates
            .map(|candidate| candidate.cookie.format(None))
            .collect()
    }

    /// Returns the cookies that tell what the client has written, each with what was read in it,
    /// written again. Their session and their key are of zeros.
    #[must_use]
    pub fn tokens(&self) -> Vec<(String, Option<String>)> {
        let key = token_key();
        let again = |text| {
            let token = key.verify(&SESSION, text)?;
            Some(key.sign(&SESSION, &token))
        };
        self.cookies
            .tokens(&self.cookie)
            .map(|text| (text.to_owned(), again(text)))
            .collect()
    }

    /// Returns what [`CookieHeaders::tokens`] can read.
    #[must_use]
    pub fn readable_token() -> String {
        let mut token = Token::default();
        for boot in 1..=4 {
            let boot = BootId::from_bytes([boot; 8]);
            let origin = Origin { boot, epoch: 0 };
            let stamp = Stamp::MAX;
            token.add(Tag { stamp, origin });
        }
        token_key().sign(&SESSION, &token)
    }
}

/// A filter of one pattern.
#[derive(Debug)]
pub struct PathFilter(Filter);

impl PathFilter {
    /// Compiles a pattern.
    ///
    /// # Errors
    ///
    /// As [`ClusterSessionLayer::with_filter`](crate::ClusterSessionLayer::with_filter).
    pub fn new(pattern: &str) -> Result<Self, FilterError> {
        let mut filter = Filter::default();
        filter.add(pattern)?;
        Ok(Self(filter))
    }

    /// Returns whether the pattern matches the whole of `path`.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.0.matches(path)
    }
}

fn token_key() -> TokenKey {
    TokenKey::new(&[ClusterSecret::from_bytes([0; 32])]).expect("a key")
}

const SESSION: SessionKey = SessionKey::from_bytes([0; 16]);

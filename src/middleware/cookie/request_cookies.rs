//! The session cookies of a request, kept until somebody asks for the session.

use std::fmt;

use http::{
    HeaderMap, HeaderValue,
    header::{COOKIE, Entry, USER_AGENT},
};

use super::{SessionCookie, seal::OpenedCookie};
use crate::{middleware::transport::HeaderTransport, session::CookieValue};

/// The `Cookie` fields of a request that may hold our cookie.
///
/// HTTP/2 clients send one field per cookie, and another site on a sibling domain may have planted
/// cookies of our name.
#[derive(Default)]
pub(crate) struct RequestCookies {
    /// What the client presents in a header field instead. Then its cookies are not looked at, and it
    /// is answered likewise.
    header: Option<Box<str>>,
    // Apart, so that the usual single field needs no allocation.
    first: Option<HeaderValue>,
    more: Vec<HeaderValue>,
    /// What the client calls itself, where its session is bound to that. Apart, because it is rare.
    user_agent: Option<Box<HeaderValue>>,
}

impl RequestCookies {
    /// Finds the fields, and marks all `Cookie` fields as sensitive: what opens a session is not
    /// for logs of headers.
    ///
    /// Where there is a header field for the same, that is looked for first.
    pub(crate) fn find(
        cookie: &SessionCookie,
        header: Option<&HeaderTransport>,
        headers: &mut HeaderMap,
    ) -> Self {
        let has_several = headers.len() > headers.keys_len();
        let mut found = Self::default();
        if let Some(header) = header {
            found.header = header.find_in(headers);
            if !header.allows_cookie() {
                found.header.get_or_insert_default();
            }
            if found.is_by_header() {
                return found;
            }
        }
        let Some(first) = headers.get_mut(COOKIE) else {
            return found;
        };
        found.keep(cookie, first);
        if has_several && let Entry::Occupied(mut fields) = headers.entry(COOKIE) {
            fields
                .iter_mut()
                .skip(1)
                .for_each(|field| found.keep(cookie, field));
        }
        found
    }

    /// Binds what the client presents, and what it gets, to what it calls itself.
    pub(crate) fn bind_to_user_agent(&mut self, headers: &HeaderMap) {
        let absent = HeaderValue::from_static("");
        let user_agent = headers.get(USER_AGENT).cloned().unwrap_or(absent);
        self.user_agent = Some(Box::new(user_agent));
    }

    /// Returns the id as one that opens a session for this client alone, where ids are bound.
    pub(crate) fn bound(&self, id: CookieValue) -> CookieValue {
        match &self.user_agent {
            None => id,
            Some(user_agent) => id.bound_to(user_agent.as_bytes()),
        }
    }

    fn keep(&mut self, cookie: &SessionCookie, field: &mut HeaderValue) {
        field.set_sensitive(true);
        if cookie.may_be_in(field) {
            match &self.first {
                None => self.first = Some(field.clone()),
                Some(_) => self.more.push(field.clone()),
            }
        }
    }

    /// Returns whether the client presents its session in a header field, and gets it so.
    pub(crate) const fn is_by_header(&self) -> bool {
        self.header.is_some()
    }

    /// Returns whether the client sent no cookie of our name at all.
    pub(crate) fn is_empty(&self, cookie: &SessionCookie) -> bool {
        self.values(cookie).next().is_none()
    }

    /// Returns the first cookies of our name that this app's nodes may have written.
    pub(crate) fn candidates<'a>(
        &'a self,
        cookie: &'a SessionCookie,
    ) -> impl Iterator<Item = OpenedCookie> {
        self.presented(cookie).flatten()
    }

    /// Returns the first cookies of our name, `None` for each that this app's nodes have not written.
    pub(crate) fn presented<'a>(
        &'a self,
        cookie: &'a SessionCookie,
    ) -> impl Iterator<Item = Option<OpenedCookie>> {
        let values = self.values(cookie).take(MAX_CANDIDATES);
        values.map(|value| {
            let opened = cookie.open(value)?;
            Some(OpenedCookie {
                cookie: self.bound(opened.cookie),
                ..opened
            })
        })
    }

    /// Returns the first cookies of the name that tells what the client has written.
    pub(crate) fn tokens<'a>(&'a self, cookie: &'a SessionCookie) -> impl Iterator<Item = &'a str> {
        // That name begins with ours, so its fields are among those that were kept.
        self.fields()
            .flat_map(|field| cookie.tokens_in(field))
            .take(MAX_CANDIDATES)
    }

    pub(crate) fn has_token(&self, cookie: &SessionCookie) -> bool {
        self.tokens(cookie).next().is_some()
    }

    fn values<'a>(&'a self, cookie: &'a SessionCookie) -> impl Iterator<Item = &'a str> {
        let header = self.header.as_deref().filter(|value| !value.is_empty());
        let cookies = self.fields().flat_map(|field| cookie.values_in(field));
        header.into_iter().chain(cookies)
    }

    fn fields(&self) -> impl Iterator<Item = &HeaderValue> {
        self.first.iter().chain(&self.more)
    }
}

/// Shows a count, as the fields hold what opens the session.
impl fmt::Debug for RequestCookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestCookies({} fields)", self.fields().count())
    }
}

/// The number of cookies of our name that are tried: more than an honest client has, few enough to
/// cost nothing.
const MAX_CANDIDATES: usize = 8;

//! The way by which clients present the value that opens their session: the cookie, a header field,
//! or either.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, COOKIE, HOST, SET_COOKIE, VARY},
};
use serde::Deserialize;

use super::layer_error::LayerError;

/// The way by which clients present the value that opens their session, and get a new one.
///
/// The default is the cookie. A header field is for REST and mobile clients, which keep no cookies.
/// The value is the same, sealed likewise if the layer seals it, and the same rules hold: an id that
/// the cluster has not issued is never adopted.
///
/// With a header field:
///
/// - A response that creates a session or gives it another id has the new value in the field, and is
///   not to be cached. When the session is destroyed, the value is empty.
/// - [`or_cookie`](Self::or_cookie) lets other clients use the cookie. A request that has the field
///   is answered by it, and its cookie is not looked at. So a client that has no value yet sends the
///   field empty.
/// - The value never ends by itself: [`with_persistent_cookie`] and the like mean cookies.
/// - [`Consistency::ReadYourWrites`] is not to be had, because it needs a cookie.
///
/// Scripts of other origins can send and read the field only if your CORS layer says so: name it in
/// `Access-Control-Allow-Headers` and in `Access-Control-Expose-Headers`. What a script can read, a
/// script that is injected can steal. So let browsers use the cookie.
///
/// It can be read with `serde`: `header`, `bearer` and `or_cookie`.
///
/// [`with_persistent_cookie`]: crate::ClusterSessionLayer::with_persistent_cookie
/// [`Consistency::ReadYourWrites`]: crate::Consistency::ReadYourWrites
///
/// # Examples
///
/// ```
/// use tower_cluster_sessions::Transport;
///
/// let for_an_api = Transport::header("x-session");
/// let for_an_app_and_its_site = Transport::bearer("x-session").or_cookie();
/// let from_file: Transport = serde_json::from_str(r#"{"header": "x-session"}"#)?;
/// assert_eq!(from_file, for_an_api);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Transport {
    /// `None` for the cookie.
    header: Option<String>,
    bearer: bool,
    or_cookie: bool,
}

impl Transport {
    /// Returns the transport by cookie, the default.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::Transport;
    ///
    /// assert_eq!(Transport::cookie(), Transport::default());
    /// ```
    #[must_use]
    pub fn cookie() -> Self {
        Self::default()
    }

    /// Returns the transport by a header field of this name, in requests and in responses.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::Transport;
    ///
    /// let transport = Transport::header("x-session");
    /// ```
    #[must_use]
    pub fn header(name: impl Into<String>) -> Self {
        Self {
            header: Some(name.into()),
            ..Self::default()
        }
    }

    /// Returns the transport by `Authorization: Bearer` in requests, and a header field of this name
    /// in responses.
    ///
    /// A field with another scheme, such as `Basic`, counts as absent.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::Transport;
    ///
    /// let transport = Transport::bearer("x-session");
    /// ```
    #[must_use]
    pub fn bearer(answer: impl Into<String>) -> Self {
        Self {
            bearer: true,
            ..Self::header(answer)
        }
    }

    /// Lets clients that do not send the field use the cookie.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::Transport;
    ///
    /// let transport = Transport::header("x-session").or_cookie();
    /// ```
    #[must_use]
    pub fn or_cookie(mut self) -> Self {
        self.or_cookie = true;
        self
    }

    /// Checks the names. Returns `None` for the cookie.
    pub(super) fn check(&self) -> Result<Option<HeaderTransport>, LayerError> {
        let Some(name) = &self.header else {
            return match self.bearer {
                true => Err(LayerError::InvalidHeader {
                    name: String::new(),
                }),
                false => Ok(None),
            };
        };
        let answer = HeaderName::try_from(name).ok();
        let answer = answer.filter(|name| !RESERVED.contains(name));
        let answer = answer.ok_or_else(|| LayerError::InvalidHeader { name: name.clone() })?;
        Ok(Some(HeaderTransport {
            request: match self.bearer {
                true => AUTHORIZATION,
                false => answer.clone(),
            },
            answer,
            or_cookie: self.or_cookie,
        }))
    }
}

/// A transport by a header field, with its names checked.
#[derive(Clone, Debug)]
pub(super) struct HeaderTransport {
    request: HeaderName,
    answer: HeaderName,
    or_cookie: bool,
}

impl HeaderTransport {
    /// Returns the field of requests.
    pub(super) const fn request(&self) -> &HeaderName {
        &self.request
    }

    /// Returns the field of responses.
    pub(super) const fn answer(&self) -> &HeaderName {
        &self.answer
    }

    /// Returns whether clients may use the cookie instead.
    pub(super) const fn allows_cookie(&self) -> bool {
        self.or_cookie
    }

    /// Returns the value that a request presents by this, which may be empty. The field is marked as
    /// sensitive: what opens a session is not for logs of headers.
    pub(super) fn find_in(&self, headers: &mut HeaderMap) -> Option<Box<str>> {
        let field = headers.get_mut(&self.request)?;
        field.set_sensitive(true);
        let value = field.to_str().unwrap_or_default().trim();
        if self.request != AUTHORIZATION {
            return Some(value.into());
        }
        let (scheme, value) = value.split_once(' ').unwrap_or((value, ""));
        let is_ours = scheme.eq_ignore_ascii_case("Bearer");
        is_ours.then(|| value.trim_start().into())
    }

    /// Returns the field of a response that gives the client this value.
    pub(super) fn field(value: String) -> HeaderValue {
        let mut field = HeaderValue::try_from(value).expect("it is base64 and a route");
        field.set_sensitive(true);
        field
    }
}

/// The names that mean something else.
const RESERVED: [HeaderName; 5] = [AUTHORIZATION, COOKIE, HOST, SET_COOKIE, VARY];

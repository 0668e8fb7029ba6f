//! An HTTP client that keeps cookies, as a browser does.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use bytes::Bytes;
use cookie::Cookie;
use http::{
    HeaderMap, Method, Request, StatusCode, Uri,
    header::{COOKIE, SET_COOKIE},
};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// A client with cookies of its own.
#[derive(Clone, Debug)]
pub(crate) struct Browser {
    client: Client<HttpConnector, Empty<Bytes>>,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    pub(crate) fn new() -> Self {
        // Without a pool no request meets a connection whose server died since the last one.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build_http();
        Self {
            client,
            cookies: BTreeMap::new(),
        }
    }

    /// Gets one page, and keeps the cookies that come with it.
    pub(crate) async fn get(&mut self, host: SocketAddr, path: &str) -> Result<Page, BrowseError> {
        self.send(Method::GET, host, path).await
    }

    /// Sends a request without a body, and keeps the cookies that come with the answer.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        host: SocketAddr,
        path: &str,
    ) -> Result<Page, BrowseError> {
        tokio::time::timeout(PATIENCE, self.exchange(method, host, path))
            .await
            .map_err(|_| BrowseError::Timeout)?
    }

    async fn exchange(
        &mut self,
        method: Method,
        host: SocketAddr,
        path: &str,
    ) -> Result<Page, BrowseError> {
        let uri: Uri = format!("http://{host}{path}").parse()?;
        let mut request = Request::builder().method(method).uri(uri);
        if !self.cookies.is_empty() {
            let pairs: Vec<_> = self
                .cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request = request.header(COOKIE, pairs.join("; "));
        }
        let response = self.client.request(request.body(Empty::new())?).await?;
        let (head, body) = response.into_parts();
        self.keep_cookies(&head.headers);
        Ok(Page {
            status: head.status,
            headers: head.headers,
            text: String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned(),
        })
    }

    fn keep_cookies(&mut self, headers: &HeaderMap) {
        let set = headers.get_all(SET_COOKIE).iter();
        for cookie in set.filter_map(|value| Cookie::parse(value.to_str().ok()?).ok()) {
            if cookie.max_age().is_some_and(|age| age.is_zero()) {
                self.cookies.remove(cookie.name());
            } else {
                let (name, value) = cookie.name_value();
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Page {
    /// The name of the node that answered.
    pub(crate) fn served_by(&self) -> Option<&str> {
        self.headers.get("x-served-by")?.to_str().ok()
    }

    /// The number of hits that the page tells of.
    pub(crate) fn hits(&self) -> Option<u64> {
        between(&self.text, "You have hit this page ", " times.")?
            .parse()
            .ok()
    }

    /// The id of the session that the page tells of.
    pub(crate) fn session_id(&self) -> Option<&str> {
        between(&self.text, "Session ID: ", "\n")
    }
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrowseError {
    #[error("not a request: {0}")]
    Request(#[from] http::Error),
    #[error("not an address: {0}")]
    Address(#[from] http::uri::InvalidUri),
    #[error("no answer: {0}")]
    NoAnswer(#[from] hyper_util::client::legacy::Error),
    #[error("the answer broke off: {0}")]
    Torn(#[from] hyper::Error),
    #[error("no answer within {PATIENCE:?}")]
    Timeout,
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    let (found, _) = rest.split_once(after)?;
    Some(found)
}

const PATIENCE: Duration = Duration::from_secs(30);

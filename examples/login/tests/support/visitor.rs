//! A client that keeps cookies and sends forms.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use bytes::Bytes;
use cookie::Cookie;
use http::{
    Request, StatusCode,
    header::{CONTENT_TYPE, COOKIE, HOST, LOCATION, SET_COOKIE, USER_AGENT},
    request::Builder,
};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// A client with cookies of its own.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    client: Client<HttpConnector, Full<Bytes>>,
    name: &'static str,
    cookies: BTreeMap<String, String>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    /// Where it leads, if elsewhere.
    pub(crate) location: Option<String>,
    pub(crate) text: String,
}

impl Visitor {
    pub(crate) fn new(name: &'static str) -> Self {
        // Without a pool no request meets a connection whose server died since the last one.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build_http();
        Self {
            client,
            name,
            cookies: BTreeMap::new(),
        }
    }

    pub(crate) async fn get(&mut self, host: SocketAddr, path: &str) -> Page {
        let request = Request::get(format!("http://{host}{path}"));
        self.send(request, String::new()).await
    }

    /// Sends a form.
    pub(crate) async fn post(
        &mut self,
        host: SocketAddr,
        path: &str,
        form: &[(&str, &str)],
    ) -> Page {
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = Request::post(format!("http://{host}{path}"));
        let kind = "application/x-www-form-urlencoded";
        self.send(request.header(CONTENT_TYPE, kind), form).await
    }

    /// What it sends in the field `Cookie`.
    pub(crate) fn cookies(&self) -> String {
        let pairs = self.cookies.iter();
        let pairs: Vec<_> = pairs
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join("; ")
    }

    /// Loses its sessions' cookies, as by being closed, and keeps the others.
    pub(crate) fn restart(&mut self) {
        self.cookies.retain(|name, _| name == "remember");
    }

    async fn send(&mut self, request: Builder, body: String) -> Page {
        let mut request = request.header(USER_AGENT, self.name);
        if !self.cookies.is_empty() {
            request = request.header(COOKIE, self.cookies());
        }
        let request = request.body(Full::from(body)).expect("a request");
        assert!(request.headers().get(HOST).is_none(), "the client adds it");
        let exchange = tokio::time::timeout(PATIENCE, self.client.request(request));
        let response = exchange.await.expect("it answers in time");
        let (head, body) = response.expect("a node that runs answers").into_parts();
        for set in head.headers.get_all(SET_COOKIE) {
            let set = set.to_str().expect("it is text");
            let cookie = Cookie::parse(set).expect("a cookie");
            if cookie.max_age().is_some_and(|age| age.is_zero()) {
                self.cookies.remove(cookie.name());
            } else {
                let (name, value) = cookie.name_value();
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let location = head.headers.get(LOCATION);
        let location = location.map(|location| location.to_str().expect("it is text").to_owned());
        let body = body.collect().await.expect("it does not break off");
        Page {
            status: head.status,
            location,
            text: String::from_utf8(body.to_bytes().to_vec()).expect("it is text"),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

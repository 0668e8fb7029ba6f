//! Whole requests to an axum app over HTTP/1.1, through memory instead of sockets.

use std::{io, sync::Arc};

use axum::{
    Extension, Router,
    routing::{Route, get},
    serve::Listener,
};
use http::HeaderValue;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    sync::mpsc,
};
use tower::layer::layer_fn;
use tower_cluster_sessions::{Cluster, ClusterConfig, ClusterSessionLayer, Session, SessionError};

use crate::cases::runtime;

/// The same answers without sessions.
pub(crate) fn bare(times: u64, path: &str) {
    without_sessions(times, path, bare_app());
}

/// What axum itself takes for a layer, here one that does nothing.
pub(crate) fn empty_layer(times: u64) {
    let app = bare_app().layer(layer_fn(|inner: Route| inner));
    without_sessions(times, "/plain", app);
}

/// The same for one that puts something into the request's extensions, and into a larger table with
/// it, because axum has filled the first one.
pub(crate) fn extension_layer(times: u64) {
    let app = bare_app().layer(Extension(Arc::<str>::from(COOKIE)));
    without_sessions(times, "/plain", app);
}

fn bare_app() -> Router {
    Router::new()
        .route("/plain", get(plain))
        .route("/hit", get(async || sentence(1_000_000)))
}

fn without_sessions(times: u64, path: &str, app: Router) {
    runtime().block_on(async {
        let mut client = Client::connect(app);
        let cookie = HeaderValue::from_static(COOKIE);
        client.get(times, path, &cookie).await;
    });
}

pub(crate) fn layered(times: u64, path: &str) {
    runtime().block_on(async {
        let cluster = Cluster::start(ClusterConfig::standalone()).await;
        let layer = ClusterSessionLayer::from_cluster(&cluster.expect("nothing is bound"));
        let app = Router::new()
            .route("/plain", get(plain))
            .route("/hit", get(hit))
            .layer(layer);
        let mut client = Client::connect(app);
        let cookie = client.get(1, "/hit", &HeaderValue::from_static("")).await;
        client.get(times, path, &cookie).await;
    });
}

/// The cookie that an answer sets, as a client sends it back; none if it sets none.
pub(crate) fn cookie_of(set: Option<&HeaderValue>) -> HeaderValue {
    let text = set
        .and_then(|field| field.to_str().ok())
        .unwrap_or_default();
    let (pair, _attributes) = text.split_once(';').unwrap_or_default();
    HeaderValue::from_str(pair).expect("part of a valid field")
}

async fn plain() -> &'static str {
    "This text needs no session.\n"
}

async fn hit(session: Session) -> Result<String, SessionError> {
    let hits = session.update("hits", |hits: Option<u64>| hits.unwrap_or(1_000_000) + 1)?;
    Ok(sentence(hits))
}

fn sentence(hits: u64) -> String {
    format!("You have hit this page {hits} times.\n")
}

/// One connection that is kept.
struct Client(DuplexStream);

impl Client {
    fn connect(app: Router) -> Self {
        let (ours, theirs) = duplex(64 * 1024);
        // One connection is all that ever comes.
        let (sender, receiver) = mpsc::channel(1);
        sender.try_send(theirs).expect("the channel is empty");
        tokio::spawn(axum::serve(OneConnection(receiver), app).into_future());
        Self(ours)
    }

    /// Asks one time after the other. Returns the cookie that the last answer has set.
    async fn get(&mut self, times: u64, path: &str, cookie: &HeaderValue) -> HeaderValue {
        let cookie = cookie.to_str().expect("cookies are text");
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\ncookie: {cookie}\r\n\r\n");
        let mut buffer = [0; 4096];
        let mut last = HeaderValue::from_static("");
        for _ in 0..times {
            self.0.write_all(request.as_bytes()).await.expect("open");
            let read = self.0.read(&mut buffer).await.expect("an answer");
            let answer = &buffer[..read];
            assert!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b".\n"));
            last = set_cookie(answer);
        }
        last
    }
}

fn set_cookie(answer: &[u8]) -> HeaderValue {
    let name = b"set-cookie: ";
    let field = answer.windows(name.len()).position(|part| part == name);
    let Some(at) = field else {
        return HeaderValue::from_static("");
    };
    let rest = &answer[at + name.len()..];
    let line = rest.split(|byte| *byte == b'\r').next();
    cookie_of(
        HeaderValue::from_bytes(line.unwrap_or_default())
            .ok()
            .as_ref(),
    )
}

struct OneConnection(mpsc::Receiver<DuplexStream>);

impl Listener for OneConnection {
    type Io = DuplexStream;
    type Addr = ();

    async fn accept(&mut self) -> (DuplexStream, ()) {
        match self.0.recv().await {
            Some(stream) => (stream, ()),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

/// As long as a session's.
const COOKIE: &str = "__Host-id=none-none-none-none-none-none-none-none-non";

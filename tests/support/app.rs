//! Apps on the nodes of a cluster: in memory, and behind real sockets with clients of them.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, serve};
use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CACHE_CONTROL, COOKIE},
};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};
use tokio_util::sync::CancellationToken;
use tower_cluster_sessions::{
    ClusterSessionLayer, Event, Events, MemberState, test_util::TestCluster,
};

/// The layer of the app on one node.
pub(crate) fn layer_on(cluster: &TestCluster, node: usize) -> ClusterSessionLayer {
    ClusterSessionLayer::from_cluster(cluster.cluster(node))
}

/// An app behind a real socket.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub(crate) async fn start(app: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("there are free ports");
        let address = listener.local_addr().expect("it is bound");
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let server = serve(listener, app).with_graceful_shutdown(stopped);
        Self {
            address,
            stop,
            served: tokio::spawn(server.into_future()),
        }
    }

    /// Takes no more connections, and tells those that are open to end.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the last connection has ended.
    pub(crate) async fn stopped(self) {
        let served = in_time("the server stops", self.served).await;
        served
            .expect("it does not panic")
            .expect("it does not fail");
    }
}

/// Gets a page of a server.
pub(crate) async fn get(server: SocketAddr, path: &str, cookies: &str) -> Response<Incoming> {
    let client: Client<HttpConnector, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let request = Request::get(format!("http://{server}{path}"))
        .header(COOKIE, cookies)
        .body(Empty::new())
        .expect("a request");
    let response = in_time("the head comes", client.request(request)).await;
    response.expect("an answer")
}

/// Gets a page of a server, which must be fine, and returns its text.
pub(crate) async fn page(server: SocketAddr, path: &str, cookies: &str) -> String {
    let response = get(server, path, cookies).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    text(response).await
}

/// All of a body.
pub(crate) async fn text(response: Response<Incoming>) -> String {
    let body = in_time("the body ends", response.into_body().collect()).await;
    let bytes = body.expect("a whole body").to_bytes();
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The next piece of a streamed body, `None` at its end.
pub(crate) async fn piece(response: &mut Response<Incoming>) -> Option<String> {
    let frame = in_time("a piece comes", response.body_mut().frame()).await?;
    let data = frame
        .expect("it is not torn")
        .into_data()
        .expect("no trailers");
    Some(String::from_utf8(data.to_vec()).expect("text"))
}

/// A client behind a WebSocket.
pub(crate) struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    pub(crate) async fn open(server: SocketAddr, path: &str, cookies: &str) -> Self {
        use futures_util::FutureExt as _;
        let mut request = format!("ws://{server}{path}")
            .into_client_request()
            .expect("a request");
        let cookies = HeaderValue::from_str(cookies).expect("a field");
        request.headers_mut().insert(COOKIE, cookies);
        let stream = TcpStream::connect(server).await.expect("it listens");
        let opened = in_time("the upgrade", client_async(request, stream).boxed()).await;
        let (socket, response) = opened.expect("an upgrade");
        assert!(!response.headers().contains_key(CACHE_CONTROL));
        Self(socket)
    }

    pub(crate) async fn say(&mut self, words: &str) {
        use futures_util::SinkExt as _;
        let said = self.0.send(Message::text(words)).await;
        said.expect("the socket is open");
    }

    /// The next words, `None` once the server has closed.
    pub(crate) async fn hear(&mut self) -> Option<String> {
        use futures_util::StreamExt as _;
        loop {
            match in_time("a message comes", self.0.next()).await?.ok()? {
                Message::Text(words) => return Some(words.to_string()),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }
}

/// The first event from now on for which `wanted` holds.
pub(crate) async fn until(events: &mut Events, wanted: impl Fn(&Event) -> bool) -> Event {
    let found = async {
        loop {
            let event = events.recv().await.expect("the cluster runs");
            if wanted(&event) {
                return event;
            }
        }
    };
    in_time("the event comes", found).await
}

/// Waits until one node sees another in this state.
pub(crate) async fn until_seen(cluster: &TestCluster, node: usize, other: &str, as_: MemberState) {
    let state = || {
        let members = cluster.cluster(node).members();
        let found = members.iter().find(|m| m.name.as_deref() == Some(other));
        found.map(|member| member.state)
    };
    let seen = async {
        while state() != Some(as_) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    in_time("the member is seen so", seen).await;
}

/// What must happen, and not after half a minute of tokio's time.
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(Duration::from_secs(30), future).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain: {what}"),
    }
}

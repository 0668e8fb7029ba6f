//! A reverse proxy that takes the nodes by turns, with no regard to cookies.
//!
//! Like the how-to's Apache with `retry=0`: a node that cannot be connected to is passed over, and
//! tried again when it is its turn. A request that a node may have begun to work on is never sent
//! twice, because a hit counted twice is as wrong as one that is lost. A WebSocket stays with the node
//! that took it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, Version, header, request::Parts, uri,
};
use hyper::upgrade::{self, OnUpgrade};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    io::copy_bidirectional,
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

/// A balancer that runs. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct Balancer {
    addr: SocketAddr,
    server: JoinHandle<io::Result<()>>,
}

impl Balancer {
    /// Starts one in front of these nodes, on a free port.
    pub(crate) async fn start(nodes: Vec<SocketAddr>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let turns = RateLimiter {
            nodes,
            next: AtomicUsize::new(0),
            // Without a pool a dead node shows when connecting, while it is safe to pass on.
            client: Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build_http(),
            tunnels: Mutex::default(),
        };
        let app = Router::new().fallback(forward).with_state(Arc::new(turns));
        let server = tokio::spawn(axum::serve(listener, app).into_future());
        Ok(Self { addr, server })
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Debug)]
struct RateLimiter {
    nodes: Vec<SocketAddr>,
    next: AtomicUsize,
    client: Client<HttpConnector, Body>,
    /// What the WebSockets run through, to be added to.
    tunnels: Mutex<JoinSet<()>>,
}

impl RateLimiter {
    /// Every node once, beginning with the one whose turn it is.
    fn take(&self) -> impl Iterator<Item = SocketAddr> {
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.nodes.len();
        let (later, sooner) = self.nodes.split_at(first);
        sooner.iter().chain(later).copied()
    }

    /// Carries bytes between a client and its node until one of them ends that.
    fn tunnel(&self, client: OnUpgrade, node: OnUpgrade) {
        let mut tunnels = self.tunnels.lock().unwrap_or_else(PoisonError::into_inner);
        while tunnels.try_join_next().is_some() {}
        tunnels.spawn(async move {
            if let (Ok(client), Ok(node)) = tokio::join!(client, node) {
                let (mut client, mut node) = (TokioIo::new(client), TokioIo::new(node));
                if let Err(error) = copy_bidirectional(&mut client, &mut node).await {
                    tracing::debug!(%error, "a tunnel broke off");
                }
            }
        });
    }
}

async fn forward(State(turns): State<Arc<RateLimiter>>, mut request: Request) -> Response {
    let client = upgrade::on(&mut request);
    let (mut head, body) = request.into_parts();
    // Held in memory to be sent again to the next node.
    let Ok(body) = axum::body::to_bytes(body, MOST_BODY).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n").into_response();
    };
    remove_hop_by_hop(&mut head.headers);

    for node in turns.take() {
        let Ok(request) = request_to(node, &head, body.clone()) else {
            return (StatusCode::BAD_REQUEST, "not a path\n").into_response();
        };
        match turns.client.request(request).await {
            Ok(mut response) => {
                let node = upgrade::on(&mut response);
                remove_hop_by_hop(response.headers_mut());
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    turns.tunnel(client, node);
                }
                return response.map(Body::new).into_response();
            }
            Err(error) if error.is_connect() => {
                tracing::debug!(%node, "passed over, it cannot be connected to");
            }
            Err(error) => {
                tracing::warn!(%node, %error, "died with a request");
                return (StatusCode::BAD_GATEWAY, "the node broke off\n").into_response();
            }
        }
    }
    (StatusCode::SERVICE_UNAVAILABLE, "no node is up\n").into_response()
}

fn request_to(node: SocketAddr, head: &Parts, body: Bytes) -> http::Result<Request> {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let uri = Uri::builder()
        .scheme(uri::Scheme::HTTP)
        .authority(node.to_string())
        .path_and_query(path)
        .build()?;
    let mut request = Request::builder()
        .method(head.method.clone())
        .uri(uri)
        .version(Version::HTTP_11)
        .body(Body::from(body))?;
    *request.headers_mut() = head.headers.clone();
    Ok(request)
}

/// Removes what is between a client and its next hop only, but the wish for a WebSocket, which is
/// handed on.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let upgrade = headers.get(header::UPGRADE).cloned();
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let always = [
        header::CONNECTION,
        KEEP_ALIVE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    for name in named.into_iter().chain(always) {
        headers.remove(name);
    }
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
}

const MOST_BODY: usize = 2 << 20;

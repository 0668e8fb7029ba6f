//! The operations that are counted.

use std::{convert::Infallible, hint::black_box};

use futures_util::future::join_all;
use http::{
    HeaderValue, Request, Response,
    header::{COOKIE, SET_COOKIE},
};
use tokio::{
    runtime::{Builder, Runtime},
    task::yield_now,
};
use tower::{Layer as _, Service, ServiceExt as _, service_fn};
use tower_cluster_sessions::{
    Ack, Cluster, ClusterConfig, ClusterSessionLayer, Session, SessionSlot,
    internals::{FullStore, SessionCopy, Words, count_hit},
    test_util::TestCluster,
};

use crate::server;

/// Something to count.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Operations of one run.
    pub(crate) operations: u64,
    pub(crate) run: fn(u64),
}

pub(crate) const CASES: &[Case] = &[
    case("commit", 1, commit),
    case("merge", 1, merge),
    case("encode", CHANGES, encode),
    case("decode", CHANGES, decode),
    case("request_bare", 1, request_bare),
    case("request_plain", 1, request_plain),
    case("request_read", 1, request_read),
    case("request_hit", 1, request_hit),
    case("figures_of_hit", 1, figures_of_hit),
    case("request_user_hit", 1, |times| {
        user_hit(times, |config| config)
    }),
    case("request_indexed_hit", 1, |times| {
        user_hit(times, |config| config.index(USER))
    }),
    case("http_bare", 1, |times| server::bare(times, "/plain")),
    case("http_empty_layer", 1, server::empty_layer),
    case("http_extension_layer", 1, server::extension_layer),
    case("http_plain", 1, |times| server::layered(times, "/plain")),
    case("http_bare_hit", 1, |times| server::bare(times, "/hit")),
    case("http_hit", 1, |times| server::layered(times, "/hit")),
    case("pair_none", 1, |times| pair(times, 1, Ack::None)),
    case("pair_none_32", 32, |times| pair(times, 32, Ack::None)),
    case("pair_all", 1, |times| pair(times, 1, Ack::All)),
    case("pair_all_32", 32, |times| pair(times, 32, Ack::All)),
];

const fn case(name: &'static str, operations: u64, run: fn(u64)) -> Case {
    Case {
        name,
        operations,
        run,
    }
}

/// A counter of one session counts, and the change goes into the log.
fn commit(times: u64) {
    let store = FullStore::new(100, 200);
    for at in 0..times {
        assert!(store.increment(at));
        black_box(store.commit(at));
    }
}

/// Another node's write of one attribute, in a session of ten.
fn merge(times: u64) {
    let mut session = SessionCopy::new(10, 200);
    let mut held = session.clone();
    for _ in 0..times {
        assert!(held.apply(session.change(200)));
    }
}

/// A batch of hits, in a buffer that is kept, as a link's writer does it.
fn encode(times: u64) {
    let batch = Words::hits(CHANGES);
    let mut bytes = Vec::new();
    for _ in 0..times {
        bytes.clear();
        batch.encode(&mut bytes);
        black_box(&bytes);
    }
}

/// A batch of hits, as a link's reader does it.
fn decode(times: u64) {
    let mut bytes = Vec::new();
    Words::hits(CHANGES).encode(&mut bytes);
    for _ in 0..times {
        assert!(Words::decode(&bytes).is_some());
    }
}

/// What the other requests are to be compared with.
fn request_bare(times: u64) {
    let cookie = HeaderValue::from_static("__Host-id=none");
    runtime().block_on(ask(times, service_fn(ignore), &cookie));
}

fn request_plain(times: u64) {
    alone(times, |layer| layer.layer(service_fn(ignore)));
}

fn request_read(times: u64) {
    alone(times, |layer| layer.layer(service_fn(read)));
}

fn request_hit(times: u64) {
    alone(times, |layer| layer.layer(service_fn(hit)));
}

/// What `request_hit` takes for the figures that monitoring systems read, and nothing else.
fn figures_of_hit(times: u64) {
    runtime().block_on(async {
        let cluster = Cluster::start(ClusterConfig::standalone()).await;
        let cluster = cluster.expect("nothing is bound");
        for _ in 0..times {
            count_hit(&cluster);
        }
    });
}

/// Requests of one session to a node without peers.
fn alone<S>(times: u64, service: impl FnOnce(&ClusterSessionLayer) -> S)
where
    S: Service<Request<()>, Response = Response<u64>, Error = Infallible> + Clone,
{
    runtime().block_on(async {
        let layer = layer(ClusterConfig::standalone()).await;
        let cookie = start_session(&layer, hit).await;
        ask(times, service(&layer), &cookie).await;
    });
}

/// Hits of a session that also says whose it is, by which its node may find it.
fn user_hit(times: u64, configure: fn(ClusterConfig) -> ClusterConfig) {
    runtime().block_on(async {
        let layer = layer(configure(ClusterConfig::standalone())).await;
        let cookie = start_session(&layer, log_in).await;
        ask(times, layer.layer(service_fn(hit)), &cookie).await;
    });
}

async fn layer(config: ClusterConfig) -> ClusterSessionLayer {
    let cluster = Cluster::start(config).await;
    ClusterSessionLayer::from_cluster(&cluster.expect("nothing is bound"))
}

/// Hits of as many sessions at once, by turns on one and the other of two nodes. What both do for
/// them counts; time stands still, so nothing else happens.
fn pair(times: u64, sessions: usize, ack: Ack) {
    runtime().block_on(async {
        tokio::time::pause();
        let cluster = TestCluster::start(2).await;
        let nodes = [0, 1].map(|node| {
            let layer = ClusterSessionLayer::from_cluster(cluster.cluster(node)).with_ack(ack);
            (layer.layer(service_fn(hit)), layer)
        });
        let mut cookies = Vec::new();
        for _ in 0..sessions {
            cookies.push(start_session(&nodes[0].1, hit).await);
        }
        cluster.converged().await;
        for at in 0..times {
            let service = &nodes[usize::from(at % 2 == 1)].0;
            let asked = cookies.iter().map(|cookie| {
                let service = service.clone();
                service.oneshot(request(cookie))
            });
            for answer in join_all(asked).await {
                assert_eq!(
                    *answer.unwrap_or_else(|never| match never {}).body(),
                    at + 2
                );
            }
            // With `Ack::None` nothing has waited for the links yet.
            for _ in 0..TURNS {
                yield_now().await;
            }
        }
    });
}

async fn ask<S>(times: u64, service: S, cookie: &HeaderValue)
where
    S: Service<Request<()>, Response = Response<u64>, Error = Infallible> + Clone,
{
    for _ in 0..times {
        let answer = service.clone().oneshot(request(cookie)).await;
        black_box(answer.unwrap_or_else(|never| match never {}));
    }
}

fn request(cookie: &HeaderValue) -> Request<()> {
    let mut request = Request::new(());
    request.headers_mut().insert(COOKIE, cookie.clone());
    request
}

async fn ignore(_request: Request<()>) -> Result<Response<u64>, Infallible> {
    Ok(Response::new(0))
}

async fn read(request: Request<()>) -> Result<Response<u64>, Infallible> {
    let hits = load(&request).await.get("hits");
    Ok(Response::new(hits.ok().flatten().expect("a session")))
}

async fn hit(request: Request<()>) -> Result<Response<u64>, Infallible> {
    let session = load(&request).await;
    let hits = session.update("hits", |hits: Option<u64>| hits.unwrap_or(0) + 1);
    Ok(Response::new(hits.expect("a session can be written")))
}

async fn log_in(request: Request<()>) -> Result<Response<u64>, Infallible> {
    let written = load(&request).await.insert(USER, 17);
    written.expect("a session can be written");
    hit(request).await
}

async fn load(request: &Request<()>) -> Session {
    let slot = request.extensions().get::<SessionSlot>();
    slot.expect("the layer is around").load().await
}

/// The cookie of a session that the first request has begun.
async fn start_session<F>(layer: &ClusterSessionLayer, first: fn(Request<()>) -> F) -> HeaderValue
where
    F: Future<Output = Result<Response<u64>, Infallible>>,
{
    let nothing = HeaderValue::from_static("");
    let answer = layer.layer(service_fn(first)).oneshot(request(&nothing));
    let answer = answer.await.unwrap_or_else(|never| match never {});
    server::cookie_of(answer.headers().get(SET_COOKIE))
}

pub(crate) fn runtime() -> Runtime {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be had")
}

const USER: &str = "user_id";
/// Changes of one batch.
const CHANGES: u64 = 100;
/// Of the scheduler, enough for a change to arrive and for its acknowledgement to come back.
const TURNS: usize = 8;

//! What a session costs a request: the same requests to the same small service, bare and behind the
//! layer, on a node alone and on one of two nodes that acknowledge each other over TCP.
//!
//! At the end a table shows each case's median beside that of the bare service.

use std::{convert::Infallible, fs, path::PathBuf};

use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use futures_util::future::join_all;
use http::{
    HeaderValue, Request, Response,
    header::{COOKIE, SET_COOKIE},
};
use tokio::runtime::{Builder, Runtime};
use tower::{Layer as _, Service, ServiceExt as _, service_fn};
use tower_cluster_sessions::{
    Ack, Cluster, ClusterConfig, ClusterSessionLayer, Consistency, Event, MemberEventKind, Session,
    SessionSlot,
};

fn main() {
    let mut criterion = Criterion::default()
        .output_directory(&output_directory())
        .configure_from_args();
    let runtime = Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be had");
    let mut group = criterion.benchmark_group(GROUP);
    bare(&mut group, &runtime);
    alone(&mut group, &runtime);
    paired(&mut group, &runtime);
    group.finish();
    criterion.final_summary();
    print_ratios();
}

fn bare(group: &mut Group<'_>, runtime: &Runtime) {
    let cookie = HeaderValue::from_static("__Host-id=none");
    run(group, runtime, BARE, &service_fn(ignore), "/", &cookie);
}

fn alone(group: &mut Group<'_>, runtime: &Runtime) {
    let config = ClusterConfig::standalone().consistency_key(KEY);
    let cluster = runtime.block_on(Cluster::start(config));
    let layer = ClusterSessionLayer::from_cluster(&cluster.expect("nothing is bound"))
        .with_filter(r".*\.(gif|js|jpg|png|html?|css|txt)")
        .expect("a valid filter");
    let cookie = start_session(runtime, &layer);
    let ignore = layer.layer(service_fn(ignore));
    let read = layer.layer(service_fn(read));
    let write = layer.layer(service_fn(write));
    run(group, runtime, "untouched", &ignore, "/", &cookie);
    run(group, runtime, "filtered", &ignore, "/logo.png", &cookie);
    run(group, runtime, "read", &read, "/", &cookie);
    run(group, runtime, "written", &write, "/", &cookie);

    let layer = layer.with_consistency(Consistency::ReadYourWrites);
    let cookies = start_session(runtime, &layer);
    let read = layer.layer(service_fn(self::read));
    let write = layer.layer(service_fn(self::write));
    run(group, runtime, "read_own_writes", &read, "/", &cookies);
    run(group, runtime, "written_own_writes", &write, "/", &cookies);
}

fn paired(group: &mut Group<'_>, runtime: &Runtime) {
    let (one, two) = runtime.block_on(pair());
    let layer = ClusterSessionLayer::from_cluster(&one);
    let cookie = start_session(runtime, &layer);
    for (name, ack) in [("pair_ack_none", Ack::None), ("pair_ack_all", Ack::All)] {
        let write = layer.clone().with_ack(ack).layer(service_fn(write));
        run(group, runtime, name, &write, "/", &cookie);
    }

    let write = layer.layer(service_fn(write));
    let cookies: Vec<_> = (0..AT_ONCE)
        .map(|_| start_session(runtime, &layer))
        .collect();
    group.bench_function(PAIR_AT_ONCE, |bencher| {
        bencher.to_async(runtime).iter(|| {
            let answers = cookies.iter().map(|cookie| {
                let service = write.clone();
                service.oneshot(request("/", cookie))
            });
            join_all(answers)
        });
    });
    drop(two);
}

fn run<S>(
    group: &mut Group<'_>,
    runtime: &Runtime,
    name: &str,
    service: &S,
    path: &'static str,
    cookie: &HeaderValue,
) where
    S: Service<Request<()>, Response = Response<u64>, Error = Infallible> + Clone,
{
    group.bench_function(name, |bencher| {
        bencher
            .to_async(runtime)
            .iter(|| service.clone().oneshot(request(path, cookie)));
    });
}

fn request(path: &'static str, cookie: &HeaderValue) -> Request<()> {
    let mut request = Request::new(());
    *request.uri_mut() = http::Uri::from_static(path);
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

async fn write(request: Request<()>) -> Result<Response<u64>, Infallible> {
    let session = load(&request).await;
    let hits = session.update("hits", |hits: Option<u64>| hits.unwrap_or(0) + 1);
    Ok(Response::new(hits.expect("a session can be written")))
}

async fn load(request: &Request<()>) -> Session {
    let slot = request.extensions().get::<SessionSlot>();
    slot.expect("the layer is around").load().await
}

/// The cookies of a session that has one hit.
fn start_session(runtime: &Runtime, layer: &ClusterSessionLayer) -> HeaderValue {
    let nothing = HeaderValue::from_static("");
    let service = layer.layer(service_fn(write));
    let answer = runtime.block_on(service.oneshot(request("/", &nothing)));
    let answer = answer.unwrap_or_else(|never| match never {});
    let fields = answer.headers().get_all(SET_COOKIE).iter();
    let pairs = fields.map(|field| {
        let field = field.to_str().expect("the cookie is text");
        let (pair, _attributes) = field.split_once(';').expect("the cookie has attributes");
        pair
    });
    let pairs: Vec<&str> = pairs.collect();
    HeaderValue::from_str(&pairs.join("; ")).expect("parts of valid fields")
}

/// Two nodes that wait for each other's acknowledgements.
async fn pair() -> (Cluster, Cluster) {
    let one = Cluster::start(ClusterConfig::new("one").listen("127.0.0.1:0")).await;
    let one = one.expect("some port is free");
    let mut events = one.events();
    let address = one.local_address().expect("it listens").to_string();
    let two = Cluster::start(ClusterConfig::new("two").peer(address)).await;
    let two = two.expect("nothing is bound");
    while let Some(event) = events.recv().await {
        if matches!(event, Event::Member(member) if member.kind == MemberEventKind::Up) {
            break;
        }
    }
    one.ready().await;
    two.ready().await;
    (one, two)
}

/// What has been measured last, beside the bare service: what each case adds to it, and how many
/// times as long it takes.
fn print_ratios() {
    let Some(bare) = median_ns(BARE) else {
        return;
    };
    println!("request                   median ns    added ns   times bare");
    for name in CASES {
        let requests = if name == PAIR_AT_ONCE { AT_ONCE } else { 1 };
        if let Some(median) = median_ns(name) {
            let each = median / f64::from(requests);
            let (added, times) = (each - bare, each / bare);
            println!("{name:<24}{each:>11.0}{added:>12.0}{times:>13.1}");
        }
    }
}

/// `None` when the case has never been measured.
fn median_ns(case: &str) -> Option<f64> {
    let path = output_directory().join(GROUP).join(case);
    let json = fs::read(path.join("new/estimates.json")).ok()?;
    let estimates: serde_json::Value = serde_json::from_slice(&json).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}

fn output_directory() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("criterion")
}

type Group<'a> = BenchmarkGroup<'a, WallTime>;

const GROUP: &str = "request";
const BARE: &str = "bare";
const PAIR_AT_ONCE: &str = "pair_ack_all_64_at_once";
const KEY: &str = "Dp0/vSfysfmg8cRnfZoeW4jGwaJd33pMkDv+byJA1+M=";
const CASES: [&str; 10] = [
    BARE,
    "untouched",
    "filtered",
    "read",
    "written",
    "read_own_writes",
    "written_own_writes",
    "pair_ack_none",
    "pair_ack_all",
    PAIR_AT_ONCE,
];
/// Requests under way at once.
const AT_ONCE: u32 = 64;

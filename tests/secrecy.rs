//! Nobody but the client learns what opens its session: not who listens on the wire, not who reads
//! logs or `Debug` output.

#[path = "support/secret.rs"]
mod secret;
#[path = "support/in_process.rs"]
mod support;

use std::{
    io::{self, Write},
    sync::{Mutex, MutexGuard, Once, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tower_cluster_sessions::{Cluster, ClusterSessionLayer, Event, MemberState};

use crate::{
    secret::Needle,
    support::{
        http::{cookie, request, slot, start, value, visit},
        pair::{Pair, Wires, destroy, set, wait_until},
        proxy::Wire,
    },
};

/// A life of sessions on two nodes, with everything that can be seen of it from outside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_neither_on_the_wire_nor_in_logs_nor_in_debug_output() {
    record_log();
    let wires = Wires::new().await;
    wires.record();
    let one = wires.start_one(|config| config).await;
    let mut events = one.events();
    let two = wires.start_two(|config| config).await;
    let mut pair = Pair::of(wires, &one, &two).await;

    // Created, changed, found on the other node, and with another secret.
    let mut cookies = Vec::new();
    let mut shown = String::new();
    for number in 0..20 {
        let (cookie, _) = start(&pair.one, MARKER, number).await;
        set(&pair.two, &cookie, "changed", number).await;
        cookies.push(cookie);
    }
    let response = visit(&pair.two, &cookies[0], async |session| {
        session.cycle_id().expect("it lives");
        format!("{session:?}")
    })
    .await;
    cookies.push(cookie(&response).expect("the new id"));
    shown.push_str(&response.into_body());
    destroy(&pair.one, &cookies[1]).await;

    // Repaired after a cut.
    pair.cut(Wire::Cut).await;
    for cookie in &cookies[5..10] {
        set(&pair.one, cookie, "cut", 1).await;
    }
    cookies.push(start(&pair.one, MARKER, 77).await.0);
    pair.heal().await;
    pair.until_both_have(&cookies[5], "cut", Some(1)).await;

    // Transferred to a node that has just started, and asked for before that.
    two.leave().await;
    let three = pair.wires.start_two(|config| config).await;
    pair.two = ClusterSessionLayer::from_cluster(&three);
    assert_eq!(value(&pair.two, &cookies[3], MARKER).await, Some(3));
    three.ready().await;
    wait_until("all have come", async || {
        three.session_count() == one.session_count()
    })
    .await;
    pair.settle(&[MemberState::Up]).await;

    shown.push_str(&debug_of(&pair, &[&one, &three], &cookies[3]).await);
    while let Some(Some(event)) = futures_util::FutureExt::now_or_never(events.recv()) {
        shown.push_str(&format!("{event:?}"));
        if let Event::Session(event) = event {
            shown.push_str(&event.id);
        }
    }

    let wire = pair.wires.recorded();
    let log = log().clone();
    println!("{} bytes on wires, {} logged", wire.len(), log.len());
    // What must be there is found, so what is not found is not there.
    let marker = Needle::key_of(&cookies[3]);
    assert!(marker.is_in(&wire), "keys travel");
    let text = String::from_utf8_lossy(&wire);
    assert!(text.contains(MARKER), "attributes travel");
    assert!(
        log.windows(ADDED.len())
            .any(|part| part == ADDED.as_bytes())
    );
    assert!(shown.contains("Session"));
    for cookie in &cookies {
        let secret = Needle::secret_of(cookie);
        assert!(secret.is_in(cookie.as_bytes()));
        assert!(!secret.is_in(&wire), "on the wire");
        assert!(!secret.is_in(&log), "in a log");
        assert!(!secret.is_in(shown.as_bytes()), "in {shown}");
        let key = Needle::key_of(cookie);
        assert!(!key.is_in(&log), "a whole key in a log");
    }
}

/// A rolling deploy changes the type of an attribute, and a handler gives the errors to the log.
#[cfg(feature = "axum")]
#[tokio::test]
async fn values_are_in_no_log() {
    use axum::response::IntoResponse as _;
    record_log();
    let layer = support::http::layer().await;
    let response = visit(&layer, (), async |session| {
        session.insert(MARKER, VALUE).expect("text");
        let by_value = std::collections::HashMap::from([(VALUE, Some(f64::NAN))]);
        [
            session.get::<u64>(MARKER).map(drop),
            session.take::<Vec<u8>>(MARKER).map(drop),
            session.update(MARKER, |_: Option<u64>| 1).map(drop),
            session.increment(MARKER, 1).map(drop),
            session.insert("bad", (VALUE, f64::NAN)),
            session.insert("bad", by_value),
            session.insert("bad", std::collections::HashMap::from([((VALUE, 1), 2)])),
            layer
                .cluster()
                .sessions("")
                .destroy_where("bad", &(VALUE, f64::NAN))
                .await
                .map(drop),
        ]
    })
    .await;
    let mut shown = String::new();
    for result in response.into_body() {
        let error = result.expect_err("none of it works");
        shown += &format!("{error} {error:?} {error:#?}");
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            shown += &format!("{cause} {cause:?}");
            source = cause.source();
        }
        let response = error.into_response();
        let body = axum::body::to_bytes(response.into_body(), 1000).await;
        shown += &String::from_utf8_lossy(&body.expect("a short body"));
    }
    let log = String::from_utf8_lossy(&log()).into_owned();
    assert!(
        log.contains("session operation failed") && log.contains(MARKER),
        "{log}"
    );
    assert!(!log.contains(VALUE) && !shown.contains(VALUE), "{shown}");
}

/// `Debug` of whatever of the public types holds an id.
async fn debug_of(pair: &Pair, clusters: &[&Cluster], cookie: &str) -> String {
    let mut shown = format!("{pair:?}{:?}{:?}", pair.one, pair.two);
    for cluster in clusters {
        shown.push_str(&format!(
            "{cluster:?}{:?}{:?}",
            cluster.stats(),
            cluster.members()
        ));
    }
    let response = visit(&pair.one, cookie, async |session| {
        let mut shown = format!("{session:?}{:#?}", session);
        let replaced = session.insert("bad", f64::NAN);
        shown.push_str(&format!("{replaced:?}"));
        shown
    })
    .await;
    shown.push_str(&response.into_body());
    let layer = pair.one.clone();
    let service = tower::service_fn(async |request: http::Request<()>| {
        let slot = slot(&request);
        let before = format!("{slot:?}");
        let session = slot.load().await;
        Ok::<_, std::convert::Infallible>(http::Response::new(format!(
            "{before}{slot:?}{session:?}"
        )))
    });
    let service = tower::Layer::layer(&layer, service);
    let future = tower::Service::call(&mut service.clone(), request(cookie));
    shown.push_str(&format!("{future:?}"));
    let response = future.await.expect("it never fails");
    shown.push_str(&response.into_body());
    shown
}

#[test]
fn secret_that_shows_is_found_in_every_form() {
    let bytes: Vec<u8> = (100..132).collect();
    let cookie = format!("id={}.node1", URL_SAFE_NO_PAD.encode(&bytes));
    let secret = Needle::secret_of(&cookie);
    let hex: String = bytes[16..]
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    for shown in [
        cookie.clone().into_bytes(),
        bytes[16..].to_vec(),
        [b"x".as_slice(), &bytes[16..24], b"x"].concat(),
        hex.into_bytes(),
        URL_SAFE_NO_PAD.encode(&bytes[16..]).into_bytes(),
        format!("{:?}", &bytes[16..]).into_bytes(),
        format!("{:?}", &bytes[24..]).into_bytes(),
    ] {
        assert!(
            secret.is_in(&shown),
            "{:?}",
            String::from_utf8_lossy(&shown)
        );
    }
    assert!(!secret.is_in(&bytes[..16]), "that is the key");
    assert!(Needle::key_of(&cookie).is_in(&bytes[..16]));
    assert!(Needle::key_of(&cookie).is_in(b"SessionKey(6465666768)"));
    assert!(!Needle::key_of(&cookie).is_in(b"SessionKey(64656667)"));
}

/// Everything that was logged.
#[derive(Debug)]
struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        log().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Has everything logged, once for all tests.
fn record_log() {
    static RECORDS: Once = Once::new();
    RECORDS.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(|| Log);
        subscriber.init();
    });
}

fn log() -> MutexGuard<'static, Vec<u8>> {
    LOGGED.lock().unwrap_or_else(PoisonError::into_inner)
}

static LOGGED: Mutex<Vec<u8>> = Mutex::new(Vec::new());
const MARKER: &str = "marker-of-an-attribute";
const VALUE: &str = "alice@example.org";
const ADDED: &str = "Replication member added";

//! Ids that somebody has copied or made up: what they open, and who hears of them.

use std::time::Duration;

use tower_cluster_sessions::{ClusterSessionLayer, Event, Events, SessionEventKind};

use crate::http_support::*;

const MINUTE: Duration = Duration::from_secs(60);

/// The sessions of which the stream has told in these ways so far, by their public ids.
async fn told<const N: usize>(events: &mut Events, kinds: [SessionEventKind; N]) -> Vec<String> {
    let mut told = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::ZERO, events.recv()).await {
        match event {
            Event::Session(session) if kinds.contains(&session.kind) => told.push(session.id),
            _ => {}
        }
    }
    told
}

/// How often ids were presented with this result.
fn presented(layer: &ClusterSessionLayer, result: &str) -> u64 {
    let text = layer.cluster().prometheus();
    let label = format!("result=\"{result}\"}} ");
    let mut lines = text.lines().filter_map(|line| line.split_once(&*label));
    let (_, value) = lines.next().expect("the figure");
    value.parse().expect("a number")
}

/// The cookie with the locator of one and the secret of the other.
fn mixed(locator: &str, secret: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let [first, second] = [locator, secret].map(|cookie| {
        let (_, value) = cookie.split_once('=').expect("a pair");
        URL_SAFE_NO_PAD.decode(&value[..43]).expect("base64")
    });
    let (name, _) = locator.split_once('=').expect("a pair");
    let value = URL_SAFE_NO_PAD.encode([&first[..16], &second[16..]].concat());
    format!("{name}={value}")
}

#[tokio::test(start_paused = true)]
async fn id_that_was_replaced_long_ago_is_told_of_each_time() {
    let layer = layer().await;
    let mut events = layer.cluster().events();
    let (stolen, id) = start(&layer, "user", 1).await;
    let response = visit(&layer, &stolen, async |session| session.cycle_id().unwrap()).await;
    let current = cookie(&response).expect("a new cookie");

    // A request that was under way meanwhile is a straggler, and no theft.
    visit(&layer, &stolen, async |_| ()).await;
    assert_eq!(presented(&layer, "superseded"), 1);
    let kinds = [SessionEventKind::ReplacedIdPresented];
    assert_eq!(told(&mut events, kinds.clone()).await, [""; 0]);

    pass(MINUTE).await;
    for _ in 0..2 {
        assert_eq!(value(&layer, &stolen, "user").await, None);
    }
    assert_eq!(told(&mut events, kinds).await, [&*id; 2]);
    assert_eq!(presented(&layer, "replaced"), 2);
    assert_eq!(value(&layer, &current, "user").await, Some(1));
}

#[tokio::test]
async fn made_up_secret_of_a_session_is_told_of_each_time() {
    let layer = layer().await;
    let mut events = layer.cluster().events();
    let (victim, id) = start(&layer, "user", 1).await;
    let (own, _) = start(&layer, "user", 2).await;
    let forged = mixed(&victim, &own);
    for _ in 0..2 {
        assert_eq!(value(&layer, &forged, "user").await, None);
    }
    assert_eq!(
        told(&mut events, [SessionEventKind::ForgedIdPresented]).await,
        [&*id; 2]
    );
    assert_eq!(presented(&layer, "forged"), 2);
}

#[tokio::test]
async fn id_that_no_key_of_the_app_has_sealed_is_counted() {
    let [plain, signed, private] = sealed_in_all_ways(&layer().await);
    let (cookie, _) = start(&plain, "user", 1).await;
    for (layer, before) in [(&signed, 0), (&private, 1)] {
        assert_eq!(presented(layer, "unreadable"), before);
        assert_eq!(value(layer, &cookie, "user").await, None);
    }
    assert_eq!(presented(&plain, "unreadable"), 2);
}

#[tokio::test]
async fn id_of_no_session_is_no_event() {
    let layer = layer().await;
    let (cookie, _) = start(&layer, "user", 1).await;
    visit(&layer, &cookie, async |session| session.destroy().unwrap()).await;
    let mut events = layer.cluster().events();
    assert_eq!(value(&layer, &cookie, "user").await, None);
    let kinds = [
        SessionEventKind::ReplacedIdPresented,
        SessionEventKind::ForgedIdPresented,
    ];
    assert_eq!(told(&mut events, kinds).await, [""; 0]);
    assert_eq!(presented(&layer, "unknown"), 1);
}

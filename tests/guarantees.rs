//! What can be lost, and when: the sentences of `docs/guarantees.md` that no other test shows. All
//! on virtual time, so nothing is sent before a test waits for something.

#[path = "support/http.rs"]
mod http_support;

use std::time::Duration;

use http::{Response, header::SET_COOKIE};
use http_support::*;
use tower_cluster_sessions::{
    Ack, ClusterSessionLayer, Consistency, Expiry, Readiness, Session, test_util::TestCluster,
};

#[tokio::test(start_paused = true)]
async fn all_nodes_killed_means_all_sessions_gone() {
    let mut cluster = TestCluster::start(2).await;
    let (cookie, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    (0..2).for_each(|node| cluster.kill(node));
    for node in 0..2 {
        cluster.restart(node).await;
    }
    cluster.converged().await;
    for node in 0..2 {
        assert_eq!(cluster.cluster(node).session_count(), 0, "node{node}");
        assert_eq!(value(&layer_on(&cluster, node), &cookie, "a").await, None);
    }
}

/// With `Ack::One` a peer that is merely slower is in the place of the one that is cut off here.
#[tokio::test(start_paused = true)]
async fn change_is_lost_with_all_nodes_that_held_it() {
    for ack in [Ack::All, Ack::One] {
        let mut cluster = TestCluster::start(3).await;
        let (cookie, _) = start(&layer_on(&cluster, 0), "a", 0).await;
        cluster.cut_between(0, 2);
        cluster.cut_between(1, 2);
        set(&layer_on(&cluster, 0).with_ack(ack), &cookie, "a", 1).await;
        assert_eq!(held(&cluster, &cookie, "a").await, [1, 1, 0].map(Some));
        cluster.kill(0);
        cluster.kill(1);
        cluster.heal();
        for node in 0..2 {
            assert_eq!(cluster.restart(node).await, Readiness::Synced);
        }
        assert_eq!(held(&cluster, &cookie, "a").await, [Some(0); 3], "{ack:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn node_that_dies_takes_along_what_nobody_has_waited_for() {
    let mut cluster = TestCluster::start(2).await;
    let (cookie, _) = start(&layer_on(&cluster, 0), "a", 0).await;
    let hasty = layer_on(&cluster, 0).with_ack(Ack::None);
    set(&hasty, &cookie, "a", 1).await;
    assert_eq!(held(&cluster, &cookie, "a").await, [Some(1), Some(0)]);
    cluster.converged().await;
    assert_eq!(held(&cluster, &cookie, "a").await, [Some(1); 2]);

    set(&hasty, &cookie, "a", 2).await;
    cluster.kill(0);
    assert_eq!(cluster.restart(0).await, Readiness::Synced);
    assert_eq!(held(&cluster, &cookie, "a").await, [Some(1); 2]);
}

#[tokio::test(start_paused = true)]
async fn node_that_is_cut_off_dies_with_the_only_copy() {
    let mut cluster = TestCluster::start(2).await;
    let (cookie, _) = start(&layer_on(&cluster, 0), "a", 0).await;
    cluster.cut();
    set(&layer_on(&cluster, 0), &cookie, "a", 1).await;
    cluster.kill(0);
    cluster.heal();
    assert_eq!(cluster.restart(0).await, Readiness::Synced);
    assert_eq!(held(&cluster, &cookie, "a").await, [Some(0); 2]);
}

#[tokio::test(start_paused = true)]
async fn logout_is_unknown_beyond_a_cut_and_known_everywhere_after_it() {
    let cluster = TestCluster::start(3).await;
    let (cookie, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    cluster.cut();
    let logout = async |session: Session| session.destroy().unwrap();
    visit(&layer_on(&cluster, 0), &cookie, logout).await;
    assert_eq!(
        held(&cluster, &cookie, "a").await,
        [None, Some(1), Some(1)],
        "not known there"
    );
    cluster.heal();
    cluster.converged().await;
    assert_eq!(held(&cluster, &cookie, "a").await, [None; 3]);
}

#[tokio::test(start_paused = true)]
async fn of_updates_on_both_sides_of_a_cut_one_sides_stay_and_increments_add_up() {
    let cluster = TestCluster::start(2).await;
    let (cookie, _) = start(&layer_on(&cluster, 0), "updated", 0).await;
    cluster.cut();
    for (node, times) in [(0, 3), (1, 5)] {
        let layer = layer_on(&cluster, node);
        for _ in 0..times {
            let hit = async |session: Session| {
                let one_more = |hits: Option<u64>| hits.unwrap_or(0) + 1;
                session.update("updated", one_more).unwrap();
                session.increment("counted", 1).unwrap();
            };
            visit(&layer, &cookie, hit).await;
        }
    }
    cluster.heal();
    cluster.converged().await;
    assert_eq!(held(&cluster, &cookie, "updated").await, [Some(5); 2]);
    assert_eq!(counts(&cluster, &cookie, "counted").await, [8; 2]);
}

#[tokio::test(start_paused = true)]
async fn removed_counter_loses_the_increments_that_the_removal_has_not_seen() {
    let removals: [fn(&Session); 2] = [
        |session| assert!(session.remove("hits").unwrap()),
        |session| session.clear().unwrap(),
    ];
    for remove in removals {
        let cluster = TestCluster::start(2).await;
        let layers = [layer_on(&cluster, 0), layer_on(&cluster, 1)];
        let (cookie, _) = start(&layers[0], "a", 1).await;
        add(&layers[0], &cookie, 5).await;
        cluster.cut();
        visit(&layers[0], &cookie, async |session| remove(&session)).await;
        add(&layers[1], &cookie, 2).await;
        assert_eq!(counts(&cluster, &cookie, "hits").await, [0, 7]);
        add(&layers[0], &cookie, 3).await;
        cluster.heal();
        cluster.converged().await;
        assert_eq!(counts(&cluster, &cookie, "hits").await, [3; 2]);
        add(&layers[1], &cookie, 4).await;
        assert_eq!(counts(&cluster, &cookie, "hits").await, [7; 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn filtered_writes_die_with_their_node_unless_repair_was_quicker() {
    let mut cluster = TestCluster::start(2).await;
    let (cookie, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    let write = async |cluster: &TestCluster, name: &str| {
        let layer = layer_on(cluster, 0).with_filter("/static/.*").unwrap();
        let insert = async |session: Session| session.insert(name, 1).unwrap();
        visit_at(&layer, "/static/x", &cookie, insert).await;
        assert_eq!(held(cluster, &cookie, name).await, [Some(1), None]);
    };
    write(&cluster, "b").await;
    cluster.converged().await;
    assert_eq!(held(&cluster, &cookie, "b").await, [Some(1); 2], "repaired");

    write(&cluster, "c").await;
    cluster.kill(0);
    assert_eq!(cluster.restart(0).await, Readiness::Synced);
    assert_eq!(held(&cluster, &cookie, "c").await, [None; 2]);
}

#[tokio::test(start_paused = true)]
async fn peer_without_a_link_counts_as_one_without_the_session() {
    let mut cluster = TestCluster::start(2).await;
    let (cookie, id) = start(&layer_on(&cluster, 0), "a", 1).await;
    cluster.cut();
    assert_eq!(cluster.restart(1).await, Readiness::Alone);
    let stranger = visit(&layer_on(&cluster, 1), &cookie, async |session| {
        assert_eq!(session.get::<u64>("a").unwrap(), None);
        session.insert("a", 2).unwrap();
        session.id().unwrap()
    })
    .await;
    assert!(http_support::cookie(&stranger).is_some(), "it is replaced");
    assert_ne!(stranger.into_body(), id);
    cluster.heal();
    cluster.converged().await;
    assert_eq!(held(&cluster, &cookie, "a").await, [Some(1); 2]);
}

#[tokio::test(start_paused = true)]
async fn use_that_a_dead_node_has_not_told_of_is_made_up_for_by_keeping_copies_longer() {
    let mut cluster = TestCluster::start(2).await;
    let limited = |cluster: &TestCluster, node| {
        let layer = layer_on(cluster, node);
        layer.with_expiry(Expiry::idle(minutes(20)))
    };
    let (cookie, _) = start(&limited(&cluster, 0), "a", 1).await;
    pass(Duration::from_secs(59)).await;
    let before = cluster.cluster(0).stats().log_head;
    value(&limited(&cluster, 0), &cookie, "a").await;
    assert_eq!(cluster.cluster(0).stats().log_head, before, "not told");
    cluster.kill(0);
    pass(minutes(20) - Duration::from_secs(1)).await;
    assert_eq!(value(&limited(&cluster, 1), &cookie, "a").await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn of_two_responses_at_once_the_one_that_arrives_last_says_what_was_written() {
    let key = "6b1f0a94d3c82e57f6a90b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3e4f50";
    let cluster = TestCluster::start_with(2, |config| config.consistency_key(key)).await;
    let layers = [0, 1].map(|node| {
        let layer = layer_on(&cluster, node).with_ack(Ack::None);
        layer.with_consistency(Consistency::ReadYourWrites)
    });
    let first = visit(&layers[0], (), async |session| {
        session.insert("a", 0).unwrap();
    })
    .await;
    let [id, token] = pairs(&first).try_into().expect("both cookies");
    cluster.converged().await;
    cluster.cut();
    let both = format!("{id}; {token}");
    let mut tokens = Vec::new();
    for (layer, name) in layers.iter().zip(["left", "right"]) {
        let write = async |session: Session| session.insert(name, 1).unwrap();
        tokens.extend(pairs(&visit(layer, &both, write).await));
    }
    // The node of the right one lacks what the left one says, and knows of it only then.
    for (token, stale) in tokens.iter().zip([1, 0]) {
        let before = cluster.cluster(1).stats().stale_reads;
        let read = value(&layers[1], &format!("{id}; {token}"), "left").await;
        assert_eq!(read, None);
        let after = cluster.cluster(1).stats().stale_reads;
        assert_eq!(after - before, stale, "{token}");
    }
}

fn layer_on(cluster: &TestCluster, node: usize) -> ClusterSessionLayer {
    ClusterSessionLayer::from_cluster(cluster.cluster(node))
}

async fn set(layer: &ClusterSessionLayer, cookie: &str, name: &str, value: u64) {
    let insert = async |session: Session| session.insert(name, value).expect("it lives");
    visit(layer, cookie, insert).await;
}

async fn add(layer: &ClusterSessionLayer, cookie: &str, by: i64) {
    let increment = async |session: Session| session.increment("hits", by).expect("it lives");
    visit(layer, cookie, increment).await;
}

/// What each node holds of an attribute.
async fn held<const NODES: usize>(
    cluster: &TestCluster,
    cookie: &str,
    name: &str,
) -> [Option<u64>; NODES] {
    let mut held = [None; NODES];
    for (node, held) in held.iter_mut().enumerate() {
        // It must not wait, or what is under way would arrive.
        let layer = layer_on(cluster, node).with_ack(Ack::None);
        *held = value(&layer, cookie, name).await;
    }
    held
}

async fn counts<const NODES: usize>(
    cluster: &TestCluster,
    cookie: &str,
    name: &str,
) -> [i64; NODES] {
    let mut counts = [0; NODES];
    for (node, count) in counts.iter_mut().enumerate() {
        let read = async |session: Session| session.counter(name).expect("it lives");
        *count = visit(&layer_on(cluster, node), cookie, read)
            .await
            .into_body();
    }
    counts
}

/// `name=value` of all cookies that a response sets.
fn pairs<B>(response: &Response<B>) -> Vec<String> {
    let fields = response.headers().get_all(SET_COOKIE).iter();
    let pair = |field: &str| field.split(';').next().unwrap_or_default().to_owned();
    fields
        .map(|field| pair(field.to_str().expect("ascii")))
        .collect()
}

//! Requests at once, and nodes that die.

use std::sync::Arc;

use http::{StatusCode, header::SET_COOKIE};
use tokio::sync::Barrier;
use tower_cluster_sessions::test_util::TestCluster;

use super::visitor::{DOORS, Door, Visitor, everywhere, shown};

/// Another visitor with the same cookie.
fn again<'a>(
    cluster: &'a TestCluster,
    door: Door,
    node: usize,
    cookie: &Option<String>,
) -> Visitor<'a> {
    let mut visitor = Visitor::new(cluster, door, &[node]);
    visitor.cookie.clone_from(cookie);
    visitor
}

/// Has a visitor's request read the session, then something else happen, and then the request write.
async fn while_slow_to_write(
    mut slow: Visitor<'_>,
    name: &'static str,
    meanwhile: impl Future<Output = String>,
) {
    let (has_read, may_write) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let barriers = (Arc::clone(&has_read), Arc::clone(&may_write));
    let write = slow.visit(move |s| {
        let (has_read, may_write) = barriers.clone();
        async move {
            shown(s.get_value("start").await);
            has_read.wait().await;
            may_write.wait().await;
            shown(s.insert(name, 1).await)
        }
    });
    let other = async {
        has_read.wait().await;
        meanwhile.await;
        may_write.wait().await;
    };
    tokio::join!(write, other);
}

#[tokio::test(start_paused = true)]
async fn requests_at_once_lose_none_of_each_others_entries() {
    for door in DOORS {
        for nodes in [[0, 0], [0, 1]] {
            let cluster = TestCluster::start(2).await;
            let mut first = Visitor::new(&cluster, door, &[0]);
            first
                .visit(async |s| shown(s.insert("start", 0).await))
                .await;
            let both_have_read = Arc::new(Barrier::new(2));
            let [mut one, mut two] = nodes.map(|node| again(&cluster, door, node, &first.cookie));
            let write = |name: &'static str| {
                let both_have_read = Arc::clone(&both_have_read);
                move |s: crate::tower_sessions::Session| {
                    let both_have_read = Arc::clone(&both_have_read);
                    async move {
                        shown(s.get_value(name).await);
                        both_have_read.wait().await;
                        shown(s.insert(name, 1).await)
                    }
                }
            };
            tokio::join!(one.visit(write("one")), two.visit(write("two")));
            for name in ["one", "two"] {
                let read = first
                    .visit(move |s| async move { shown(s.get::<u64>(name).await) })
                    .await;
                assert_eq!(read, "Some(1)", "{door:?} {nodes:?} {name}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn save_after_a_logout_revives_nothing() {
    for door in DOORS {
        for nodes in [[0, 0], [0, 1]] {
            let cluster = TestCluster::start(2).await;
            let mut first = Visitor::new(&cluster, door, &[0]);
            first
                .visit(async |s| shown(s.insert("start", 0).await))
                .await;
            let [slow, mut quick] = nodes.map(|node| again(&cluster, door, node, &first.cookie));
            let out = quick.visit(async |s| shown(s.flush().await));
            while_slow_to_write(slow, "late", out).await;
            cluster.converged().await;
            for node in [0, 1] {
                assert_eq!(
                    cluster.cluster(node).session_count(),
                    0,
                    "{door:?} {nodes:?}"
                );
            }
            let mut last = again(&cluster, door, 1, &first.cookie);
            let read = last
                .visit(async |s| shown(s.get::<u64>("late").await))
                .await;
            assert_eq!(read, "None", "{door:?} {nodes:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn cycled_session_of_the_layer_keeps_what_a_parallel_request_writes() {
    let cluster = TestCluster::start(2).await;
    let mut first = Visitor::new(&cluster, Door::Layer, &[0]);
    first
        .visit(async |s| shown(s.insert("start", 0).await))
        .await;
    let slow = again(&cluster, Door::Layer, 1, &first.cookie);
    let cycle = first.visit(async |s| shown(s.cycle_id().await));
    while_slow_to_write(slow, "parallel", cycle).await;
    let read = first
        .visit(async |s| shown(s.get::<u64>("parallel").await))
        .await;
    assert_eq!(read, "Some(1)");
}

#[tokio::test(start_paused = true)]
async fn node_that_dies_between_requests_takes_nothing_with_it() {
    for door in DOORS {
        let mut cluster = TestCluster::start(2).await;
        let mut cookie = None;
        for round in 0..4_u64 {
            let node = usize::from(round % 2 == 1);
            let mut visitor = again(&cluster, door, node, &cookie);
            let read = visitor.visit(move |s| async move {
                let read = s.get::<u64>("round").await.expect("it can be read");
                s.insert("round", round).await.expect("it can be written");
                shown::<_, ()>(Ok(read))
            });
            let expected = format!("{:?}", round.checked_sub(1));
            assert_eq!(read.await, expected, "{door:?}");
            cookie = visitor.cookie;
            // As by `kill -9`, right after the response.
            cluster.kill(node);
            let mut other = again(&cluster, door, 1 - node, &cookie);
            let read = other
                .visit(async |s| shown(s.get::<u64>("round").await))
                .await;
            assert_eq!(read, format!("Some({round})"), "{door:?}");
            cluster.restart(node).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn request_that_is_dropped_after_a_flush_has_logged_out() {
    everywhere(async |cluster, mut visitor| {
        visitor.visit(async |s| shown(s.insert("a", 1).await)).await;
        let hung = visitor.answer(async |s| {
            shown(s.flush().await);
            std::future::pending().await
        });
        let given_up = tokio::time::timeout(std::time::Duration::from_secs(5), hung).await;
        assert!(given_up.is_err());
        cluster.converged().await;
        assert_eq!(cluster.cluster(0).session_count(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn cookie_that_was_replaced_a_moment_ago_does_not_write_to_the_layers_session() {
    let cluster = TestCluster::start(2).await;
    let mut visitor = Visitor::new(&cluster, Door::Layer, &[0, 1]);
    visitor.visit(async |s| shown(s.insert("a", 1).await)).await;
    let mut late = again(&cluster, Door::Layer, 1, &visitor.cookie);
    visitor.visit(async |s| shown(s.cycle_id().await)).await;
    let (status, text, headers) = late
        .answer(async |s| shown(s.insert("late", 1).await))
        .await;
    assert_eq!((status, &*text), (StatusCode::CONFLICT, ""));
    assert!(!headers.contains_key(SET_COOKIE));
    assert_eq!(cluster.cluster(0).session_count(), 1);
    // Whoever logs in with it gets a session of their own.
    let login = late.visit(async |s| {
        s.cycle_id().await.expect("there is none");
        shown(s.insert("user", "bob").await)
    });
    login.await;
    assert_eq!(cluster.cluster(0).session_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn session_of_the_layer_can_be_saved_and_flushed_after_the_response() {
    let cluster = TestCluster::start(2).await;
    let mut visitor = Visitor::new(&cluster, Door::Layer, &[0]);
    visitor.visit(async |s| shown(s.insert("a", 1).await)).await;
    let (kept, mut sessions) = tokio::sync::mpsc::channel(1);
    visitor
        .visit(move |s| {
            let kept = kept.clone();
            async move {
                shown(s.get_value("a").await);
                shown::<_, ()>(Ok(kept.send(s).await.is_ok()))
            }
        })
        .await;
    let session = sessions.recv().await.expect("it was kept");
    session.insert("b", 2).await.expect("it can be written");
    session.save().await.expect("it lives");
    let mut other = again(&cluster, Door::Layer, 1, &visitor.cookie);
    cluster.converged().await;
    let read = other.visit(async |s| shown(s.get::<u64>("b").await)).await;
    assert_eq!(read, "Some(2)");
    session.flush().await.expect("it lives");
    cluster.converged().await;
    assert_eq!(cluster.cluster(1).session_count(), 0);
}

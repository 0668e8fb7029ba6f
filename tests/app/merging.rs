//! Nodes that write to one session at once.

use std::time::Duration;

use tower_cluster_sessions::{Expiry, Readiness, test_util::TestCluster};

use crate::{
    app_support::layer_on,
    http_support::{set_cookie, start, value, visit},
};

#[tokio::test(start_paused = true)]
async fn different_attributes_written_on_two_nodes_at_once_are_both_kept() {
    let cluster = TestCluster::start(2).await;
    let layers = [layer_on(&cluster, 0), layer_on(&cluster, 1)];
    let (cookie, _) = start(&layers[0], "base", 0).await;
    let write = async |node: usize, name: &str| {
        for round in 1..=20 {
            visit(&layers[node], &cookie, async |session| {
                session.insert(name, round).unwrap();
            })
            .await;
        }
    };
    tokio::join!(write(0, "left"), write(1, "right"));
    cluster.converged().await;
    for layer in &layers {
        for (name, expected) in [("base", 0), ("left", 20), ("right", 20)] {
            assert_eq!(value(layer, &cookie, name).await, Some(expected), "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn increments_of_two_nodes_add_up_whatever_the_network_does() {
    let cluster = TestCluster::start(2).await;
    let layers = [layer_on(&cluster, 0), layer_on(&cluster, 1)];
    let (cookie, _) = start(&layers[0], "a", 0).await;
    let count = async |node: usize, times: usize| {
        for _ in 0..times {
            visit(&layers[node], &cookie, async |session| {
                session.increment("hits", 1).unwrap();
            })
            .await;
        }
    };
    tokio::join!(count(0, 10), count(1, 20));
    cluster.cut();
    tokio::join!(count(0, 30), count(1, 40));
    cluster.heal();
    tokio::join!(count(0, 50), count(1, 60));
    cluster.converged().await;
    for layer in &layers {
        let hits = visit(layer, &cookie, async |session| session.counter("hits"));
        assert_eq!(hits.await.into_body().unwrap(), 210);
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_writes_to_one_attribute_the_later_wins_everywhere() {
    let cluster = TestCluster::start(2).await;
    let layers = [layer_on(&cluster, 0), layer_on(&cluster, 1)];
    let (cookie, _) = start(&layers[0], "a", 0).await;
    cluster.cut();
    // Within one millisecond later means written more often.
    for (node, value) in [(0, 1), (0, 2), (1, 3), (1, 4), (1, 5)] {
        visit(&layers[node], &cookie, async |session| {
            session.insert("a", value).unwrap();
        })
        .await;
    }
    cluster.heal();
    cluster.converged().await;
    let seen = [
        value(&layers[0], &cookie, "a").await,
        value(&layers[1], &cookie, "a").await,
    ];
    assert_eq!(seen, [Some(5); 2]);
}

#[tokio::test(start_paused = true)]
async fn session_destroyed_on_one_side_of_a_cut_does_not_come_back_from_the_other() {
    let cluster = TestCluster::start(2).await;
    let layers = [layer_on(&cluster, 0), layer_on(&cluster, 1)];
    let (cookie, _) = start(&layers[0], "a", 0).await;
    cluster.cut();
    visit(&layers[0], &cookie, async |session| {
        session.destroy().unwrap()
    })
    .await;
    visit(&layers[1], &cookie, async |session| {
        session.insert("a", 1).unwrap();
    })
    .await;
    cluster.heal();
    cluster.converged().await;
    for layer in &layers {
        assert_eq!(value(layer, &cookie, "a").await, None);
    }
    assert_eq!(cluster.cluster(1).session_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn remember_me_holds_on_all_nodes_also_after_restarts() {
    let mut cluster = TestCluster::start(2).await;
    let month = Expiry::idle(Duration::from_secs(30 * 24 * 60 * 60));
    let (cookie, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    visit(&layer_on(&cluster, 0), &cookie, async |session| {
        session.set_expiry(month).unwrap();
        session.set_persistent(true).unwrap();
    })
    .await;
    for node in [0, 1] {
        // Each has it from the other, by a transfer of sessions that nobody uses.
        tokio::time::sleep(Duration::from_secs(10)).await;
        cluster.converged().await;
        cluster.kill(node);
        assert_eq!(cluster.restart(node).await, Readiness::Synced);
        let response = visit(&layer_on(&cluster, node), &cookie, async |session| {
            session.set_expiry(month).unwrap();
            (session.expiry().unwrap(), session.is_persistent().unwrap())
        })
        .await;
        let field = set_cookie(&response).expect("the cookie again");
        assert!(
            field.starts_with(&cookie) && field.contains("; Max-Age="),
            "{field}"
        );
        assert_eq!(response.into_body(), (month, true));
    }
}

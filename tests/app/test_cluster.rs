//! The clusters that users test their apps on.

use tower_cluster_sessions::{MemberState, Readiness, test_util::TestCluster};

use crate::{
    app_support::{layer_on, until_seen},
    http_support::{start, value, visit},
};

#[tokio::test(start_paused = true)]
async fn what_one_node_answered_for_is_on_all_others() {
    let cluster = TestCluster::start(3).await;
    let (cookie, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    for node in 1..3 {
        let held = value(&layer_on(&cluster, node), &cookie, "a").await;
        assert_eq!(held, Some(1), "node{node}");
    }
}

#[tokio::test(start_paused = true)]
async fn killed_node_takes_nothing_along_and_gets_all_of_it_back() {
    let mut cluster = TestCluster::start(2).await;
    let (cookie, id) = start(&layer_on(&cluster, 0), "a", 1).await;
    cluster.kill(0);
    cluster.kill(0);
    let layer = layer_on(&cluster, 1);
    let survivor = visit(&layer, &cookie, async |session| {
        session.insert("a", 2).unwrap();
        session.id().unwrap()
    });
    assert_eq!(survivor.await.into_body(), id);
    until_seen(&cluster, 1, "node0", MemberState::Down).await;
    assert_eq!(cluster.restart(0).await, Readiness::Synced);
    assert_eq!(value(&layer_on(&cluster, 0), &cookie, "a").await, Some(2));
    cluster.converged().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_node_still_writes_reaches_nobody() {
    let mut cluster = TestCluster::start(2).await;
    let dead = layer_on(&cluster, 0);
    let (cookie, _) = start(&dead, "a", 1).await;
    cluster.kill(0);
    visit(&dead, &cookie, async |session| {
        session.insert("a", 2).unwrap()
    })
    .await;
    assert_eq!(cluster.restart(0).await, Readiness::Synced);
    for node in 0..2 {
        let held = value(&layer_on(&cluster, node), &cookie, "a").await;
        assert_eq!(held, Some(1), "node{node}");
    }
    assert_eq!(value(&dead, &cookie, "a").await, Some(2), "it is alone");
}

#[tokio::test(start_paused = true)]
async fn running_node_is_killed_by_its_restart() {
    let mut cluster = TestCluster::start(2).await;
    let before = cluster.cluster(0).stats().boot;
    start(&layer_on(&cluster, 0), "a", 1).await;
    assert_eq!(cluster.restart(0).await, Readiness::Synced);
    assert_ne!(cluster.cluster(0).stats().boot, before);
    cluster.converged().await;
    assert_eq!(cluster.cluster(0).session_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn cut_nodes_converge_each_on_its_own_and_together_when_healed() {
    let cluster = TestCluster::start(2).await;
    let (cookie, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    cluster.cut();
    let alone = layer_on(&cluster, 0);
    visit(&alone, &cookie, async |session| {
        session.insert("a", 2).unwrap()
    })
    .await;
    cluster.converged().await;
    assert_eq!(value(&layer_on(&cluster, 1), &cookie, "a").await, Some(1));
    cluster.heal();
    cluster.converged().await;
    assert_eq!(value(&layer_on(&cluster, 1), &cookie, "a").await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn two_nodes_that_do_not_reach_each_other_are_equal_through_a_third() {
    let cluster = TestCluster::start(3).await;
    cluster.cut_between(0, 1);
    let (cookie, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    cluster.converged().await;
    assert_eq!(value(&layer_on(&cluster, 1), &cookie, "a").await, Some(1));
    cluster.heal_between(1, 0);
    cluster.converged().await;
    until_seen(&cluster, 0, "node1", MemberState::Up).await;
}

#[tokio::test]
async fn time_need_not_be_paused() {
    let mut cluster = TestCluster::start_with(2, |config| config.route("blue")).await;
    let (cookie, id) = start(&layer_on(&cluster, 1), "a", 1).await;
    assert!(id.ends_with(".blue"), "{id}");
    cluster.restart(0).await;
    cluster.converged().await;
    assert_eq!(value(&layer_on(&cluster, 0), &cookie, "a").await, Some(1));
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "node1 is killed: restart it first")]
async fn killed_node_has_no_handle() {
    let mut cluster = TestCluster::start(2).await;
    cluster.kill(1);
    let _ = cluster.cluster(1);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "node0 and node1 are not linked")]
async fn nodes_that_never_meet_are_not_waited_for_for_ever() {
    TestCluster::start_with(2, |config| {
        let name = format!("{config:?}").contains("node1").to_string();
        config.cluster(name)
    })
    .await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "node0 cannot start")]
async fn configuration_that_cannot_work_is_told() {
    TestCluster::start_with(1, |config| config.max_sessions(0)).await;
}

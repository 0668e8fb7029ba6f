//! Members that come, go, and act on everybody's sessions.

use tower_cluster_sessions::{
    Event, MemberEvent, MemberEventKind, MemberState, test_util::TestCluster,
};

use crate::{
    app_support::{layer_on, until, until_seen},
    http_support::{cookie, start, value, visit},
};

#[tokio::test(start_paused = true)]
async fn session_that_logs_its_user_out_elsewhere_lives_on() {
    let cluster = TestCluster::start(2).await;
    let (here, id) = start(&layer_on(&cluster, 0), "user", 1).await;
    let (elsewhere, _) = start(&layer_on(&cluster, 1), "user", 1).await;
    let (other_user, _) = start(&layer_on(&cluster, 1), "user", 2).await;
    let asked = cluster.cluster(0);
    let ended = asked
        .sessions("")
        .destroy_where_except("user", &1, &id)
        .await;
    assert_eq!(ended.unwrap().sessions, 1);
    for node in 0..2 {
        let layer = layer_on(&cluster, node);
        assert_eq!(value(&layer, &here, "user").await, Some(1));
        assert_eq!(value(&layer, &elsewhere, "user").await, None);
        assert_eq!(value(&layer, &other_user, "user").await, Some(2));
    }
    let ended = asked.sessions("").destroy_where("user", &1).await;
    assert_eq!(ended.unwrap().sessions, 1, "also the session that asks");
    assert_eq!(value(&layer_on(&cluster, 0), &here, "user").await, None);
}

#[tokio::test(start_paused = true)]
async fn user_is_logged_out_everywhere() {
    let cluster = TestCluster::start(2).await;
    let layers = [layer_on(&cluster, 0), layer_on(&cluster, 1)];
    let mut cookies = Vec::new();
    for (layer, user) in [(0, "ann"), (1, "ann"), (1, "bob")] {
        let response = visit(&layers[layer], (), async |session| {
            session.insert("user", user).unwrap();
            session.insert("a", 1).unwrap();
        });
        cookies.push(cookie(&response.await).unwrap());
    }
    let logged_out = cluster
        .cluster(0)
        .sessions("")
        .destroy_where("user", &"ann")
        .await;
    let logged_out = logged_out.unwrap();
    assert_eq!(logged_out.sessions, 2);
    assert_eq!(logged_out.answered, ["node1"]);
    assert!(logged_out.unanswered.is_empty());
    for layer in &layers {
        let mut seen = Vec::new();
        for cookie in &cookies {
            seen.push(value(layer, cookie, "a").await);
        }
        assert_eq!(seen, [None, None, Some(1)]);
    }
}

#[tokio::test(start_paused = true)]
async fn one_session_is_ended_by_its_id_from_any_node() {
    let cluster = TestCluster::start(2).await;
    let (cookie, id) = start(&layer_on(&cluster, 0), "a", 1).await;
    assert!(cluster.cluster(1).destroy(&id).await);
    assert_eq!(value(&layer_on(&cluster, 0), &cookie, "a").await, None);
    assert!(!cluster.cluster(0).destroy(&id).await);
}

#[tokio::test(start_paused = true)]
async fn peers_taken_off_and_put_on_the_list_at_run_time_are_told_as_events() {
    let cluster = TestCluster::start(2).await;
    let [one, two] = [cluster.cluster(0), cluster.cluster(1)];
    let mut events = two.events();
    let at = |cluster: &tower_cluster_sessions::Cluster| {
        cluster.local_address().expect("it listens").to_string()
    };
    assert!(two.remove_peer(at(one)));
    assert!(one.remove_peer(at(two)));
    assert!(one.members().is_empty() && two.members().is_empty());
    let (cookie, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    assert_eq!(value(&layer_on(&cluster, 1), &cookie, "a").await, None);
    assert_eq!(two.add_peer(at(one)), Ok(true));
    let up = until(
        &mut events,
        |event| matches!(event, Event::Member(member) if member.kind == MemberEventKind::Up),
    )
    .await;
    let Event::Member(MemberEvent { name, address, .. }) = up else {
        panic!("{up:?}");
    };
    assert_eq!((&*name, &*address), ("node0", &*at(one)));
    cluster.converged().await;
    assert_eq!(value(&layer_on(&cluster, 1), &cookie, "a").await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn node_that_is_to_destroy_sessions_on_leaving_ends_them_everywhere() {
    for (destroys, left) in [(false, 2), (true, 0)] {
        let cluster =
            TestCluster::start_with(2, |config| config.destroy_sessions_on_leave(destroys)).await;
        let (cookie, _) = start(&layer_on(&cluster, 0), "a", 1).await;
        start(&layer_on(&cluster, 1), "a", 1).await;
        cluster.cluster(0).leave().await;
        until_seen(&cluster, 1, "node0", MemberState::Left).await;
        assert_eq!(cluster.cluster(1).session_count(), left);
        let held = value(&layer_on(&cluster, 1), &cookie, "a").await;
        assert_eq!(held.is_some(), !destroys);
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_end_with_the_last_node() {
    let mut cluster = TestCluster::start(2).await;
    let (cookie, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    for node in 0..2 {
        cluster.cluster(node).leave().await;
        cluster.kill(node);
    }
    for node in 0..2 {
        cluster.restart(node).await;
    }
    cluster.converged().await;
    for node in 0..2 {
        assert_eq!(
            cluster.cluster(node).session_count(),
            0,
            "nothing is on disk"
        );
        assert_eq!(value(&layer_on(&cluster, node), &cookie, "a").await, None);
    }
}

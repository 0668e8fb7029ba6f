//! Two nodes that cannot reach each other, and a third that both reach.

use std::time::Duration;

use http::Response;
use tower_cluster_sessions::{Ack, test_util::TestCluster};

use crate::{
    app_support::layer_on,
    http_support::{cookie, set_cookie, start, value, visit},
};

/// Waits for as long as an order may take along a path of links, and no node repairs anything.
async fn messages_have_arrived() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

async fn values(cluster: &TestCluster, nodes: usize, cookie: &str) -> Vec<Option<u64>> {
    let mut values = Vec::new();
    for node in 0..nodes {
        values.push(value(&layer_on(cluster, node), cookie, "a").await);
    }
    values
}

async fn log_out(cluster: &TestCluster, node: usize, cookie: &str) -> Response<()> {
    let layer = layer_on(cluster, node);
    let out = visit(&layer, cookie, async |session| session.destroy()).await;
    out.map(|destroyed| destroyed.expect("it can be destroyed"))
}

/// Returns a cookie, or its value, with another secret and the same key.
fn with_made_up_secret(cookie: &str) -> String {
    match cookie.strip_suffix('A') {
        Some(most) => format!("{most}Q"),
        None => format!("{}A", &cookie[..cookie.len() - 1]),
    }
}

#[tokio::test(start_paused = true)]
async fn logout_at_a_node_that_does_not_know_the_session_is_logout_everywhere() {
    let cluster = TestCluster::start(3).await;
    cluster.cut_between(0, 1);
    let (cookie, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    assert_eq!(values(&cluster, 3, &cookie).await, [Some(1), None, Some(1)]);
    let out = log_out(&cluster, 1, &cookie).await;
    assert!(set_cookie(&out).expect("removal").contains("Max-Age=0"));
    assert_eq!(value(&layer_on(&cluster, 2), &cookie, "a").await, None);
    messages_have_arrived().await;
    assert_eq!(values(&cluster, 3, &cookie).await, [None; 3]);
    cluster.heal();
    cluster.converged().await;
    assert_eq!(values(&cluster, 3, &cookie).await, [None; 3]);
}

#[tokio::test(start_paused = true)]
async fn logout_that_overtakes_the_session_is_final() {
    let cluster = TestCluster::start(2).await;
    let layers = [0, 1].map(|node| layer_on(&cluster, node).with_ack(Ack::None));
    let (cookie, _) = start(&layers[0], "a", 1).await;
    visit(&layers[1], &cookie, async |session| {
        session.destroy().unwrap();
    })
    .await;
    messages_have_arrived().await;
    cluster.converged().await;
    assert_eq!(values(&cluster, 2, &cookie).await, [None; 2]);
}

#[tokio::test(start_paused = true)]
async fn logout_beside_a_cut_reaches_the_session_after_it() {
    let cluster = TestCluster::start(2).await;
    cluster.cut();
    let (cookie, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    log_out(&cluster, 1, &cookie).await;
    assert_eq!(values(&cluster, 2, &cookie).await, [Some(1), None]);
    cluster.heal();
    cluster.converged().await;
    assert_eq!(values(&cluster, 2, &cookie).await, [None; 2]);
}

#[tokio::test(start_paused = true)]
async fn cookie_that_cycle_id_replaces_is_dead_where_its_session_is_not_known() {
    let cluster = TestCluster::start(3).await;
    cluster.cut_between(0, 1);
    let (old, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    let layer = layer_on(&cluster, 1);
    let login = visit(&layer, &old, async |session| {
        session.cycle_id().unwrap();
        session.insert("a", 2).unwrap();
    });
    let new = cookie(&login.await).expect("a new session");
    messages_have_arrived().await;
    assert_eq!(values(&cluster, 3, &old).await, [None; 3]);
    cluster.heal();
    cluster.converged().await;
    assert_eq!(values(&cluster, 3, &old).await, [None; 3]);
    assert_eq!(values(&cluster, 3, &new).await, [Some(2); 3]);
}

/// The key is in public ids. It must not be enough.
#[tokio::test(start_paused = true)]
async fn logout_with_a_made_up_secret_destroys_nothing() {
    let cluster = TestCluster::start(3).await;
    cluster.cut_between(0, 1);
    let (cookie, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    log_out(&cluster, 1, &with_made_up_secret(&cookie)).await;
    messages_have_arrived().await;
    assert_eq!(values(&cluster, 3, &cookie).await, [Some(1), None, Some(1)]);
}

#[tokio::test(start_paused = true)]
async fn session_is_ended_by_its_id_where_it_is_not_known() {
    let cluster = TestCluster::start(3).await;
    cluster.cut_between(0, 1);
    let (cookie, id) = start(&layer_on(&cluster, 0), "a", 1).await;
    assert!(cluster.cluster(1).destroy(&id).await);
    cluster.heal();
    cluster.converged().await;
    assert_eq!(values(&cluster, 3, &cookie).await, [None; 3]);
}

#[tokio::test(start_paused = true)]
async fn session_is_ended_by_its_cookie_value_where_it_is_not_known() {
    let cluster = TestCluster::start(3).await;
    cluster.cut_between(0, 1);
    let (cookie, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    let (_, text) = cookie.split_once('=').expect("name and value");
    let one = cluster.cluster(1);
    let value = one.sessions("").parse_cookie(text).expect("unsealed");
    // Neither the key alone nor another context may end it.
    let made_up = with_made_up_secret(text);
    let made_up = one.sessions("").parse_cookie(&made_up).expect("a value");
    for (sessions, value) in [(one.sessions(""), &made_up), (one.sessions("shop"), &value)] {
        let known = sessions.destroy_with(value, Ack::All).await;
        assert!(!known.expect("an order"));
        messages_have_arrived().await;
        assert_eq!(values(&cluster, 3, &cookie).await, [Some(1), None, Some(1)]);
    }
    let known = one.sessions("").destroy_with(&value, Ack::All).await;
    assert!(!known.expect("an order"), "it is not here");
    messages_have_arrived().await;
    assert_eq!(values(&cluster, 3, &cookie).await, [None; 3]);
    cluster.heal();
    cluster.converged().await;
    assert_eq!(values(&cluster, 3, &cookie).await, [None; 3]);
}

#[tokio::test(start_paused = true)]
async fn session_is_ended_by_its_cookie_value_where_it_is_known() {
    let cluster = TestCluster::start(2).await;
    let (cookie, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    let (_, text) = cookie.split_once('=').expect("name and value");
    let sessions = cluster.cluster(1).sessions("");
    let old = sessions.parse_cookie(text).expect("unsealed");
    let layer = layer_on(&cluster, 0);
    let login = visit(&layer, &cookie, async |session| {
        session.cycle_id().expect("it lives");
    });
    let new = crate::http_support::cookie(&login.await).expect("another id");
    let known = sessions.destroy_with(&old, Ack::All).await;
    assert!(!known.expect("no order"), "it was replaced");
    assert_eq!(values(&cluster, 2, &new).await, [Some(1); 2]);
    let (_, text) = new.split_once('=').expect("name and value");
    let value = sessions.parse_cookie(text).expect("unsealed");
    assert!(
        sessions
            .destroy_with(&value, Ack::All)
            .await
            .expect("no order")
    );
    assert_eq!(values(&cluster, 2, &new).await, [None; 2]);
    let again = sessions.destroy_with(&value, Ack::All).await;
    assert!(!again.expect("no order"));
}

#[tokio::test(start_paused = true)]
async fn user_is_logged_out_beyond_a_partial_cut() {
    let cluster = TestCluster::start(3).await;
    cluster.cut_between(0, 1);
    let (cookie, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    let destroyed = cluster
        .cluster(1)
        .sessions("")
        .destroy_where("a", &1)
        .await
        .unwrap();
    assert_eq!(destroyed.answered, ["node0", "node2"]);
    assert!(destroyed.unanswered.is_empty(), "{destroyed:?}");
    assert!(destroyed.sessions >= 1, "{destroyed:?}");
    messages_have_arrived().await;
    assert_eq!(values(&cluster, 3, &cookie).await, [None; 3]);
}

#[tokio::test(start_paused = true)]
async fn user_is_logged_out_on_nodes_that_are_met_later_unless_logged_in_again() {
    let cluster = TestCluster::start(2).await;
    cluster.cut();
    let (before, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    let (other, _) = start(&layer_on(&cluster, 0), "a", 2).await;
    let destroyed = cluster
        .cluster(1)
        .sessions("")
        .destroy_where("a", &1)
        .await
        .unwrap();
    assert_eq!(destroyed.sessions, 0);
    assert_eq!(destroyed.unanswered, ["node0"]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (after, _) = start(&layer_on(&cluster, 0), "a", 1).await;
    cluster.heal();
    cluster.converged().await;
    assert_eq!(values(&cluster, 2, &before).await, [None; 2]);
    assert_eq!(values(&cluster, 2, &other).await, [Some(2); 2]);
    assert_eq!(values(&cluster, 2, &after).await, [Some(1); 2]);
}

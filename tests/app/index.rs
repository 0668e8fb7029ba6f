//! Sessions that are found by what they hold, listed, and ended together.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::time::sleep;
use tower_cluster_sessions::{
    Changes, Cluster, ClusterConfig, ClusterSessionLayer, Expiry, SessionError, SessionInfo,
    Sessions, test_util::TestCluster,
};

use crate::{
    app_support::{in_time, layer_on},
    http_support::{minutes, pass, start, value, visit},
};

fn indexed(config: ClusterConfig) -> ClusterConfig {
    config.index("user")
}

fn ids(infos: &[SessionInfo]) -> Vec<&str> {
    infos.iter().map(|info| &*info.id).collect()
}

async fn found(cluster: &Cluster, user: u64) -> Vec<String> {
    let found = cluster.sessions("").find("user", &user).await;
    let infos = found.expect("it is indexed");
    infos.into_iter().map(|info| info.id).collect()
}

/// Creates a session with what the changes write. Returns its id.
fn create(sessions: &Sessions, user: u64) -> String {
    let mut changes = Changes::new();
    changes.insert("user", user).expect("a number");
    let (session, _) = sessions.create(&changes).expect("there is room");
    session.id().expect("it lives")
}

#[tokio::test(start_paused = true)]
async fn sessions_of_a_user_are_found_on_any_node_the_one_used_last_first() {
    let cluster = TestCluster::start_with(2, indexed).await;
    let expiry = Expiry::idle(minutes(4));
    let layers = [0, 1].map(|node| layer_on(&cluster, node).with_expiry(expiry));
    let (phone, phone_id) = start(&layers[0], "user", 7).await;
    pass(minutes(1)).await;
    let (laptop, laptop_id) = start(&layers[1], "user", 7).await;
    start(&layers[1], "user", 8).await;
    cluster.converged().await;
    for node in [0, 1] {
        let of_both = [laptop_id.clone(), phone_id.clone()];
        assert_eq!(found(cluster.cluster(node), 7).await, of_both);
        assert_eq!(found(cluster.cluster(node), 9).await, [""; 0]);
    }
    pass(minutes(2)).await;
    visit(&layers[0], &phone, async |session| session.insert("a", 1)).await;
    cluster.converged().await;
    for node in [0, 1] {
        let infos = cluster.cluster(node).sessions("").find("user", &7).await;
        let infos = infos.expect("it is indexed");
        assert_eq!(ids(&infos), [&*phone_id, &*laptop_id]);
        assert_eq!(infos[0].attributes, ["a", "user"]);
        assert!(infos[0].bytes > infos[1].bytes);
        assert!(infos[0].age >= minutes(3));
    }
    // What takes the value away, one way or another.
    visit(&layers[1], &phone, async |session| {
        session.insert("user", 8)
    })
    .await;
    visit(&layers[0], &laptop, async |session| session.remove("user")).await;
    for node in [0, 1] {
        assert_eq!(found(cluster.cluster(node), 7).await, [""; 0]);
        assert_eq!(found(cluster.cluster(node), 8).await.len(), 2);
    }
    pass(minutes(5)).await;
    for node in [0, 1] {
        assert_eq!(found(cluster.cluster(node), 8).await, [""; 0], "expired");
    }
}

#[tokio::test(start_paused = true)]
async fn node_that_starts_finds_the_sessions_that_others_have() {
    let mut cluster = TestCluster::start_with(2, indexed).await;
    let mut expected = Vec::new();
    for _ in 0..30 {
        expected.push(start(&layer_on(&cluster, 0), "user", 7).await.1);
    }
    expected.sort_unstable();
    // Packed by now, and so taken in.
    pass(Duration::from_secs(10)).await;
    cluster.restart(1).await;
    let mut there = found(cluster.cluster(1), 7).await;
    there.sort_unstable();
    assert_eq!(there, expected);
}

#[tokio::test(start_paused = true)]
async fn name_that_is_not_indexed_is_an_error_that_names_the_fix() {
    let cluster = Cluster::start(indexed(ClusterConfig::standalone())).await;
    let sessions = cluster.expect("nothing is bound").sessions("");
    create(&sessions, 7);
    let error = sessions.find("user_id", &7).await.expect_err("no index");
    let SessionError::NotIndexed { name, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(&**name, "user_id");
    let fix = r#"add `index("user_id")` to the `ClusterConfig`"#;
    assert!(error.to_string().contains(fix), "{error}");
    let refused = sessions.find("user", &f64::NAN).await;
    assert!(matches!(refused, Err(SessionError::Encode { .. })));
}

#[tokio::test(start_paused = true)]
async fn sessions_of_another_context_are_not_found_nor_listed() {
    let cluster = Cluster::start(indexed(ClusterConfig::standalone())).await;
    let cluster = cluster.expect("nothing is bound");
    let shop = cluster.sessions("shop");
    let id = create(&shop, 7);
    create(&cluster.sessions("forum"), 7);
    let found = shop.find("user", &7).await.expect("it is indexed");
    assert_eq!(ids(&found), [&*id]);
    assert_eq!(ids(&shop.page(None, 10).await.sessions), [&*id]);
    let _layer = ClusterSessionLayer::from_cluster(&cluster)
        .with_context("mail")
        .check();
    assert_eq!(cluster.contexts(), ["forum", "mail", "shop"]);
}

#[tokio::test(start_paused = true)]
async fn sessions_are_found_by_a_field_of_an_attribute() {
    let config = ClusterConfig::standalone().index("login#/user/id");
    let cluster = Cluster::start(config).await.expect("nothing is bound");
    let sessions = cluster.sessions("");
    for user in [7, 8] {
        let mut changes = Changes::new();
        let login = serde_json::json!({"user": {"id": user}, "at": "noon"});
        changes.insert("login", login).expect("an object");
        sessions.create(&changes).expect("there is room");
    }
    let found = sessions.find("login#/user/id", &7).await;
    assert_eq!(found.expect("it is indexed").len(), 1);
    assert!(matches!(
        sessions.find("login", &7).await,
        Err(SessionError::NotIndexed { .. })
    ));
    let ended = sessions.destroy_where("login#/user/id", &8).await;
    assert_eq!(ended.expect("a number").sessions, 1);
    assert_eq!(cluster.session_count(), 1);
}

/// One node has an index and the other none; each destroys what the other is asked for.
#[tokio::test(start_paused = true)]
async fn user_is_logged_out_on_nodes_with_an_index_and_on_those_without() {
    for asked in [0, 1] {
        let is_first = AtomicBool::new(true);
        let configure = |config: ClusterConfig| {
            let config = config.ack_timeout(Duration::from_millis(50));
            match is_first.swap(false, Ordering::Relaxed) {
                true => indexed(config),
                false => config,
            }
        };
        let cluster = TestCluster::start_with(2, configure).await;
        cluster.cut();
        for node in [0, 1] {
            for user in [7, 7, 8] {
                start(&layer_on(&cluster, node), "user", user).await;
            }
        }
        let sessions = cluster.cluster(asked).sessions("");
        let ended = sessions.destroy_where("user", &7).await.expect("a number");
        assert_eq!((ended.sessions, ended.answered.len()), (2, 0));
        cluster.heal();
        let held = || [0, 1].map(|node| cluster.cluster(node).session_count());
        let is_done = async {
            while held() != [2, 2] {
                sleep(Duration::from_millis(10)).await;
            }
        };
        in_time("the other node carries it out", is_done).await;
    }
}

#[tokio::test(start_paused = true)]
async fn user_is_logged_out_of_all_devices_but_this_one_by_the_index() {
    let cluster = TestCluster::start_with(2, indexed).await;
    let layer = layer_on(&cluster, 0);
    let (here, id) = start(&layer, "user", 7).await;
    for node in [0, 1, 1] {
        start(&layer_on(&cluster, node), "user", 7).await;
    }
    let sessions = cluster.cluster(1).sessions("");
    let ended = sessions.destroy_where_except("user", &7, &id).await;
    assert_eq!(ended.expect("a number").sessions, 3);
    for node in [0, 1] {
        assert_eq!(found(cluster.cluster(node), 7).await, [&*id]);
    }
    assert_eq!(value(&layer, &here, "user").await, Some(7));
}

#[tokio::test(start_paused = true)]
async fn pages_show_each_session_once_though_others_come_and_go() {
    let cluster = Cluster::start(ClusterConfig::standalone()).await;
    let cluster = cluster.expect("nothing is bound");
    let sessions = cluster.sessions("");
    let mut staying: Vec<String> = (0..50).map(|_| create(&sessions, 1)).collect();
    let mut going: Vec<String> = (0..50).map(|_| create(&sessions, 2)).collect();
    let mut seen = Vec::new();
    let mut next = None;
    loop {
        let page = sessions.page(next.as_deref(), 7).await;
        assert!(page.sessions.len() == 7 || page.next.is_none());
        seen.extend(page.sessions.into_iter().map(|info| info.id));
        next = page.next;
        // The last one of the page may go, too.
        let last = next.iter().filter(|last| !staying.contains(last));
        let some = going.split_off(going.len().saturating_sub(5));
        for gone in last.chain(&some) {
            cluster.destroy(gone).await;
        }
        create(&sessions, 3);
        if next.is_none() {
            break;
        }
    }
    let twice = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), twice);
    staying.retain(|id| !seen.contains(id));
    assert_eq!(staying, [""; 0], "not shown");
    assert!(
        sessions
            .page(Some("_____________________w"), 7)
            .await
            .sessions
            .is_empty()
    );
    let first = sessions.page(None, 0).await.sessions;
    assert_eq!(first.len(), 1);
    assert_eq!(sessions.page(Some("no id"), 1).await.sessions, first);
}

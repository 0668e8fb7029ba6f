//! Maps that the app itself has on all nodes.

use std::time::Duration;

use tokio::time::{sleep, timeout};
use tower_cluster_sessions::{
    Changes, ClusterConfig, CookieValue, Expiry, ReplicatedMap, SessionError,
    test_util::TestCluster,
};

use crate::{
    app_support::layer_on,
    http_support::{start, value},
};

/// The map called `flags` of each node.
fn flags(cluster: &TestCluster, nodes: usize) -> Vec<ReplicatedMap> {
    let on = |node| cluster.cluster(node).map("flags");
    (0..nodes).map(on).collect()
}

fn number(map: &ReplicatedMap, name: &str) -> Option<u64> {
    map.get(name).expect("a number, if any")
}

#[tokio::test(start_paused = true)]
async fn map_of_the_app_is_on_every_node_and_survives_the_death_of_each() {
    let mut cluster = TestCluster::start(2).await;
    let maps = flags(&cluster, 2);
    maps[0].insert("a", 1).expect("there is room");
    assert_eq!(maps[0].replicated().await, 1);
    assert_eq!(number(&maps[1], "a"), Some(1));
    drop(maps);
    for node in [0, 1, 0] {
        cluster.kill(node);
        let other = cluster.cluster(1 - node).map("flags");
        let read = other.update("a", |a: Option<u64>| a.unwrap_or(0) + 1);
        let written = read.expect("there is room");
        cluster.restart(node).await;
        assert_eq!(
            number(&cluster.cluster(node).map("flags"), "a"),
            Some(written)
        );
    }
    assert_eq!(number(&cluster.cluster(1).map("flags"), "a"), Some(4));
}

#[tokio::test(start_paused = true)]
async fn map_of_the_app_has_no_end() {
    let cluster = TestCluster::start(2).await;
    let maps = flags(&cluster, 2);
    maps[0].insert("a", 1).expect("there is room");
    // Longer than a session lives that nobody uses.
    sleep(Duration::from_secs(40 * 60)).await;
    for map in &maps {
        assert_eq!(number(map, "a"), Some(1));
    }
}

#[tokio::test(start_paused = true)]
async fn what_several_nodes_write_into_a_map_at_once_is_all_there() {
    let cluster = TestCluster::start(3).await;
    cluster.cut();
    let maps = flags(&cluster, 3);
    for (node, map) in maps.iter().enumerate() {
        map.insert(&node.to_string(), node).expect("there is room");
        map.increment("sum", 1).expect("there is room");
    }
    cluster.heal();
    cluster.converged().await;
    for map in &maps {
        let all = map.snapshot();
        let all: Vec<_> = all
            .iter()
            .map(|(name, json)| format!("{name}={json}"))
            .collect();
        assert_eq!(all, ["0=0", "1=1", "2=2", "sum=3"]);
        assert_eq!(map.counter("sum").expect("a counter"), 3);
    }
    let mut changes = Changes::new();
    changes.clear();
    changes.insert("b", 7).expect("a number");
    maps[1].change(&changes).expect("there is room");
    maps[1].replicated().await;
    assert_eq!(maps[2].snapshot().len(), 1);
    assert!(maps[2].remove("b").expect("a name"));
    assert!(!maps[2].remove("b").expect("a name"));
}

/// What stands between an update and its map.
#[derive(Debug)]
enum BookingError {
    SoldOut,
    Session(SessionError),
}

impl From<SessionError> for BookingError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

#[tokio::test(start_paused = true)]
async fn value_of_a_map_is_updated_taken_and_had_as_json() {
    let cluster = TestCluster::start(2).await;
    let maps = flags(&cluster, 2);
    let book = |map: &ReplicatedMap| {
        map.try_update("booked", |booked: Option<u8>| match booked {
            Some(2..) => Err(BookingError::SoldOut),
            booked => Ok(booked.unwrap_or(0) + 1),
        })
    };
    for expected in [1, 2] {
        // Nobody has begun the map before the first.
        let booked = book(&maps[0]);
        assert!(matches!(booked, Ok(held) if held == expected), "{booked:?}");
        assert_eq!(maps[0].replicated().await, 1);
    }
    assert!(matches!(book(&maps[1]), Err(BookingError::SoldOut)));
    assert_eq!(number(&maps[1], "booked"), Some(2));
    maps[0].increment("sum", 1).expect("there is room");
    let counter = maps[0].try_update("sum", |_: Option<u8>| Err(BookingError::SoldOut));
    let is_refused = matches!(
        counter,
        Err(BookingError::Session(SessionError::WrongKind { .. }))
    );
    assert!(is_refused, "{counter:?}");

    maps[0].insert_json("limits", r#"{"a": 1}"#).expect("JSON");
    assert!(maps[0].insert_json("limits", "{").is_err());
    maps[0].replicated().await;
    let json = maps[1].get_json("limits").expect("a value");
    assert_eq!(json.as_deref(), Some(r#"{"a": 1}"#));
    assert_eq!(maps[1].get_json("none").expect("none"), None);

    // What is of another type stays.
    assert!(maps[1].take::<u8>("limits").is_err());
    assert_eq!(maps[1].take("booked").expect("a number"), Some(2));
    assert_eq!(maps[1].take::<u8>("booked").expect("none"), None);
    maps[1].replicated().await;
    assert_eq!(number(&maps[0], "booked"), None);
    assert!(maps[0].get_json("limits").expect("a value").is_some());
    let empty = cluster.cluster(0).map("empty");
    assert_eq!(empty.take::<u8>("a").expect("none"), None);
}

#[tokio::test(start_paused = true)]
async fn nobody_opens_destroys_or_lists_a_map_as_a_session() {
    let cluster = TestCluster::start(2).await;
    let map = cluster.cluster(0).map("flags");
    map.insert("a", 1).expect("there is room");
    map.replicated().await;
    let (cookie, id) = start(&layer_on(&cluster, 0), "a", 2).await;
    let node = cluster.cluster(1);
    assert_eq!(node.contexts(), [""]);
    let page = node.sessions("").page(None, 10).await;
    let listed: Vec<_> = page.sessions.into_iter().map(|info| info.id).collect();
    assert_eq!(listed, [id]);
    let destroyed = node.sessions("").destroy_where("a", &1).await;
    assert_eq!(destroyed.expect("a number").sessions, 0);

    // Its key is a hash of its name, which is no secret.
    let key: [u8; 16] = {
        use sha2::Digest as _;
        let digest = sha2::Sha256::digest("map:flags");
        digest[..16].try_into().expect("it is longer")
    };
    let guessed = CookieValue::new(key, [0; 16]).expose();
    let layer = layer_on(&cluster, 1);
    assert_eq!(
        value(&layer, &format!("__Host-id={guessed}"), "a").await,
        None
    );
    use base64::Engine as _;
    let id = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(key);
    assert!(node.sessions("").open(&id).await.is_none());
    assert!(!node.destroy(&id).await, "a map has no end");
    assert_eq!(number(&node.map("flags"), "a"), Some(1));
    assert_eq!(value(&layer, &cookie, "a").await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn map_that_grows_too_large_says_so() {
    let limits = |config: ClusterConfig| config.max_attributes(2).max_sessions(2);
    let cluster = TestCluster::start_with(1, limits).await;
    let map = cluster.cluster(0).map("flags");
    map.insert("a", 1).expect("there is room");
    map.insert("b", 1).expect("there is room");
    let third = map.insert("c", 1);
    assert!(matches!(
        third,
        Err(SessionError::TooLarge { limit: 2, .. })
    ));
    assert!(matches!(
        map.counter("a"),
        Err(SessionError::WrongKind { .. })
    ));
    let mut changes = Changes::new();
    let hour = Expiry::idle(Duration::from_secs(3600));
    changes.set_expiry(hour).expect("not zero");
    assert!(matches!(map.change(&changes), Err(SessionError::NeverEnds)));

    cluster
        .cluster(0)
        .map("more")
        .insert("a", 1)
        .expect("room for two");
    let third = cluster.cluster(0).map("most").insert("a", 1);
    assert!(matches!(third, Err(SessionError::Full)));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_change_of_a_map_learns_of_that_of_another_node() {
    let cluster = TestCluster::start(2).await;
    let mut maps = flags(&cluster, 2);
    let minute = Duration::from_secs(60);
    assert!(timeout(minute, maps[1].changed()).await.is_err());
    maps[0].insert("a", 1).expect("there is room");
    timeout(minute, maps[1].changed())
        .await
        .expect("it was begun");
    assert!(timeout(minute, maps[1].changed()).await.is_err());
    maps[0].insert("a", 2).expect("there is room");
    timeout(minute, maps[1].changed())
        .await
        .expect("it was written");
    assert_eq!(number(&maps[1], "a"), Some(2));
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "must be 1 to 60 bytes long")]
async fn name_of_a_map_is_not_too_long() {
    let cluster = TestCluster::start(1).await;
    let _ = cluster.cluster(0).map(&"x".repeat(61));
}

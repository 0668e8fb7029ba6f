//! What attackers and floods try with cookies, with each kind of seal.

use std::time::Duration;

use http::{Response, header::SET_COOKIE};
use tower_cluster_sessions::{
    Ack, ClusterConfig, ClusterSessionLayer, Expiry, Session, SessionError, test_util::TestCluster,
};

use crate::http_support::*;

/// Session fixation: the attacker has the victim's browser use a session that the attacker knows.
#[tokio::test(start_paused = true)]
async fn session_planted_before_the_login_shows_the_attacker_nothing_of_it() {
    for layer in sealed_in_all_ways(&layer().await) {
        let (planted, _) = start(&layer, "a", 1).await;
        let response = visit(&layer, &planted, async |session| {
            session.cycle_id().unwrap();
            session.insert("user", 7).unwrap();
        })
        .await;
        let victims = cookie(&response).expect("another cookie");
        assert_ne!(victims, planted);
        // For a minute it is known that the id was replaced; then it is a stranger's.
        for wait in [0, 61] {
            pass(Duration::from_secs(wait)).await;
            let response = visit(&layer, &planted, async |session| {
                assert_eq!(session.id(), None);
                session.get::<u64>("user").unwrap()
            })
            .await;
            assert_eq!(set_cookie(&response), None);
            assert_eq!(response.into_body(), None);
        }
        assert_eq!(value(&layer, &victims, "user").await, Some(7));
    }
}

/// Session fixation with an id that nobody minted.
#[tokio::test]
async fn made_up_id_is_not_the_one_the_victim_logs_in_with() {
    const MADE_UP: &str = "__Host-id=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for layer in sealed_in_all_ways(&layer().await) {
        let response = visit(&layer, MADE_UP, async |session| {
            session.cycle_id().unwrap();
            session.insert("user", 7).unwrap();
        })
        .await;
        let victims = cookie(&response).expect("a session of its own");
        assert_eq!(value(&layer, MADE_UP, "user").await, None);
        assert_eq!(value(&layer, &victims, "user").await, Some(7));
    }
}

/// Cookie tossing: a sibling domain has the browser send cookies of our name before ours.
#[tokio::test]
async fn tossed_cookies_do_not_push_a_user_out_of_the_session() {
    for layer in sealed_in_all_ways(&layer().await) {
        let (victims, _) = start(&layer, "a", 1).await;
        let (ended, _) = start(&layer, "a", 2).await;
        visit(&layer, &ended, async |session| session.destroy().unwrap()).await;
        let (replaced, _) = start(&layer, "a", 3).await;
        visit(&layer, &replaced, async |session| {
            session.cycle_id().unwrap()
        })
        .await;
        let tossed = [
            "__Host-id=".to_owned(),
            "__Host-id=junk".to_owned(),
            format!("{}A", victims),
            format!("__Host-id={}", "A".repeat(43)),
            format!("__Host-id={}", "x".repeat(8000)),
            ended,
            replaced,
            victims,
        ];
        for cookies in [&[tossed.join("; ")][..], &tossed] {
            let response = visit(&layer, cookies, async |session| {
                session.insert("b", 1).unwrap();
                session.get::<u64>("a").unwrap()
            })
            .await;
            assert_eq!(set_cookie(&response), None);
            assert_eq!(response.into_body(), Some(1));
        }
    }
}

#[tokio::test]
async fn oversize_and_malformed_cookies_open_nothing_and_hide_nothing() {
    for layer in sealed_in_all_ways(&layer().await) {
        let (good, _) = start(&layer, "a", 1).await;
        let sent = good.strip_prefix("__Host-id=").expect("the name");
        for bad in [
            String::new(),
            "\"".to_owned(),
            ".".to_owned(),
            format!(".{sent}"),
            format!("\"{sent}"),
            format!("\"\"{sent}\"\""),
            // One `=` more makes the older form of some encrypted values, which opens.
            format!("{sent}=="),
            format!("={sent}"),
            sent[1..].to_owned(),
            sent[..sent.len() - 1].to_owned(),
            sent.repeat(2),
            sent.repeat(500),
            "=".repeat(sent.len()),
            format!("{}%3D", &sent[..sent.len() - 3]),
            sent.to_ascii_lowercase(),
        ] {
            let alone = format!("__Host-id={bad}");
            let response = visit(&layer, &alone, async |session| session.id()).await;
            assert!(
                !response.headers().contains_key(SET_COOKIE),
                "no removal: {alone}"
            );
            assert_eq!(response.into_body(), None, "{alone}");
            let beside = format!("{alone}; __Host-id; =; ;; {good}");
            assert_eq!(value(&layer, &beside, "a").await, Some(1), "{alone}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn logout_wins_over_a_request_under_way_on_another_node() {
    let cluster = TestCluster::start(2).await;
    for (one, two) in in_all_ways_on_both(&cluster) {
        let (client, _) = start(&one, "a", 1).await;
        let response = visit(&two, &client, async |session| {
            assert_eq!(session.get::<u64>("a").unwrap(), Some(1));
            log_out(&one, &client).await;
            for result in [
                session.insert("a", 2),
                session.increment("b", 1).map(drop),
                session.cycle_id(),
            ] {
                assert!(matches!(result, Err(SessionError::Destroyed)), "{result:?}");
            }
        })
        .await;
        assert_eq!(set_cookie(&response), None);
        cluster.converged().await;
        for node in [&one, &two] {
            assert_eq!(node.cluster().session_count(), 0);
            assert_eq!(value(node, &client, "a").await, None);
        }
    }
}

/// Neither request hears of the other before both are answered.
#[tokio::test(start_paused = true)]
async fn of_a_logout_and_a_write_at_once_on_two_nodes_the_logout_wins() {
    let cluster = TestCluster::start(2).await;
    for (one, two) in in_all_ways_on_both(&cluster) {
        let two = two.with_ack(Ack::None);
        for write_first in [true, false] {
            let (client, _) = start(&one, "a", 1).await;
            let hasty = one.clone().with_ack(Ack::None);
            let write = async || {
                let response = visit(&two, &client, async |session| {
                    session.insert("a", 2).unwrap();
                    session.cycle_id().unwrap();
                })
                .await;
                cookie(&response).expect("another id")
            };
            let cycled = if write_first {
                let cycled = write().await;
                log_out(&hasty, &client).await;
                cycled
            } else {
                log_out(&hasty, &client).await;
                write().await
            };
            cluster.converged().await;
            for node in [&one, &two] {
                assert_eq!(node.cluster().session_count(), 0);
                for client in [&client, &cycled] {
                    assert_eq!(value(node, client, "a").await, None);
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn flood_of_new_sessions_is_refused_while_users_work_on_until_there_is_room() {
    for way in 0..3 {
        let config = ClusterConfig::standalone().max_sessions(3);
        let all = sealed_in_all_ways(&ClusterSessionLayer::new(config));
        let layer = &all[way].clone().with_expiry(Expiry::idle(minutes(30)));
        let mut users = Vec::new();
        for _ in 0..3 {
            users.push(start(layer, "hits", 0).await.0);
        }
        for round in 1..=50 {
            assert_refused(&come(layer).await);
            for user in &users {
                hit(layer, user).await;
                assert_eq!(value(layer, user, "hits").await, Some(round));
            }
        }

        // Room by a logout is room for one.
        log_out(layer, &users.pop().expect("three")).await;
        let newcomer = come(layer).await;
        users.push(cookie(&newcomer).expect("it is let in"));
        assert_refused(&come(layer).await);
        assert_eq!(value(layer, &users[0], "hits").await, Some(50));

        // So is that of those who stay away.
        pass(minutes(20)).await;
        hit(layer, &users[0]).await;
        pass(minutes(15)).await;
        assert_eq!(layer.cluster().session_count(), 1);
        for _ in 0..2 {
            assert!(cookie(&come(layer).await).is_some());
        }
        assert_refused(&come(layer).await);
        assert_eq!(value(layer, &users[0], "hits").await, Some(51));
    }
}

#[tokio::test(start_paused = true)]
async fn flood_on_one_node_fills_all_and_leaves_their_users_alone() {
    let cluster = TestCluster::start_with(2, |config| config.max_sessions(10)).await;
    let [one, two] = [0, 1].map(|node| ClusterSessionLayer::from_cluster(cluster.cluster(node)));
    let (user, _) = start(&two, "hits", 0).await;
    for stranger in 0..100 {
        let response = come(&one).await;
        assert_eq!(cookie(&response).is_some(), stranger < 9, "{stranger}");
    }
    cluster.converged().await;
    for node in [&one, &two] {
        assert_eq!(node.cluster().session_count(), 10);
        assert_refused(&come(node).await);
        hit(node, &user).await;
    }
    assert_eq!(value(&one, &user, "hits").await, Some(2));

    log_out(&one, &user).await;
    assert!(cookie(&come(&two).await).is_some(), "there is room on both");
}

/// What fills a million places in 143 seconds, and ten times as much, for a thousand of them. Bots
/// come once; visitors come back.
#[tokio::test(start_paused = true)]
async fn flood_of_bots_keeps_neither_visitors_nor_newcomers_out() {
    for bots_per_second in [7, 70] {
        let config = ClusterConfig::standalone().max_sessions(1_000);
        let layer = ClusterSessionLayer::new(config);
        let mut visitors = Vec::new();
        for second in 0..300 {
            for _ in 0..bots_per_second {
                assert!(
                    cookie(&come(&layer).await).is_some(),
                    "room in second {second}"
                );
            }
            if second % 10 == 0 {
                let newcomer = come(&layer).await;
                visitors.push(cookie(&newcomer).expect("newcomers are served"));
            }
            // All come back in their fourth second, and again once in a minute.
            for (number, visitor) in visitors.iter().enumerate() {
                let age = second - number * 10;
                if age == 4 || age > 4 && age % 60 == 0 {
                    hit(&layer, visitor).await;
                }
            }
            pass(Duration::from_secs(1)).await;
        }
        for visitor in &visitors {
            assert!(value(&layer, visitor, "hits").await.is_some(), "kept");
        }
        let stats = layer.cluster().stats();
        assert_eq!(stats.full, 0);
        assert_eq!(stats.evicted > 0, bots_per_second == 70, "{stats:?}");
        pass(minutes(3)).await;
        assert_eq!(layer.cluster().session_count(), visitors.len());
    }
}

/// 200 strangers store 260 KB each, as much as one session may hold, and 52 MB in all.
#[tokio::test(start_paused = true)]
async fn large_anonymous_sessions_fill_no_more_than_max_bytes() {
    const ROOM: usize = 16 << 20;
    const OF_STRANGERS: usize = ROOM - ROOM / 16;
    let cluster = TestCluster::start_with(2, |config| config.max_bytes(ROOM)).await;
    let [one, two] = [0, 1].map(|node| ClusterSessionLayer::from_cluster(cluster.cluster(node)));
    let (user, _) = start(&two, "hits", 0).await;
    let padding = "x".repeat(260_000);
    let come = async |node| {
        visit(node, (), async |session| {
            session.insert("padding", &padding)
        })
        .await
    };
    let mut let_in = 0;
    for stranger in 0..200 {
        let response = come([&one, &two][stranger % 2]).await;
        match response.body() {
            Ok(()) => let_in += 1,
            Err(_) => assert_refused(&response),
        }
    }
    assert!(
        (OF_STRANGERS / 300_000..=OF_STRANGERS / 260_000).contains(&let_in),
        "{let_in}"
    );
    cluster.converged().await;
    for node in [&one, &two] {
        let stats = node.cluster().stats();
        assert_eq!((stats.sessions, stats.max_bytes), (let_in + 1, ROOM));
        assert!(stats.session_bytes <= ROOM, "{stats:?}");
        assert!(stats.full > 0, "{stats:?}");
        hit(node, &user).await;
    }
    assert_eq!(value(&one, &user, "hits").await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn visitors_who_came_back_may_write_more_while_strangers_fill_max_bytes() {
    const ROOM: usize = 16 << 20;
    let cluster = TestCluster::start_with(2, |config| config.max_bytes(ROOM)).await;
    let [one, two] = [0, 1].map(|node| ClusterSessionLayer::from_cluster(cluster.cluster(node)));
    let mut users = Vec::new();
    for _ in 0..4 {
        let (user, _) = start(&one, "hits", 0).await;
        hit(&two, &user).await;
        users.push(user);
    }
    let padding = "x".repeat(200_000);
    let fill = async |node, client: &str| {
        let response = visit(node, client, async |session| {
            session.insert("padding", &padding)
        });
        response.await.into_body()
    };
    while fill(&one, "").await.is_ok() {}
    for user in &users {
        fill(&two, user).await.expect("room is kept for them");
    }
    assert!(matches!(fill(&two, "").await, Err(SessionError::Full)));
}

#[tokio::test(start_paused = true)]
async fn visitors_who_log_out_shut_nobody_out() {
    let small = |config: ClusterConfig| config.max_sessions(100).max_tombstone_bytes(64 * 1024);
    let alone = ClusterSessionLayer::new(small(ClusterConfig::standalone()));
    let lonely = TestCluster::start_with(1, small).await;
    let pair = TestCluster::start_with(2, small).await;
    let of = |cluster: &TestCluster| ClusterSessionLayer::from_cluster(cluster.cluster(0));
    // A node that has peers remembers a thousand of them, and a few more.
    for (layer, visitors, remembered) in [
        (alone, 400, 0..=0),
        (of(&lonely), 400, 0..=0),
        (of(&pair), 400, 400..=400),
        (of(&pair), 1000, 1024..=1280),
    ] {
        let layer = layer.with_expiry(Expiry::idle(30 * 24 * minutes(60)));
        for _ in 0..visitors {
            let (visitor, _) = start(&layer, "hits", 1).await;
            log_out(&layer, &visitor).await;
        }
        let visitor = come(&layer).await;
        assert!(cookie(&visitor).is_some(), "the next one is served");
        let stats = layer.cluster().stats();
        assert!(remembered.contains(&stats.tombstones), "{stats:?}");
        assert_eq!(stats.full, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn visitors_whose_id_changes_for_ever_are_never_refused() {
    let cluster = TestCluster::start_with(2, |config| config.max_sessions(1)).await;
    let layer = ClusterSessionLayer::from_cluster(cluster.cluster(0));
    let (mut visitor, _) = start(&layer, "hits", 1).await;
    for _ in 0..1000 {
        let response = visit(&layer, &visitor, async |session| session.cycle_id()).await;
        visitor = cookie(&response).expect("another id");
        response.into_body().expect("it is never refused");
    }
    assert_eq!(value(&layer, &visitor, "hits").await, Some(1));
}

/// Somebody without a session does what creates one.
async fn come(layer: &ClusterSessionLayer) -> Response<Result<(), SessionError>> {
    visit(layer, (), async |session| session.insert("hits", 0)).await
}

fn assert_refused(response: &Response<Result<(), SessionError>>) {
    assert!(matches!(response.body(), Err(SessionError::Full)));
    assert!(!response.headers().contains_key(SET_COOKIE), "no cookie");
}

async fn hit(layer: &ClusterSessionLayer, user: &str) {
    let one_more = |hits: Option<u64>| hits.unwrap_or(0) + 1;
    let hit = async |session: Session| session.update("hits", one_more);
    let response = visit(layer, user, hit).await;
    assert_eq!(set_cookie(&response), None);
    response.into_body().expect("users work on");
}

async fn log_out(layer: &ClusterSessionLayer, client: &str) {
    let response = visit(layer, client, async |session| session.destroy()).await;
    response.into_body().expect("destroyed");
}

/// The two nodes' layers, with the same seal.
fn in_all_ways_on_both(
    cluster: &TestCluster,
) -> impl Iterator<Item = (ClusterSessionLayer, ClusterSessionLayer)> {
    let layers =
        |node| sealed_in_all_ways(&ClusterSessionLayer::from_cluster(cluster.cluster(node)));
    layers(0).into_iter().zip(layers(1))
}

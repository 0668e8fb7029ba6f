//! How many sessions may have one value: so many devices for each user.

use std::time::Duration;

use tokio::time::sleep;
use tower_cluster_sessions::{
    AtLimit, Changes, Cluster, ClusterConfig, ClusterSessionLayer, LayerError, SessionError,
    SessionInfo, test_util::TestCluster,
};

use crate::{
    app_support::{in_time, layer_on},
    http_support::{cookie, start, value, visit},
};

fn indexed(config: ClusterConfig) -> ClusterConfig {
    config.index("user").index("login#/id")
}

async fn alone() -> ClusterSessionLayer {
    let cluster = Cluster::start(indexed(ClusterConfig::standalone())).await;
    ClusterSessionLayer::from_cluster(&cluster.expect("nothing is bound"))
}

/// Returns whether a login of the user is refused.
async fn is_refused(layer: &ClusterSessionLayer, user: u64) -> bool {
    let login = visit(layer, (), async |session| session.insert("user", user)).await;
    let has_cookie = cookie(&login).is_some();
    match login.into_body() {
        Ok(()) => false,
        Err(SessionError::LimitReached { name, limit, .. }) => {
            assert_eq!((&*name, limit), ("user", 2));
            assert!(!has_cookie, "nothing was created");
            true
        }
        Err(error) => panic!("{error}"),
    }
}

/// Clocks stand still and do not tell which login was first.
#[tokio::test(start_paused = true)]
async fn oldest_login_ends_when_a_user_has_too_many() {
    let cluster = TestCluster::start_with(2, indexed).await;
    let layers = [0, 1].map(|node| layer_on(&cluster, node));
    let layers = layers.map(|layer| layer.with_limit("user", 2, AtLimit::EndOldest));
    let mut logins = Vec::new();
    for at in 0..4 {
        logins.push(start(&layers[at % 2], "user", 7).await.0);
        let (other, _) = start(&layers[0], "user", 100 + at as u64).await;
        for (number, login) in logins.iter().enumerate() {
            let expected = (number + 2 > at).then_some(7);
            for layer in &layers {
                assert_eq!(
                    value(layer, login, "user").await,
                    expected,
                    "{number} of {at}"
                );
            }
        }
        assert_eq!(
            value(&layers[1], &other, "user").await,
            Some(100 + at as u64)
        );
    }
    // A session that was begun before the login counts from the login on.
    let (early, _) = start(&layers[0], "cart", 1).await;
    visit(&layers[1], &early, async |session| {
        session.insert("user", 7)
    })
    .await;
    assert_eq!(value(&layers[0], &logins[2], "user").await, None);
    assert_eq!(value(&layers[0], &early, "user").await, Some(7));
}

#[tokio::test(start_paused = true)]
async fn login_beyond_the_limit_is_refused_until_another_one_ends() {
    let layer = alone().await.with_limit("user", 2, AtLimit::Refuse);
    let (first, _) = start(&layer, "user", 7).await;
    assert!(!is_refused(&layer, 7).await);
    assert!(is_refused(&layer, 7).await);
    assert!(!is_refused(&layer, 8).await);
    // Who is in may write what it has.
    let again = visit(&layer, &first, async |session| {
        session.insert("user", 7)?;
        session.update("user", |user: Option<u64>| user.unwrap_or(0))?;
        session.insert("cart", 1)
    });
    again.await.into_body().expect("it has a place");
    // Every way to write is held to it.
    let (other, _) = start(&layer, "cart", 1).await;
    let refused = visit(&layer, &other, async |session| {
        let mut changes = Changes::new();
        changes.insert("cart", 2)?;
        changes.insert("user", 7)?;
        let results = [
            session.insert("user", 7),
            session.insert_json("user", " 7 "),
            session.update("user", |_: Option<u64>| 7).map(drop),
            session.change(&changes),
        ];
        assert!(matches!(
            results,
            [
                Err(SessionError::LimitReached { .. }),
                Err(SessionError::LimitReached { .. }),
                Err(SessionError::LimitReached { .. }),
                Err(SessionError::LimitReached { .. }),
            ]
        ));
        session.get::<u64>("cart")
    });
    assert_eq!(refused.await.into_body().expect("a number"), Some(1));
    let sessions = layer.sessions().expect("the options are fine");
    let mut changes = Changes::new();
    changes.insert("user", 7).expect("a number");
    let held = layer.cluster().session_count();
    assert!(sessions.create(&changes).is_err());
    assert_eq!(layer.cluster().session_count(), held, "nothing was created");
    visit(&layer, &first, async |session| session.destroy()).await;
    assert!(!is_refused(&layer, 7).await);
}

/// Nodes that do not know of each other's logins let more in, and agree afterwards on who stays.
#[tokio::test(start_paused = true)]
async fn limit_is_exact_again_after_a_cut() {
    for at_limit in [AtLimit::EndOldest, AtLimit::Refuse] {
        let cluster = TestCluster::start_with(2, indexed).await;
        let layers = [0, 1].map(|node| layer_on(&cluster, node).with_limit("user", 2, at_limit));
        cluster.cut();
        let mut logins = Vec::new();
        for node in [0, 0, 1, 1] {
            logins.push(start(&layers[node], "user", 7).await.0);
        }
        cluster.heal();
        cluster.converged().await;
        let counts = || [0, 1].map(|node| cluster.cluster(node).session_count());
        let is_exact = async {
            while counts() != [2, 2] {
                sleep(Duration::from_millis(10)).await;
            }
        };
        in_time("those beyond the limit end", is_exact).await;
        let mut staying = [0, 0];
        for login in &logins {
            for (staying, layer) in staying.iter_mut().zip(&layers) {
                *staying += value(layer, login, "user").await.unwrap_or(0);
            }
        }
        assert_eq!(staying, [2 * 7; 2], "{at_limit:?}");
        let seen = |node: usize| {
            let sessions = cluster.cluster(node).sessions("");
            async move { sessions.page(None, 10).await.sessions }
        };
        let ids = |infos: Vec<SessionInfo>| infos.into_iter().map(|info| info.id);
        assert!(ids(seen(0).await).eq(ids(seen(1).await)), "{at_limit:?}");
    }
}

/// As above, clocks must go on.
#[tokio::test]
async fn limit_of_a_field_and_sessions_from_before_the_limit() {
    let layer = alone().await;
    let sessions = layer.sessions().expect("the options are fine");
    let login = |user: u64| {
        let mut changes = Changes::new();
        let login = serde_json::json!({"id": user});
        changes.insert("login", login).expect("an object");
        let (session, _) = sessions.create(&changes).expect("there is room");
        session.id().expect("it lives")
    };
    let mut ids = Vec::new();
    for _ in 0..3 {
        sleep(Duration::from_millis(50)).await;
        ids.push(login(7));
    }
    login(8);
    let limited = layer.clone().with_limit("login#/id", 2, AtLimit::EndOldest);
    limited.check().expect("it is indexed");
    let is_exact = async {
        while layer.cluster().session_count() > 3 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    in_time("the oldest ends", is_exact).await;
    let found = sessions.find("login#/id", &7).await;
    let found = found.expect("it is indexed").into_iter();
    let mut left: Vec<String> = found.map(|info| info.id).collect();
    left.sort_unstable();
    ids.remove(0);
    ids.sort_unstable();
    assert_eq!(left, ids);
}

#[tokio::test(start_paused = true)]
async fn limit_that_cannot_work_fails_at_once_and_names_the_fix() {
    let layer = alone().await;
    let refused = |layer: ClusterSessionLayer, fix: &str| {
        let error = layer.check().expect_err(fix);
        assert!(error.to_string().contains(fix), "{error}");
        error
    };
    let limited = |name: &str, most| layer.clone().with_limit(name, most, AtLimit::Refuse);
    let error = refused(limited("cart", 2), "add `index(\"cart\")`");
    assert!(matches!(error, LayerError::LimitNotIndexed { .. }));
    refused(limited("user", 0), "at least 1");
    limited("user", 2).check().expect("it is the first");
    limited("user", 2).check().expect("it is the same");
    refused(limited("user", 3), "the same `with_limit`");
    let other = limited("user", 3).with_context("shop");
    other.check().expect("it is another context's");
}

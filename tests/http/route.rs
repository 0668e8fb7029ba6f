//! The route at the end of an id, which a sticky balancer reads.

use std::cell::Cell;

use http::header::SET_COOKIE;
use tower_cluster_sessions::{
    ClusterConfig, ClusterSessionLayer, LayerError, test_util::TestCluster,
};

use crate::http_support::*;

#[tokio::test]
async fn route_follows_to_the_node_that_answers_and_the_session_is_the_same() {
    let started = Cell::new(0);
    let mut cluster = TestCluster::start_with(2, |config| {
        started.set(started.get() + 1);
        config.route(format!("route{}", started.get()))
    })
    .await;
    let plain = [0, 1].map(|node| ClusterSessionLayer::from_cluster(cluster.cluster(node)));
    let sealed = [0, 1].map(|node| sealed_in_all_ways(&plain[node]));
    let mut visitors = Vec::new();
    let [ones, twos] = sealed;
    for (one, two) in ones.into_iter().zip(twos) {
        let [one, two] = [one, two].map(|layer| layer.with_route_following(true));
        let (cookie, id) = start(&one, "a", 1).await;
        assert!(cookie.ends_with(".route1"));
        visitors.push((two, cookie, id));
    }
    cluster.kill(0);

    for (two, before, id) in visitors {
        let response = visit(&two, &before, async |session| {
            (session.id(), session.get::<u64>("a").unwrap())
        })
        .await;
        let after = cookie(&response).expect("the other route");
        assert_eq!(response.into_body(), (Some(id), Some(1)));
        assert!(after.ends_with(".route2"), "{after}");
        // Once is enough, and the id from before is as good.
        let again = visit(&two, &after, async |_| ()).await;
        assert!(!again.headers().contains_key(SET_COOKIE));
        assert_eq!(value(&two, &before, "a").await, Some(1));
    }
}

#[tokio::test]
async fn route_cannot_follow_to_a_node_without_one() {
    let layer = ClusterSessionLayer::new(ClusterConfig::standalone()).with_route_following(true);
    let error = layer.check().expect_err("no route");
    assert!(matches!(error, LayerError::NoRoute), "{error}");
    assert!(
        error.to_string().contains("ClusterConfig::route"),
        "{error}"
    );
}

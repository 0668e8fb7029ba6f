//! Requests that run for longer than a session lives without use.

use std::time::Duration;

use tokio::time::sleep;
use tower_cluster_sessions::{Expiry, test_util::TestCluster};

use crate::{
    app_support::layer_on,
    http_support::{start, value, visit},
};

#[tokio::test(start_paused = true)]
async fn long_request_that_begins_late_keeps_the_session_on_all_nodes() {
    for begin_s in [59, 61, 63, 64] {
        let cluster = TestCluster::start(2).await;
        let minute = Expiry::idle(Duration::from_secs(60));
        let layers = [0, 1].map(|node| layer_on(&cluster, node).with_expiry(minute));
        let (cookie, _) = start(&layers[0], "a", 1).await;
        cluster.converged().await;
        sleep(Duration::from_secs(begin_s)).await;
        let long = visit(&layers[0], &cookie, async |session| {
            sleep(Duration::from_secs(300)).await;
            session.get::<u64>("a").unwrap()
        });
        let watch = async {
            // A filtered request is no use, so it only looks.
            let probe = layers[1].clone().with_filter(".*").unwrap();
            for tenths in 1..2800 {
                sleep(Duration::from_millis(100)).await;
                let held = value(&probe, &cookie, "a").await;
                assert_eq!(held, Some(1), "begun at {begin_s} s, {tenths} tenths later");
            }
        };
        let (long, ()) = tokio::join!(long, watch);
        assert_eq!(long.into_body(), Some(1));
    }
}

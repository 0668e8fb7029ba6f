//! Two nodes that cannot reach each other, and a third that both reach.

use std::time::Duration;

use tower_cluster_sessions::test_util::TestCluster;

use super::visitor::{DOORS, Visitor, shown};

#[tokio::test(start_paused = true)]
async fn logout_at_a_node_that_does_not_know_the_session_ends_it() {
    for door in DOORS {
        let cluster = TestCluster::start(3).await;
        cluster.cut_between(0, 1);
        let mut visitor = Visitor::new(&cluster, door, &[0]);
        visitor.visit(async |s| shown(s.insert("a", 1).await)).await;
        let cookie = visitor.cookie.clone();
        let read = async |node: usize| {
            let mut visitor = Visitor::new(&cluster, door, &[node]);
            visitor.cookie.clone_from(&cookie);
            visitor
                .visit(async |s| shown(s.get::<u64>("a").await))
                .await
        };
        assert_eq!(read(0).await, "Some(1)", "{door:?}");
        assert_eq!(read(1).await, "None", "{door:?}");
        assert_eq!(read(2).await, "Some(1)", "{door:?}");
        visitor.nodes = vec![1];
        visitor.visit(async |s| shown(s.flush().await)).await;
        // As long as an order may take along a path of links, and no node repairs anything.
        tokio::time::sleep(Duration::from_millis(50)).await;
        for node in 0..3 {
            assert_eq!(read(node).await, "None", "{door:?} {node}");
        }
        cluster.heal();
        cluster.converged().await;
        for node in 0..3 {
            assert_eq!(read(node).await, "None", "{door:?} {node}");
        }
    }
}

//! Cookies that are signed or encrypted.

use tower_cluster_sessions::test_util::TestCluster;

use super::visitor::{DOORS, Seal, Visitor, shown};

#[tokio::test(start_paused = true)]
async fn sealed_cookies_open_their_session_on_all_nodes_and_others_none() {
    for door in DOORS {
        for seal in [Seal::Signed, Seal::Private] {
            let cluster = TestCluster::start(2).await;
            let mut visitor = Visitor::new(&cluster, door, &[0, 1]);
            visitor.seal = seal;
            visitor.visit(async |s| shown(s.insert("a", 1).await)).await;
            for _ in 0..2 {
                let read = visitor
                    .visit(async |s| shown(s.get::<u64>("a").await))
                    .await;
                assert_eq!(read, "Some(1)", "{door:?} {seal:?}");
            }
            visitor.visit(async |s| shown(s.cycle_id().await)).await;
            let read = visitor
                .visit(async |s| shown(s.get::<u64>("a").await))
                .await;
            assert_eq!(read, "Some(1)", "{door:?} {seal:?}");

            let mut plain = Visitor::new(&cluster, door, &[0]);
            plain.visit(async |s| shown(s.insert("a", 2).await)).await;
            visitor.cookie = plain.cookie;
            let read = visitor
                .visit(async |s| shown(s.get::<u64>("a").await))
                .await;
            assert_eq!(read, "None", "{door:?} {seal:?}");
        }
    }
}

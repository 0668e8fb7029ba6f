//! Cookies that are signed or encrypted.

use super::visitor::{Seal, everywhere, shown};

#[tokio::test(start_paused = true)]
async fn sealed_cookies_open_their_session_on_all_nodes_and_others_none() {
    for seal in [Seal::Signed, Seal::Private] {
        everywhere(async |_, mut visitor| {
            let mut plain = visitor.clone();
            visitor.seal = seal;
            visitor.visit(async |s| shown(s.insert("a", 1).await)).await;
            for _ in 0..2 {
                let read = visitor
                    .visit(async |s| shown(s.get::<u64>("a").await))
                    .await;
                assert_eq!(read, "Some(1)", "{visitor:?}");
            }
            visitor.visit(async |s| shown(s.cycle_id().await)).await;
            let read = visitor
                .visit(async |s| shown(s.get::<u64>("a").await))
                .await;
            assert_eq!(read, "Some(1)", "{visitor:?}");

            plain.visit(async |s| shown(s.insert("a", 2).await)).await;
            visitor.cookie = plain.cookie;
            let read = visitor
                .visit(async |s| shown(s.get::<u64>("a").await))
                .await;
            assert_eq!(read, "None", "another's cookie");
        })
        .await;
    }
}

//! Each method of their `Session`.

use std::collections::HashMap;

use http::StatusCode;
use serde_json::json;
use time::OffsetDateTime;
use tower_cluster_sessions::test_util::TestCluster;

use super::visitor::{everywhere, shown};
use crate::{
    doors::ClusterStore,
    tower_sessions::{
        SessionStore as _,
        session::{Id, Record},
    },
};

#[tokio::test(start_paused = true)]
async fn entries_are_written_read_and_removed() {
    everywhere(async |_, mut visitor| {
        visitor.visit(async |s| shown(s.insert("a", 1).await)).await;
        let first = visitor.cookie.clone().expect("a session");
        let read = visitor
            .visit(async |s| shown(s.get::<u64>("a").await))
            .await;
        assert_eq!(read, "Some(1)");
        let held =
            visitor.visit(async |s| shown(s.insert_value("a", json!({"b": [2, null]})).await));
        assert_eq!(held.await, "Some(Number(1))");
        let read = visitor.visit(async |s| shown(s.get_value("a").await)).await;
        assert_eq!(read, format!("{:?}", Some(json!({"b": [2, null]}))));
        visitor
            .visit(async |s| shown(s.insert("c", "x").await))
            .await;
        let removed = visitor
            .visit(async |s| shown(s.remove::<String>("c").await))
            .await;
        assert_eq!(removed, r#"Some("x")"#);
        let removed = visitor
            .visit(async |s| shown(s.remove_value("a").await))
            .await;
        assert_eq!(removed, format!("{:?}", Some(json!({"b": [2, null]}))));
        for name in ["a", "c"] {
            let read = visitor
                .visit(move |s| async move { shown(s.get_value(name).await) })
                .await;
            assert_eq!(read, "None", "{name}");
        }
        assert_eq!(visitor.cookie, Some(first), "the session is the same");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn value_of_another_type_is_an_error_and_stays() {
    everywhere(async |_, mut visitor| {
        visitor
            .visit(async |s| shown(s.insert("a", "text").await))
            .await;
        let refused = visitor.visit(async |s| s.get::<u64>("a").await.is_err().to_string());
        assert_eq!(refused.await, "true");
        let read = visitor
            .visit(async |s| shown(s.get::<String>("a").await))
            .await;
        assert_eq!(read, r#"Some("text")"#);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn clear_removes_all_entries_whether_they_were_loaded_or_not() {
    everywhere(async |_, mut visitor| {
        for is_loaded in [false, true] {
            let begun = visitor.visit(async |s| {
                s.insert("a", 1).await.expect("it can be written");
                shown(s.insert("b", 1).await)
            });
            begun.await;
            let cookie = visitor.cookie.clone();
            let cleared = visitor.visit(move |s| async move {
                if is_loaded {
                    shown(s.get_value("a").await);
                }
                s.clear().await;
                shown(s.insert("c", 1).await)
            });
            cleared.await;
            for (name, held) in [("a", "None"), ("b", "None"), ("c", "Some(1)")] {
                let read = visitor
                    .visit(move |s| async move { shown(s.get::<u64>(name).await) })
                    .await;
                assert_eq!(read, held, "{name}");
            }
            assert_eq!(visitor.cookie, cookie, "the session is the same");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn session_is_empty_until_it_is_written_and_modified_when_it_is() {
    everywhere(async |_, mut visitor| {
        let states = visitor.visit(async |s| {
            let before = (s.is_empty().await, s.is_modified(), s.id().is_some());
            s.insert("a", 1).await.expect("it can be written");
            format!("{before:?} {:?}", (s.is_empty().await, s.is_modified()))
        });
        assert_eq!(states.await, "(true, false, false) (false, true)");
        let states = visitor.visit(async |s| {
            let read = s.get::<u64>("a").await.expect("it can be read");
            format!(
                "{read:?} {:?}",
                (s.is_empty().await, s.is_modified(), s.id().is_some())
            )
        });
        assert_eq!(states.await, "Some(1) (false, false, true)");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn id_is_the_same_on_all_nodes_until_it_is_cycled() {
    everywhere(async |_, mut visitor| {
        visitor.visit(async |s| shown(s.insert("a", 1).await)).await;
        let id = visitor.visit(async |s| shown::<_, ()>(Ok(s.id()))).await;
        assert!(id.starts_with("Some(Id("), "{id}");
        for _ in 0..2 {
            assert_eq!(
                visitor.visit(async |s| shown::<_, ()>(Ok(s.id()))).await,
                id
            );
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn cycled_session_keeps_its_entries_and_its_old_cookie_is_worth_nothing() {
    everywhere(async |cluster, mut visitor| {
        visitor.visit(async |s| shown(s.insert("a", 1).await)).await;
        let old = visitor.cookie.clone().expect("a session");
        let cycled = visitor.visit(async |s| {
            s.cycle_id().await.expect("it lives");
            shown(s.insert("b", 2).await)
        });
        cycled.await;
        let new = visitor.cookie.clone().expect("a session");
        assert_ne!(old, new);
        for (cookie, held) in [
            (&new, "Some(1) Some(2)"),
            (&old, "None None"),
            (&new, "Some(1) Some(2)"),
        ] {
            visitor.cookie = Some(cookie.clone());
            let read = visitor.visit(async |s| {
                let [a, b] = [s.get::<u64>("a").await, s.get::<u64>("b").await].map(shown);
                format!("{a} {b}")
            });
            assert_eq!(read.await, held);
        }
        assert_eq!(cluster.cluster(0).session_count(), 1);
        // Twice in one request, and after one that has written nothing.
        visitor.cookie = Some(new);
        let cycled = visitor.visit(async |s| {
            s.cycle_id().await.expect("it lives");
            shown(s.cycle_id().await)
        });
        cycled.await;
        let read = visitor
            .visit(async |s| shown(s.get::<u64>("b").await))
            .await;
        assert_eq!(read, "Some(2)");
        assert_eq!(cluster.cluster(0).session_count(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn cycling_without_a_session_begins_one() {
    everywhere(async |cluster, mut visitor| {
        let begun = visitor.visit(async |s| {
            s.cycle_id().await.expect("there is none");
            shown(s.insert("a", 1).await)
        });
        begun.await;
        let read = visitor
            .visit(async |s| shown(s.get::<u64>("a").await))
            .await;
        assert_eq!(read, "Some(1)");
        assert_eq!(cluster.cluster(0).session_count(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn flushed_session_is_gone_everywhere_and_its_cookie_removed() {
    everywhere(async |cluster, mut visitor| {
        for is_loaded in [false, true] {
            visitor.visit(async |s| shown(s.insert("a", 1).await)).await;
            let old = visitor.cookie.clone().expect("a session");
            let flushed = visitor.visit(move |s| async move {
                if is_loaded {
                    shown(s.get_value("a").await);
                }
                shown(s.flush().await)
            });
            flushed.await;
            assert_eq!(visitor.cookie, None);
            for node in visitor.nodes.clone() {
                assert_eq!(cluster.cluster(node).session_count(), 0);
            }
            visitor.cookie = Some(old);
            let read = visitor
                .visit(async |s| shown(s.get::<u64>("a").await))
                .await;
            assert_eq!(read, "None");
            visitor.cookie = None;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_written_after_a_flush_is_in_another_session() {
    everywhere(async |cluster, mut visitor| {
        for cycles in [false, true] {
            visitor.visit(async |s| shown(s.insert("a", 1).await)).await;
            let old = visitor.cookie.clone().expect("a session");
            let id = visitor.visit(async |s| shown::<_, ()>(Ok(s.id()))).await;
            let flushed = visitor.visit(move |s| async move {
                shown(s.get_value("a").await);
                s.flush().await.expect("it lives");
                if cycles {
                    s.cycle_id().await.expect("there is none");
                }
                shown(s.insert("b", 2).await)
            });
            flushed.await;
            assert_ne!(visitor.cookie.as_ref(), Some(&old));
            let read = visitor.visit(async |s| {
                let [a, b] = [s.get::<u64>("a").await, s.get::<u64>("b").await].map(shown);
                format!("{a} {b}")
            });
            assert_eq!(read.await, "None Some(2)");
            let other = visitor.visit(async |s| shown::<_, ()>(Ok(s.id()))).await;
            assert_ne!(other, id);
            assert_eq!(cluster.cluster(0).session_count(), 1);
            visitor.visit(async |s| shown(s.flush().await)).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn deleted_session_is_gone() {
    everywhere(async |cluster, mut visitor| {
        visitor.visit(async |s| shown(s.insert("a", 1).await)).await;
        visitor.visit(async |s| shown(s.delete().await)).await;
        let read = visitor
            .visit(async |s| shown(s.get::<u64>("a").await))
            .await;
        assert_eq!(read, "None");
        assert_eq!(cluster.cluster(0).session_count(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn saving_and_loading_when_the_app_says_so() {
    everywhere(async |_, mut visitor| {
        let states = visitor.visit(async |s| {
            s.insert("a", 1).await.expect("it can be written");
            s.save().await.expect("there is room");
            let saved = s.id();
            s.insert("a", 2).await.expect("it can be written");
            s.load().await.expect("it lives");
            let loaded = s.get::<u64>("a").await.expect("it can be read");
            s.insert("b", 3).await.expect("it can be written");
            s.save().await.expect("it lives");
            format!("{loaded:?} {}", saved.is_some() && saved == s.id())
        });
        assert_eq!(states.await, "Some(1) true");
        let read = visitor.visit(async |s| {
            let [a, b] = [s.get::<u64>("a").await, s.get::<u64>("b").await].map(shown);
            format!("{a} {b}")
        });
        assert_eq!(read.await, "Some(1) Some(3)");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn name_that_no_attribute_can_have_fails_the_response() {
    everywhere(async |cluster, mut visitor| {
        let long = "x".repeat(256);
        let (status, _, _) = visitor
            .answer(move |s| {
                let name = long.clone();
                async move { shown(s.insert(&name, 1).await) }
            })
            .await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(cluster.cluster(0).session_count(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn unknown_ids_are_never_adopted() {
    everywhere(async |cluster, mut visitor| {
        for forged in [
            "id=AAAAAAAAAAAAAAAAAAAAAA",
            "__Host-id=AAAA",
            "id=malformed",
        ] {
            visitor.cookie = Some(forged.to_owned());
            visitor.visit(async |s| shown(s.insert("a", 1).await)).await;
            assert_ne!(visitor.cookie.as_deref(), Some(forged));
            visitor.visit(async |s| shown(s.flush().await)).await;
        }
        assert_eq!(cluster.cluster(0).session_count(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn public_id_of_a_record_is_that_of_its_session_in_the_cluster() {
    let cluster = TestCluster::start(2).await;
    let stores = [0, 1].map(|node| ClusterStore::new(cluster.cluster(node)));
    let mut record = Record {
        id: Id::default(),
        data: HashMap::new(),
        expiry_date: OffsetDateTime::now_utc() + time::Duration::hours(1),
    };
    stores[0].create(&mut record).await.expect("there is room");
    let page = cluster.cluster(1).sessions("").page(None, 10).await;
    let ids: Vec<Option<String>> = page
        .sessions
        .into_iter()
        .map(|info| Some(info.id))
        .collect();
    for store in &stores {
        assert_eq!(ids, [store.public_id(&record.id).await]);
    }
    assert_eq!(stores[0].public_id(&Id::default()).await, None);
}

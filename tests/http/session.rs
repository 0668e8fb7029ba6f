//! Attributes, counters and limits, as a handler meets them.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Barrier},
    thread,
};

use serde::{Deserialize, Serialize};
use tower_cluster_sessions::{
    Attribute, ClusterConfig, ClusterSessionLayer, Session, SessionError, Typed,
};

use crate::http_support::*;

/// Runs `handler` on an existing session, `a` = 1.
async fn with_session<T>(handler: impl AsyncFnOnce(Session) -> T) -> T {
    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    visit(&layer, &cookie, handler).await.into_body()
}

/// Runs `handler` on a session that does not exist yet.
async fn with_new<T>(handler: impl AsyncFnOnce(Session) -> T) -> T {
    visit(&layer().await, (), handler).await.into_body()
}

#[tokio::test]
async fn what_was_inserted_is_there_until_removed() {
    with_new(async |session| {
        session.insert("text", "x").unwrap();
        session.insert("numbers", [1, 2]).unwrap();
        assert_eq!(session.get::<String>("text").unwrap().unwrap(), "x");
        assert_eq!(session.get::<Vec<u8>>("numbers").unwrap().unwrap(), [1, 2]);
        assert!(session.contains_key("text").unwrap());
        assert!(session.remove("text").unwrap());
        assert!(!session.remove("text").unwrap());
        assert!(!session.contains_key("text").unwrap());
        assert_eq!(session.get::<String>("text").unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn session_has_an_id_from_its_first_write_on() {
    with_new(async |session| {
        assert!(session.id().is_none() && session.is_new());
        session.insert("a", 1).unwrap();
        let id = session.id().unwrap();
        assert_eq!(id.len(), 22);
        assert!(session.is_new());
    })
    .await;
    with_session(async |session| assert!(!session.is_new())).await;
}

#[tokio::test]
async fn keys_are_sorted_and_hold_counters_too() {
    with_session(async |session| {
        session.insert("user.name", "x").unwrap();
        session.insert("user.mail", "y").unwrap();
        session.increment("hits", 1).unwrap();
        let all = ["a", "hits", "user.mail", "user.name"];
        assert_eq!(session.keys().unwrap(), all);
        assert_eq!(session.remove_prefix("user.").unwrap(), 2);
        assert_eq!(session.keys().unwrap(), ["a", "hits"]);
        let id = session.id();
        session.clear().unwrap();
        assert!(session.keys().unwrap().is_empty());
        assert_eq!(session.id(), id, "the session itself stays");
    })
    .await;
}

#[tokio::test]
async fn update_returns_what_it_wrote() {
    with_new(async |session| {
        for expected in 1..4 {
            let hits = session.update("hits", |hits: Option<u64>| hits.unwrap_or(0) + 1);
            assert_eq!(hits.unwrap(), expected);
        }
        assert_eq!(session.get::<u64>("hits").unwrap(), Some(3));
    })
    .await;
}

#[tokio::test]
async fn ten_thousand_parallel_updates_make_ten_thousand() {
    const THREADS: u64 = 8;
    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 0).await;
    let barrier = Arc::new(Barrier::new(THREADS as usize));
    let mut threads = Vec::new();
    for _ in 0..THREADS {
        // A request of its own each: the sessions they load share nothing but the store.
        let session = visit(&layer, &cookie, async |session| session)
            .await
            .into_body();
        let barrier = Arc::clone(&barrier);
        threads.push(thread::spawn(move || {
            barrier.wait();
            for _ in 0..10_000 / THREADS {
                session
                    .update("a", |a: Option<u64>| a.unwrap_or(0) + 1)
                    .unwrap();
                session.increment("c", 1).unwrap();
            }
        }));
    }
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(value(&layer, &cookie, "a").await, Some(10_000));
    let response = visit(&layer, &cookie, async |session| {
        session.counter("c").unwrap()
    })
    .await;
    assert_eq!(response.into_body(), 10_000);
}

#[tokio::test]
async fn update_runs_again_when_the_attribute_changed_meanwhile() {
    with_session(async |session| {
        let mut runs = 0;
        let result = session.update("a", |a: Option<u64>| {
            runs += 1;
            if runs == 1 {
                // No lock is held: the session may be used, even this attribute once.
                session.insert("a", 10).unwrap();
                session.insert("b", 1).unwrap();
            }
            a.unwrap() + 1
        });
        assert_eq!((result.unwrap(), runs), (11, 2));
    })
    .await;
}

#[tokio::test]
async fn update_whose_closure_destroys_the_session_begins_another() {
    with_session(async |session| {
        let id = session.id();
        let mut seen = Vec::new();
        let value = session.update("a", |held: Option<i32>| {
            if held.is_some() {
                session.destroy().unwrap();
            }
            seen.push(held);
            held.unwrap_or(7)
        });
        assert_eq!(value.unwrap(), 7);
        assert_eq!(seen, [Some(1), None]);
        assert_eq!(session.get::<i32>("a").unwrap(), Some(7));
        assert!(session.id().is_some_and(|new| Some(new) != id));
    })
    .await;
}

#[tokio::test]
async fn update_whose_closure_always_begins_another_session_ends_in_the_last_one() {
    with_session(async |session| {
        let value = session.update("a", |_: Option<i32>| {
            session.destroy().unwrap();
            session.insert("other", true).unwrap();
            7
        });
        assert_eq!(value.unwrap(), 7);
        assert_eq!(session.get::<i32>("a").unwrap(), Some(7));
        assert_eq!(session.keys().unwrap(), ["a", "other"]);
    })
    .await;
}

#[tokio::test]
async fn panic_in_update_changes_nothing() {
    with_session(async |session| {
        let update = || session.update("a", |_: Option<u64>| panic!("as closures do"));
        catch_unwind(AssertUnwindSafe(update)).expect_err("the panic");
        assert_eq!(session.get::<u64>("a").unwrap(), Some(1));
        session.insert("a", 2).unwrap();
    })
    .await;
    let layer = layer().await;
    visit(&layer, (), async |session| {
        let update = || session.update("a", |_: Option<u64>| panic!("as closures do"));
        catch_unwind(AssertUnwindSafe(update)).expect_err("the panic");
        assert_eq!(session.id(), None);
    })
    .await;
    assert_eq!(layer.cluster().session_count(), 0);
}

#[tokio::test]
async fn get_or_insert_with_makes_the_value_once() {
    with_new(async |session| {
        assert_eq!(session.get_or_insert_with("a", || 1).unwrap(), 1);
        let again = session.get_or_insert_with("a", || -> i32 { panic!("must not run") });
        assert_eq!(again.unwrap(), 1);
        // Somebody was faster: their value counts.
        let late = session.get_or_insert_with("b", || {
            session.insert("b", 5).unwrap();
            6
        });
        assert_eq!(late.unwrap(), 5);
    })
    .await;
}

#[tokio::test]
async fn value_that_does_not_decode_is_left_untouched() {
    with_session(async |session| {
        let error = session.get::<String>("a").unwrap_err();
        assert!(matches!(error, SessionError::Decode { .. }), "{error}");
        let error = session.update("a", |_: Option<String>| panic!("must not run"));
        assert!(matches!(error, Err(SessionError::Decode { .. })));
        assert_eq!(session.get::<u64>("a").unwrap(), Some(1));
    })
    .await;
}

#[tokio::test]
async fn value_that_does_not_encode_creates_nothing() {
    struct Broken;

    impl Serialize for Broken {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("broken"))
        }
    }

    with_new(async |session| {
        let error = session.insert("a", Broken).unwrap_err();
        assert!(matches!(error, SessionError::Encode { .. }), "{error}");
        assert_eq!(session.id(), None);
    })
    .await;
}

#[tokio::test]
async fn value_that_would_not_come_back_is_refused_with_its_name() {
    with_session(async |session| {
        let refused = [
            session.insert("a", f64::NAN),
            session.insert("a", Some(None::<u8>)),
            session
                .update("a", |_: Option<serde_json::Value>| serde_json::json!(1))
                .map(drop),
            session.insert("b", [f32::INFINITY]),
        ];
        for (at, result) in refused.into_iter().enumerate() {
            let Err(error @ SessionError::Encode { .. }) = result else {
                assert_eq!(at, 2, "the one that comes back");
                continue;
            };
            let name = if at == 3 { "\"b\"" } else { "\"a\"" };
            assert!(error.to_string().contains(name), "{error}");
        }
        assert_eq!(session.get::<u64>("a").unwrap(), Some(1));
        assert!(!session.contains_key("b").unwrap());
    })
    .await;
}

#[tokio::test]
async fn take_returns_the_value_once() {
    with_session(async |session| {
        assert!(matches!(
            session.take::<String>("a"),
            Err(SessionError::Decode { .. })
        ));
        assert_eq!(session.take::<u64>("a").unwrap(), Some(1));
        assert_eq!(session.take::<u64>("a").unwrap(), None);
        assert!(!session.contains_key("a").unwrap());
        session.increment("count", 1).unwrap();
        assert!(matches!(
            session.take::<u64>("count"),
            Err(SessionError::WrongKind { .. })
        ));
    })
    .await;
    with_new(async |session| {
        assert_eq!(session.take::<u64>("a").unwrap(), None);
        assert_eq!(session.id(), None, "taking nothing creates nothing");
    })
    .await;
}

#[tokio::test]
async fn fallible_update_changes_nothing_when_it_fails() {
    #[derive(Debug)]
    enum ShopError {
        SoldOut,
        Session(SessionError),
    }

    impl From<SessionError> for ShopError {
        fn from(error: SessionError) -> Self {
            Self::Session(error)
        }
    }

    let take_one = |session: &Session, name: &str| {
        session.try_update(name, |left: Option<u64>| {
            left.unwrap_or(0).checked_sub(1).ok_or(ShopError::SoldOut)
        })
    };
    with_session(async |session| {
        assert_eq!(take_one(&session, "a").unwrap(), 0);
        assert!(matches!(take_one(&session, "a"), Err(ShopError::SoldOut)));
        assert_eq!(session.get::<u64>("a").unwrap(), Some(0));
        session.insert("text", "x").unwrap();
        let error = take_one(&session, "text").unwrap_err();
        assert!(matches!(
            error,
            ShopError::Session(SessionError::Decode { .. })
        ));
    })
    .await;
    with_new(async |session| {
        assert!(matches!(take_one(&session, "a"), Err(ShopError::SoldOut)));
        assert_eq!(session.id(), None, "no session for that");
    })
    .await;
}

#[tokio::test]
async fn moving_update_owns_its_argument_also_when_it_runs_again() {
    with_session(async |session| {
        let mut runs = 0;
        let list = session.update_with("list", "x".to_owned(), |list, item| {
            runs += 1;
            if runs == 1 {
                session.insert("list", ["before"]).unwrap();
            }
            let mut list: Vec<String> = list.unwrap_or_default();
            list.push(item);
            list
        });
        assert_eq!(list.unwrap(), ["before", "x"]);
        assert_eq!(runs, 2);
    })
    .await;
}

#[tokio::test]
async fn counters_add_up_saturate_and_start_at_zero() {
    with_new(async |session| {
        assert_eq!(session.counter("c").unwrap(), 0);
        assert_eq!(session.increment("c", 5).unwrap(), 5);
        assert_eq!(session.increment("c", -7).unwrap(), -2);
        assert!(session.increment("c", i64::MAX).is_ok());
        assert_eq!(session.increment("c", i64::MAX).unwrap(), i64::MAX);
        assert_eq!(session.counter("c").unwrap(), i64::MAX);
        session.remove("c").unwrap();
        assert_eq!(session.increment("c", 1).unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn one_name_is_used_in_one_way() {
    with_session(async |session| {
        session.increment("c", 1).unwrap();
        let of_counter = [
            session.get::<u64>("c").map(drop),
            session.insert("c", 1),
            session.update("c", |_: Option<u64>| 1).map(drop),
        ];
        for result in of_counter {
            let error = result.unwrap_err();
            assert!(matches!(
                error,
                SessionError::WrongKind {
                    is_counter: true,
                    ..
                }
            ));
        }
        for result in [session.counter("a"), session.increment("a", 1)] {
            let error = result.unwrap_err();
            assert!(matches!(
                error,
                SessionError::WrongKind {
                    is_counter: false,
                    ..
                }
            ));
        }
        assert_eq!(session.counter("c").unwrap(), 1);
        assert_eq!(session.get::<u64>("a").unwrap(), Some(1));
    })
    .await;
}

#[tokio::test]
async fn names_are_1_to_255_bytes_long() {
    with_new(async |session| {
        for name in ["", &"x".repeat(256)] {
            let results = [
                session.insert(name, 1),
                session.get::<u64>(name).map(drop),
                session.remove(name).map(drop),
                session.increment(name, 1).map(drop),
                session.contains_key(name).map(drop),
            ];
            for result in results {
                assert!(matches!(result, Err(SessionError::InvalidName { .. })));
            }
        }
        assert_eq!(session.id(), None);
        session.insert(&"x".repeat(255), 1).unwrap();
    })
    .await;
}

#[tokio::test]
async fn session_over_its_limits_is_too_large_and_stays_as_it_was() {
    let config = ClusterConfig::standalone()
        .max_session_bytes(1000)
        .max_attributes(3);
    let layer = ClusterSessionLayer::new(config);
    visit(&layer, (), async |session| {
        let large = "x".repeat(1000);
        let error = session.insert("large", &large).unwrap_err();
        assert!(
            matches!(error, SessionError::TooLarge { what: "bytes", .. }),
            "{error}"
        );
        assert_eq!(session.id(), None, "not created for a write that fails");

        session.insert("a", 1).unwrap();
        let error = session.insert("a", &large).unwrap_err();
        assert!(matches!(error, SessionError::TooLarge { .. }), "{error}");
        assert_eq!(session.get::<u64>("a").unwrap(), Some(1));

        session.insert("b", 1).unwrap();
        session.insert("c", 1).unwrap();
        let error = session.insert("d", 1).unwrap_err();
        assert!(
            matches!(
                error,
                SessionError::TooLarge {
                    what: "attributes",
                    limit: 3,
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(session.keys().unwrap(), ["a", "b", "c"]);
        session.remove("a").unwrap();
        session.insert("d", 1).unwrap();
    })
    .await;
}

#[tokio::test]
async fn full_node_creates_nothing_but_serves_what_it_has() {
    let layer = ClusterSessionLayer::new(ClusterConfig::standalone().max_sessions(1));
    let (cookie, _) = start(&layer, "a", 1).await;
    let response = visit(&layer, (), async |session| session.insert("a", 1)).await;
    assert_eq!(set_cookie(&response), None);
    assert!(matches!(response.into_body(), Err(SessionError::Full)));
    visit(&layer, &cookie, async |session| {
        session.insert("a", 2).unwrap()
    })
    .await;
    assert_eq!(value(&layer, &cookie, "a").await, Some(2));
}

#[tokio::test]
async fn typed_attribute_reads_and_writes_only_when_asked_to() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Cart(Vec<String>);

    impl Attribute for Cart {
        const NAME: &'static str = "cart";
    }

    with_new(async |session| {
        let cart = Typed::<Cart>::new(session.clone());
        assert_eq!(cart.get().unwrap(), None);
        drop(cart.clone());
        assert_eq!(session.id(), None, "never writes on drop");
        cart.insert(&Cart(vec!["pen".into()])).unwrap();
        let cart = cart.update(|cart| {
            let mut cart = cart.expect("set");
            cart.0.push("ink".into());
            cart
        });
        assert_eq!(cart.unwrap().0, ["pen", "ink"]);
        assert_eq!(session.keys().unwrap(), ["cart"]);
        let cart = Typed::<Cart>::new(session);
        assert!(cart.remove().unwrap());
        assert_eq!(cart.session().keys().unwrap(), [""; 0]);
    })
    .await;
}

//! Whose session it is, how long it is theirs, and when its changes leave.

use std::{
    convert::Infallible,
    future::poll_fn,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode, header::SET_COOKIE};
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};
use tower_cluster_sessions::{Session, SessionError};

use crate::http_support::*;

const FOREIGN: &str = "__Host-id=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[tokio::test]
async fn unknown_id_gets_a_new_one_on_first_write_and_is_never_adopted() {
    let layer = layer().await;
    let response = visit(&layer, FOREIGN, async |session| {
        assert_eq!(session.id(), None);
        session.insert("a", 1).unwrap();
    })
    .await;
    let minted = cookie(&response).expect("a session of its own");
    assert_ne!(minted, FOREIGN);
    assert_eq!(value(&layer, FOREIGN, "a").await, None);
    assert_eq!(value(&layer, &minted, "a").await, Some(1));
}

#[tokio::test]
async fn right_key_with_wrong_secret_opens_nothing() {
    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    let last = if cookie.ends_with('A') { 'E' } else { 'A' };
    let guessed = format!("{}{last}", &cookie[..cookie.len() - 1]);
    assert_eq!(value(&layer, &guessed, "a").await, None);
}

#[tokio::test]
async fn session_destroyed_before_it_is_loaded_is_an_unknown_id() {
    let layer = layer().await;
    let (old, old_id) = start(&layer, "a", 1).await;
    visit(&layer, &old, async |session| session.destroy().unwrap()).await;
    let response = visit(&layer, &old, async |session| {
        assert_eq!(session.get::<u64>("a").unwrap(), None);
        session.insert("a", 2).unwrap();
        session.id().unwrap()
    })
    .await;
    assert_ne!(cookie(&response).expect("a new session"), old);
    assert_ne!(response.into_body(), old_id);
}

#[tokio::test]
async fn miss_never_sends_a_removal_cookie() {
    let layer = layer().await;
    for cookies in [FOREIGN, "__Host-id=", "__Host-id=junk; __Host-id"] {
        let response = visit(&layer, cookies, async |session| {
            session.get::<u64>("a").unwrap()
        })
        .await;
        assert_eq!(set_cookie(&response), None, "{cookies}");
    }
}

#[tokio::test]
async fn destroy_wins_over_a_parallel_requests_write_which_sets_no_cookie() {
    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    let response = visit(&layer, &cookie, async |session| {
        visit(&layer, &cookie, async |other| other.destroy().unwrap()).await;
        assert!(matches!(
            session.insert("a", 2),
            Err(SessionError::Destroyed)
        ));
        assert!(matches!(
            session.increment("b", 1),
            Err(SessionError::Destroyed)
        ));
        assert!(matches!(session.cycle_id(), Err(SessionError::Destroyed)));
        assert!(matches!(
            session.get::<u64>("a"),
            Err(SessionError::Destroyed)
        ));
    })
    .await;
    assert_eq!(set_cookie(&response), None);
    assert_eq!(value(&layer, &cookie, "a").await, None);
    assert_eq!(layer.cluster().session_count(), 0);
}

#[tokio::test]
async fn insert_after_destroy_on_the_same_handle_starts_a_new_session() {
    let layer = layer().await;
    let (old, old_id) = start(&layer, "a", 1).await;
    let response = visit(&layer, &old, async |session| {
        session.destroy().unwrap();
        assert_eq!(session.id(), None);
        session.insert("b", 2).unwrap();
        assert!(session.is_new());
        session.id().unwrap()
    })
    .await;
    let new = cookie(&response).expect("the new session's cookie");
    assert_ne!(response.into_body(), old_id);
    assert_eq!(value(&layer, &new, "b").await, Some(2));
    assert_eq!(value(&layer, &new, "a").await, None);
    assert_eq!(value(&layer, &old, "a").await, None);
}

#[tokio::test]
async fn destroying_twice_at_once_succeeds_twice() {
    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    let response = visit(&layer, &cookie, async |session| {
        visit(&layer, &cookie, async |other| other.destroy().unwrap()).await;
        session.destroy().unwrap();
    })
    .await;
    assert!(
        set_cookie(&response)
            .expect("removal")
            .contains("Max-Age=0")
    );
}

#[tokio::test]
async fn cycle_id_replaces_the_cookie_and_keeps_id_and_attributes() {
    let layer = layer().await;
    let (old, id) = start(&layer, "a", 1).await;
    let response = visit(&layer, &old, async |session| {
        session.cycle_id().unwrap();
        session.id().unwrap()
    })
    .await;
    let new = cookie(&response).expect("the new cookie");
    assert_ne!(new, old);
    assert_eq!(response.into_body(), id);
    assert_eq!(value(&layer, &new, "a").await, Some(1));
}

#[tokio::test]
async fn cycle_id_survives_an_error_response() {
    let layer = layer().await;
    let (old, _) = start(&layer, "a", 1).await;
    let service = service_fn(async |request: Request<()>| {
        let session = slot(&request).load().await;
        session.cycle_id().unwrap();
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        Ok::<_, Infallible>(response)
    });
    let response = layer.layer(service).oneshot(request(&old)).await.unwrap();
    let new = cookie(&response).expect("the new cookie");
    assert_eq!(value(&layer, &new, "a").await, Some(1));
}

#[tokio::test]
async fn write_of_a_request_that_came_with_the_old_secret_stays() {
    let layer = layer().await;
    let (old, _) = start(&layer, "a", 1).await;
    let response = visit(&layer, &old, async |session| {
        let response = visit(&layer, &old, async |other| other.cycle_id().unwrap()).await;
        session.insert("b", 2).unwrap();
        cookie(&response).expect("the new cookie")
    })
    .await;
    assert_eq!(set_cookie(&response), None, "only who cycled sends the id");
    let new = response.into_body();
    assert_eq!(value(&layer, &new, "b").await, Some(2));
}

#[tokio::test]
async fn of_two_cycles_at_once_only_the_living_id_is_sent() {
    let layer = layer().await;
    let (old, _) = start(&layer, "a", 1).await;
    let response = visit(&layer, &old, async |session| {
        session.cycle_id().unwrap();
        let response = visit(&layer, &old, async |_| ()).await;
        assert_eq!(set_cookie(&response), None);
        session.cycle_id().unwrap();
    })
    .await;
    let new = cookie(&response).expect("the last one");
    assert_eq!(value(&layer, &new, "a").await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn straggler_reads_nothing_and_may_not_write_for_a_minute() {
    let layer = layer().await;
    let (old, _) = start(&layer, "a", 1).await;
    visit(&layer, &old, async |session| session.cycle_id().unwrap()).await;
    for wait in [0, 59] {
        pass(Duration::from_secs(wait)).await;
        let response = visit(&layer, &old, async |session| {
            assert_eq!(session.get::<u64>("a").unwrap(), None);
            assert_eq!(session.counter("c").unwrap(), 0);
            assert!(session.keys().unwrap().is_empty());
            assert_eq!(session.id(), None);
            let mut results = vec![
                session.insert("a", 2),
                session.remove("a").map(drop),
                session.increment("c", 1).map(drop),
                session.clear(),
                session.set_expiry(tower_cluster_sessions::Expiry::default()),
            ];
            results.push(
                session
                    .update("a", |_: Option<u64>| panic!("must not run"))
                    .map(drop),
            );
            for result in results {
                assert!(
                    matches!(result, Err(SessionError::Superseded)),
                    "{result:?}"
                );
            }
        })
        .await;
        assert_eq!(set_cookie(&response), None);
    }
    pass(Duration::from_secs(1)).await;
    let response = visit(&layer, &old, async |session| {
        session.insert("a", 3).unwrap()
    })
    .await;
    let new = cookie(&response).expect("an unknown id by now");
    assert_eq!(value(&layer, &new, "a").await, Some(3));
}

#[tokio::test]
async fn login_with_a_replaced_id_begins_a_session_of_its_own() {
    let layer = layer().await;
    let (old, old_id) = start(&layer, "a", 1).await;
    // Its response is lost, or the button was pressed twice.
    let lost = visit(&layer, &old, async |session| session.cycle_id().unwrap()).await;
    let response = visit(&layer, &old, async |session| {
        session.cycle_id().unwrap();
        assert!(session.is_new());
        session.insert("user", 7).unwrap();
        session.id().unwrap()
    })
    .await;
    let new = cookie(&response).expect("a cookie of its own");
    assert_ne!(response.into_body(), old_id, "another session");
    assert_eq!(value(&layer, &new, "user").await, Some(7));
    assert_eq!(value(&layer, &new, "a").await, None);
    let kept = cookie(&lost).expect("the replaced id's cookie");
    assert_eq!(value(&layer, &kept, "a").await, Some(1));
    assert_eq!(value(&layer, &kept, "user").await, None);
}

#[tokio::test]
async fn logout_with_a_replaced_id_removes_the_cookie_and_lets_go_of_it() {
    let layer = layer().await;
    let (old, old_id) = start(&layer, "a", 1).await;
    let lost = visit(&layer, &old, async |session| session.cycle_id().unwrap()).await;
    let response = visit(&layer, &old, async |session| session.destroy().unwrap()).await;
    assert!(set_cookie(&response).unwrap().contains("Max-Age=0"));
    let response = visit(&layer, &old, async |session| {
        session.destroy().unwrap();
        session.insert("b", 2).unwrap();
        session.id().unwrap()
    })
    .await;
    let new = cookie(&response).expect("a cookie of its own");
    assert_ne!(response.into_body(), old_id);
    assert_eq!(value(&layer, &new, "b").await, Some(2));
    // The dead id opens nothing, and so it ends nothing either.
    let kept = cookie(&lost).expect("the replaced id's cookie");
    assert_eq!(value(&layer, &kept, "a").await, Some(1));
}

#[tokio::test]
async fn replaced_id_is_not_let_go_of_after_the_head() {
    let layer = layer().await;
    let (old, _) = start(&layer, "a", 1).await;
    visit(&layer, &old, async |session| session.cycle_id().unwrap()).await;
    let session = visit(&layer, &old, async |session| session).await;
    let session = session.into_body();
    assert!(matches!(session.cycle_id(), Err(SessionError::HeadersSent)));
    assert!(matches!(
        session.insert("b", 2),
        Err(SessionError::Superseded)
    ));
    assert_eq!(layer.cluster().session_count(), 1);
}

#[tokio::test]
async fn logout_ends_all_living_sessions_that_the_client_presents() {
    for layer in sealed_in_all_ways(&layer().await) {
        let before = layer.cluster().session_count();
        let (one, _) = start(&layer, "a", 1).await;
        let (two, _) = start(&layer, "a", 2).await;
        let (cycled, _) = start(&layer, "a", 3).await;
        visit(&layer, &cycled, async |session| session.cycle_id().unwrap()).await;
        let (others, _) = start(&layer, "a", 4).await;
        let name = one.split_once('=').unwrap().0;
        let both = format!("{name}=junk; {one}; {two}; {cycled}; {one}");
        let response = visit(&layer, &both, async |session| {
            session.destroy().unwrap();
            session.destroy().unwrap();
        })
        .await;
        assert!(set_cookie(&response).unwrap().contains("Max-Age=0"));
        for gone in [&one, &two, &both] {
            assert_eq!(value(&layer, gone, "a").await, None);
        }
        assert_eq!(value(&layer, &others, "a").await, Some(4));
        // The one whose id was replaced lives on under its other id.
        assert_eq!(layer.cluster().session_count(), before + 2);
    }
}

#[tokio::test]
async fn writes_apply_to_other_requests_at_once() {
    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    visit(&layer, &cookie, async |session| {
        session.insert("a", 2).unwrap();
        assert_eq!(value(&layer, &cookie, "a").await, Some(2));
    })
    .await;
}

#[tokio::test]
async fn error_response_rolls_nothing_back() {
    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    let service = service_fn(async |request: Request<()>| {
        let session = slot(&request).load().await;
        session.insert("a", 2).unwrap();
        Err::<Response<()>, _>("the service's own error")
    });
    let answer = layer.layer(service).oneshot(request(&cookie)).await;
    assert_eq!(answer.unwrap_err(), "the service's own error");
    assert_eq!(value(&layer, &cookie, "a").await, Some(2));
    assert_eq!(unshipped(&layer, &cookie).await, 0);
}

#[tokio::test]
async fn dropped_request_commits_what_it_and_its_destructors_wrote() {
    struct WritesOnDrop(Session);

    impl Drop for WritesOnDrop {
        fn drop(&mut self) {
            self.0.insert("last words", 2).unwrap();
        }
    }

    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    let kept = Arc::new(Mutex::new(None));
    let service = service_fn(|request: Request<()>| {
        // The slot stays, so that only the future's end can ship.
        *kept.lock().unwrap() = Some(slot(&request));
        async move {
            let session = slot(&request).load().await;
            session.insert("a", 2).unwrap();
            let _writes = WritesOnDrop(session);
            std::future::pending::<Result<Response<()>, Infallible>>().await
        }
    });
    let mut service = layer.layer(service);
    let mut response = Box::pin(service.call(request(&cookie)));
    poll_fn(|cx| {
        assert!(response.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    let before = layer.cluster().stats().log_head;
    drop(response);
    assert_eq!(layer.cluster().stats().log_head, before + 1, "one commit");
    assert_eq!(unshipped(&layer, &cookie).await, 0);
    assert_eq!(value(&layer, &cookie, "last words").await, Some(2));
}

#[tokio::test]
async fn panicking_request_commits_what_it_wrote_even_if_its_future_is_kept() {
    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    let kept = Arc::new(Mutex::new(None));
    let service = service_fn(|request: Request<()>| {
        let kept = Arc::clone(&kept);
        async move {
            let session = slot(&request).load().await;
            session.insert("a", 2).unwrap();
            *kept.lock().unwrap() = Some(session);
            if true {
                panic!("as handlers do");
            }
            Ok::<_, Infallible>(Response::new(()))
        }
    });
    let mut service = layer.layer(service);
    let before = layer.cluster().stats().log_head;
    let mut response = pin!(AssertUnwindSafe(service.call(request(&cookie))).catch_unwind());
    response.as_mut().await.expect_err("the panic");
    assert_eq!(layer.cluster().stats().log_head, before + 1);
    assert_eq!(value(&layer, &cookie, "a").await, Some(2));
}

#[tokio::test]
async fn after_the_head_each_write_is_a_commit_and_ids_are_fixed() {
    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    // The handle goes with the body, as in a stream or behind a WebSocket.
    let session = visit(&layer, &cookie, async |session| session)
        .await
        .into_body();
    for write in 2..5 {
        let before = layer.cluster().stats().log_head;
        session.insert("a", write).unwrap();
        assert_eq!(layer.cluster().stats().log_head, before + 1);
    }
    assert!(matches!(session.cycle_id(), Err(SessionError::HeadersSent)));
    session.destroy().unwrap();
    assert_eq!(layer.cluster().session_count(), 0);
    assert!(matches!(
        session.insert("a", 1),
        Err(SessionError::HeadersSent)
    ));
    assert_eq!(value(&layer, &cookie, "a").await, None);
}

#[tokio::test]
async fn after_the_head_no_session_is_created() {
    let layer = layer().await;
    let session = visit(&layer, (), async |session| session).await.into_body();
    assert!(matches!(
        session.insert("a", 1),
        Err(SessionError::HeadersSent)
    ));
    assert!(matches!(
        session.update("a", |_: Option<u64>| panic!("must not run")),
        Err(SessionError::HeadersSent)
    ));
    assert_eq!(session.get::<u64>("a").unwrap(), None);
    assert!(!session.remove("a").unwrap());
    assert_eq!(layer.cluster().session_count(), 0);
}

#[tokio::test]
async fn bots_without_cookies_cost_nothing_until_a_write() {
    let layer = layer().await;
    for _ in 0..1000 {
        let response = visit(&layer, (), async |session| {
            assert_eq!(session.get::<u64>("a").unwrap(), None);
            assert!(!session.contains_key("a").unwrap());
            assert!(!session.remove("a").unwrap());
            session.clear().unwrap();
            assert_eq!(session.remove_prefix("a").unwrap(), 0);
            session.cycle_id().unwrap();
            session.destroy().unwrap();
            assert_eq!(session.replicated().await, 0);
        })
        .await;
        assert!(!response.headers().contains_key(SET_COOKIE));
    }
    let stats = layer.cluster().stats();
    assert_eq!(
        (stats.sessions, stats.tombstones, stats.log_head),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn stale_cookies_never_mint_records() {
    let layer = layer().await;
    for _ in 0..100 {
        visit(&layer, FOREIGN, async |session| session.keys().unwrap()).await;
    }
    let stats = layer.cluster().stats();
    assert_eq!(
        (stats.sessions, stats.tombstones, stats.log_head),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn request_that_does_not_load_keeps_its_response_untouched() {
    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    let before = layer.cluster().stats().log_head;
    let service = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
    let response = layer
        .layer(service)
        .oneshot(request(&cookie))
        .await
        .unwrap();
    assert!(!response.headers().contains_key(SET_COOKIE));
    assert_eq!(layer.cluster().stats().log_head, before);
}

#[tokio::test]
async fn all_handles_of_a_request_show_one_session() {
    let layer = layer().await;
    let service = service_fn(async |request: Request<()>| {
        let slot = slot(&request);
        let (one, two) = (slot.load().await, slot.load().await);
        one.insert("a", 1).unwrap();
        two.insert("b", 2).unwrap();
        assert_eq!(one.id(), two.clone().id());
        assert_eq!(one.keys().unwrap(), ["a", "b"]);
        Ok::<_, Infallible>(Response::new(()))
    });
    let response = layer.layer(service).oneshot(request(())).await.unwrap();
    assert!(set_cookie(&response).is_some());
    assert_eq!(layer.cluster().session_count(), 1);
}

#[tokio::test]
async fn error_of_the_inner_service_passes_through_with_any_body_type() {
    /// Neither `Default` nor `Clone`.
    #[derive(Debug)]
    struct Body;
    #[derive(Debug, PartialEq)]
    struct Failure;

    let layer = layer().await;
    let service = service_fn(async |request: Request<Body>| match request.uri().path() {
        "/" => Ok(Response::new(Body)),
        _ => Err(Failure),
    });
    let service = layer.layer(service);
    let good = Request::new(Body);
    let bad = Request::builder().uri("/x").body(Body).unwrap();
    assert!(service.clone().oneshot(good).await.is_ok());
    assert_eq!(service.oneshot(bad).await.unwrap_err(), Failure);
}

#[tokio::test]
async fn debug_output_shows_neither_values_nor_credentials() {
    let layer = layer().await;
    let response = visit(&layer, (), async |session| {
        session.insert("name", "hidden value").unwrap();
        format!("{session:?}")
    })
    .await;
    let cookie = cookie(&response).unwrap();
    let shown = response.into_body();
    let secret = cookie.split_once('=').unwrap().1;
    assert!(
        !shown.contains("hidden") && !shown.contains(secret),
        "{shown}"
    );
    assert!(!shown.contains(&secret[..12]), "{shown}");
}

/// Records that a commit of the session would add: 0 when everything was shipped.
async fn unshipped(layer: &tower_cluster_sessions::ClusterSessionLayer, cookie: &String) -> u64 {
    let before = layer.cluster().stats().log_head;
    visit(layer, cookie, async |session| session.replicated().await).await;
    layer.cluster().stats().log_head - before
}

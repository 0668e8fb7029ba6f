//! What counts as use, and when a session ends. All on virtual time.

use std::{convert::Infallible, time::Duration};

use futures_util::FutureExt as _;
use http::{Request, Response};
use tokio::time::timeout;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_cluster_sessions::{ClusterSessionLayer, Expiry, Session, SessionError};

use crate::http_support::*;

const SECOND: Duration = Duration::from_secs(1);

/// A minute idle: at most 3 seconds of slack for use on other nodes, and 2 for sweeps.
async fn one_minute() -> ClusterSessionLayer {
    layer().await.with_expiry(Expiry::idle(minutes(1)))
}

const SLACK: Duration = Duration::from_secs(3 + 2);

#[tokio::test(start_paused = true)]
async fn session_lives_until_the_idle_limit_and_little_longer() {
    let layer = one_minute().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    pass(minutes(1)).await;
    assert_eq!(value(&layer, &cookie, "a").await, Some(1));
    pass(minutes(1) + SLACK).await;
    assert_eq!(value(&layer, &cookie, "a").await, None);
    // A sweep on its own time frees the memory, too.
    pass(SECOND).await;
    assert_eq!(layer.cluster().session_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn default_is_thirty_minutes_idle() {
    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    pass(minutes(30)).await;
    assert_eq!(value(&layer, &cookie, "a").await, Some(1));
    pass(minutes(30) + minutes(1) + 2 * SECOND).await;
    assert_eq!(value(&layer, &cookie, "a").await, None);
}

#[tokio::test(start_paused = true)]
async fn loading_counts_as_use_and_not_loading_does_not() {
    let layer = one_minute().await;
    let (read, _) = start(&layer, "a", 1).await;
    let (ignored, _) = start(&layer, "a", 1).await;
    let service = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
    let idle_service = layer.layer(service);
    for _ in 0..4 {
        pass(30 * SECOND).await;
        visit(&layer, &read, async |_session| ()).await;
        idle_service
            .clone()
            .oneshot(request(&ignored))
            .await
            .unwrap();
    }
    assert_eq!(value(&layer, &read, "a").await, Some(1));
    assert_eq!(value(&layer, &ignored, "a").await, None);
}

#[tokio::test(start_paused = true)]
async fn session_that_a_long_request_uses_does_not_expire() {
    let layer = one_minute().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    visit(&layer, &cookie, async |session| {
        pass(minutes(10)).await;
        assert_eq!(session.get::<u64>("a").unwrap(), Some(1));
    })
    .await;
    // Its end was use, too.
    pass(minutes(1)).await;
    assert_eq!(value(&layer, &cookie, "a").await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn living_handle_counts_as_use() {
    let layer = one_minute().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    let session = visit(&layer, &cookie, async |session| session)
        .await
        .into_body();
    pass(minutes(10)).await;
    assert_eq!(value(&layer, &cookie, "a").await, Some(1));
    drop(session);
    pass(minutes(1) + SLACK).await;
    assert_eq!(value(&layer, &cookie, "a").await, None);
}

#[tokio::test(start_paused = true)]
async fn handle_of_a_new_session_counts_as_use() {
    let layer = one_minute().await;
    let session = visit(&layer, (), async |session| {
        session.insert("a", 1).unwrap();
        session
    })
    .await
    .into_body();
    pass(minutes(10)).await;
    assert_eq!(session.get::<u64>("a").unwrap(), Some(1));
    drop(session);
    pass(minutes(1) + SLACK + SECOND).await;
    assert_eq!(layer.cluster().session_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn absolute_limit_is_creation_age_whatever_the_use() {
    let layer = layer()
        .await
        .with_expiry(Expiry::idle(minutes(1)).or_absolute(100 * SECOND));
    let (cookie, _) = start(&layer, "a", 1).await;
    for expected in [Some(1), Some(1), None] {
        pass(40 * SECOND).await;
        assert_eq!(value(&layer, &cookie, "a").await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn handle_ends_with_the_sessions_age_also_in_use() {
    let layer = layer().await.with_expiry(Expiry::absolute(4 * SECOND));
    let response = visit(&layer, (), async |session| {
        session.insert("a", 1).unwrap();
        session
    })
    .await;
    let session = response.into_body();
    pass(4 * SECOND - Duration::from_millis(1)).await;
    assert_eq!(session.get::<u64>("a").unwrap(), Some(1));
    session.insert("a", 2).unwrap();
    // At the limit itself, before a sweep, and long after.
    for wait in [Duration::from_millis(1), 2 * SECOND, minutes(5)] {
        pass(wait).await;
        let results = [
            session.get::<u64>("a").map(drop),
            session.insert("a", 3),
            session.increment("b", 1).map(drop),
            session.remove("a").map(drop),
            session.keys().map(drop),
            session.set_expiry(Expiry::never()),
        ];
        for result in results {
            assert!(matches!(result, Err(SessionError::Destroyed)), "{result:?}");
        }
        assert_eq!(session.id(), None);
        session.ended().now_or_never().expect("it has ended");
    }
    assert_eq!(layer.cluster().session_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_the_end_learns_of_age_and_of_logout_but_not_of_idleness() {
    let layer = layer().await;
    let held = async |expiry| {
        let response = visit(&layer, (), async |session| {
            session.set_expiry(expiry).unwrap();
            session.insert("a", 1).unwrap();
            session
        })
        .await;
        (cookie(&response).unwrap(), response.into_body())
    };
    let ends_within = async |time: Duration, session: &Session| {
        let ended = timeout(time, session.ended()).await;
        ended.is_ok()
    };

    let (_, aged) = held(Expiry::absolute(100 * SECOND)).await;
    assert!(!ends_within(99 * SECOND, &aged).await);
    assert!(ends_within(2 * SECOND, &aged).await);

    let (cookie, logged_out) = held(Expiry::idle(minutes(1))).await;
    assert!(!ends_within(minutes(5), &logged_out).await);
    let logout = async {
        pass(10 * SECOND).await;
        visit(&layer, &cookie, async |session| session.destroy().unwrap()).await;
    };
    let (ended, ()) = tokio::join!(ends_within(12 * SECOND, &logged_out), logout);
    assert!(ended);

    let none = visit(&layer, (), async |session| session).await.into_body();
    none.ended().now_or_never().expect("there is none");
}

#[tokio::test(start_paused = true)]
async fn session_without_limits_lives_on() {
    let layer = layer().await.with_expiry(Expiry::never());
    let (cookie, _) = start(&layer, "a", 1).await;
    tokio::time::advance(minutes(10 * 366 * 24 * 60)).await;
    pass(minutes(1)).await;
    assert_eq!(value(&layer, &cookie, "a").await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn set_expiry_before_creation_applies_at_creation() {
    let layer = layer().await;
    let short = Expiry::idle(minutes(1));
    let response = visit(&layer, (), async |session| {
        session.set_expiry(short).unwrap();
        assert_eq!(session.expiry().unwrap(), short);
        assert_eq!(session.id(), None, "no session for that alone");
        session.insert("a", 1).unwrap();
    })
    .await;
    let cookie = cookie(&response).unwrap();
    let response = visit(&layer, &cookie, async |session| session.expiry().unwrap()).await;
    assert_eq!(response.into_body(), short);
    pass(minutes(2)).await;
    assert_eq!(value(&layer, &cookie, "a").await, None);
}

#[tokio::test(start_paused = true)]
async fn set_expiry_changes_a_living_session() {
    let layer = one_minute().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    visit(&layer, &cookie, async |session| {
        session.set_expiry(Expiry::idle(minutes(5))).unwrap();
    })
    .await;
    pass(minutes(4)).await;
    assert_eq!(value(&layer, &cookie, "a").await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn filtered_requests_do_not_touch() {
    let layer = one_minute().await.with_filter("/static/.*").unwrap();
    let (cookie, _) = start(&layer, "a", 1).await;
    for expected in [Some(1), Some(1), None] {
        pass(30 * SECOND).await;
        let response = visit_at(&layer, "/static/x", &cookie, async |session| {
            session.get::<u64>("a").unwrap()
        })
        .await;
        assert_eq!(response.into_body(), expected);
    }
}

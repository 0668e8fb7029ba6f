//! What counts as use, and when a session ends. All on virtual time.

use std::{convert::Infallible, time::Duration};

use http::{Request, Response};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_cluster_sessions::{ClusterSessionLayer, Expiry};

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
    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    visit(&layer, &cookie, async |session| {
        session.set_expiry(Expiry::idle(minutes(120))).unwrap();
    })
    .await;
    pass(minutes(119)).await;
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

//! What responses say to caches.

use std::convert::Infallible;

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{CACHE_CONTROL, VARY},
};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_cluster_sessions::{ClusterSessionLayer, Session};

use crate::http_support::*;

/// The headers of a response to a page that loads the session, and sets these.
async fn page(
    layer: &ClusterSessionLayer,
    cookies: &str,
    sets: &[(HeaderName, &'static str)],
) -> HeaderMap {
    let service = service_fn(async |request: Request<()>| {
        slot(&request).load().await;
        let mut response = Response::new(());
        for (name, value) in sets {
            let value = HeaderValue::from_static(value);
            response.headers_mut().append(name, value);
        }
        Ok::<_, Infallible>(response)
    });
    let response = layer.layer(service).oneshot(request(cookies)).await;
    response.unwrap().headers().clone()
}

fn all<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let fields = headers.get_all(name).iter();
    fields.map(|field| field.to_str().expect("ASCII")).collect()
}

#[tokio::test]
async fn page_of_a_session_is_kept_out_of_shared_caches() {
    for layer in sealed_in_all_ways(&layer().await) {
        let (cookie, _) = start(&layer, "a", 1).await;
        let headers = page(&layer, &cookie, &[]).await;
        assert_eq!(all(&headers, &CACHE_CONTROL), ["private, no-cache"]);
        assert_eq!(all(&headers, &VARY), ["Cookie"]);
    }
}

/// A shared cache may keep it for other strangers, but not for users.
#[tokio::test]
async fn page_without_a_session_depends_on_the_cookie_all_the_same() {
    let layer = layer().await;
    for cookies in ["a=b", "__Host-id=junk"] {
        let headers = page(&layer, cookies, &[]).await;
        assert_eq!(all(&headers, &VARY), ["Cookie"]);
        assert!(!headers.contains_key(CACHE_CONTROL));
    }
}

#[tokio::test]
async fn what_the_app_says_to_caches_stays() {
    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    let sets = [
        (CACHE_CONTROL, "public, max-age=60"),
        (VARY, "Accept-Encoding"),
    ];
    let headers = page(&layer, &cookie, &sets).await;
    assert_eq!(all(&headers, &CACHE_CONTROL), ["public, max-age=60"]);
    assert_eq!(all(&headers, &VARY), ["Accept-Encoding", "Cookie"]);
    for vary in ["*", "cookie", "Accept-Encoding, Cookie"] {
        let headers = page(&layer, &cookie, &[(VARY, vary)]).await;
        assert_eq!(all(&headers, &VARY), [vary]);
    }
}

#[tokio::test]
async fn headers_for_caches_can_be_turned_off() {
    let layer = layer().await.with_cache_headers(false);
    let (cookie, _) = start(&layer, "a", 1).await;
    assert!(page(&layer, &cookie, &[]).await.is_empty());
    let response = visit(&layer, (), async |session| session.insert("a", 1).unwrap()).await;
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
}

#[tokio::test]
async fn page_that_ends_or_lost_the_session_is_its_clients_alone() {
    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    let destroyed = visit(&layer, &cookie, async |session: Session| {
        visit(&layer, &cookie, async |other| other.destroy().unwrap()).await;
        session.get::<u64>("a").map(drop).is_err()
    })
    .await;
    assert_eq!(destroyed.headers()[CACHE_CONTROL], "private, no-cache");
    let (old, _) = start(&layer, "a", 1).await;
    visit(&layer, &old, async |session| session.cycle_id().unwrap()).await;
    let late = page(&layer, &old, &[]).await;
    assert_eq!(all(&late, &CACHE_CONTROL), ["private, no-cache"]);
}

#[tokio::test]
async fn response_that_is_no_page_says_nothing_to_caches() {
    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    let service = service_fn(async |request: Request<()>| {
        slot(&request).load().await;
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        Ok::<_, Infallible>(response)
    });
    let response = layer
        .layer(service)
        .oneshot(request(&cookie))
        .await
        .unwrap();
    assert!(response.headers().is_empty());
    let service = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
    let response = layer
        .layer(service)
        .oneshot(request(&cookie))
        .await
        .unwrap();
    assert!(
        response.headers().is_empty(),
        "nobody looked for the session"
    );
}

//! What the cookie looks like, when it is sent, and which one is believed.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use http::{
    HeaderValue, Request, Response,
    header::{CACHE_CONTROL, SET_COOKIE},
};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_cluster_sessions::{
    ClusterConfig, ClusterSessionLayer, Expiry, LayerError, SameSite, SessionSlot,
};

use crate::http_support::*;

#[tokio::test]
async fn default_cookie_is_as_strict_as_a_cookie_can_be() {
    let layer = layer().await;
    let response = visit(&layer, (), async |session| session.insert("a", 1).unwrap()).await;
    let field = set_cookie(&response).unwrap();
    let (pair, attributes) = field.split_once("; ").unwrap();
    let value = pair.strip_prefix("__Host-id=").expect("the default name");
    assert_eq!(value.len(), 43);
    let mut attributes: Vec<&str> = attributes.split("; ").collect();
    attributes.sort_unstable();
    assert_eq!(attributes, ["HttpOnly", "Path=/", "SameSite=Lax", "Secure"]);
}

#[tokio::test]
async fn cookie_is_sent_only_when_it_changes_something_and_never_cached() {
    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    let response = visit(&layer, &cookie, async |session| {
        session.insert("a", 2).unwrap();
        session.set_expiry(Expiry::idle(minutes(5))).unwrap();
    })
    .await;
    assert!(response.headers().is_empty(), "{:?}", response.headers());
}

#[tokio::test]
async fn no_store_replaces_the_apps_cache_control_but_not_its_cookies() {
    let layer = layer().await;
    let service = service_fn(async |request: Request<()>| {
        slot(&request).load().await.insert("a", 1).unwrap();
        let mut response = Response::new(());
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
        headers.append(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        headers.insert(SET_COOKIE, HeaderValue::from_static("theme=dark"));
        Ok::<_, Infallible>(response)
    });
    let response = layer.layer(service).oneshot(request(())).await.unwrap();
    let caching: Vec<_> = response.headers().get_all(CACHE_CONTROL).iter().collect();
    assert_eq!(caching, ["no-store"]);
    let cookies: Vec<_> = response.headers().get_all(SET_COOKIE).iter().collect();
    assert_eq!(cookies.len(), 2);
    assert_eq!(cookies[0], "theme=dark");
}

#[tokio::test]
async fn destroy_removes_the_cookie_with_the_attributes_it_was_set_with() {
    let layer = layer()
        .await
        .with_name("sid")
        .with_domain("example.org")
        .with_path("/shop")
        .with_same_site(SameSite::None);
    let (cookie, _) = start(&layer, "a", 1).await;
    let response = visit(&layer, &cookie, async |session| session.destroy().unwrap()).await;
    let field = set_cookie(&response).expect("removal");
    for part in [
        "sid=;",
        "Max-Age=0",
        "Expires=Thu, 01 Jan 1970 00:00:00 GMT",
        "Domain=example.org",
        "Path=/shop",
        "Secure",
        "HttpOnly",
        "SameSite=None",
    ] {
        assert!(field.contains(part), "{part} in {field}");
    }
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
}

#[tokio::test]
async fn session_the_client_never_heard_of_is_destroyed_without_a_cookie() {
    let layer = layer().await;
    let response = visit(&layer, (), async |session| {
        session.insert("a", 1).unwrap();
        session.destroy().unwrap();
    })
    .await;
    assert!(response.headers().is_empty());
}

#[tokio::test]
async fn destroying_removes_a_stale_cookie_too() {
    let layer = layer().await;
    let response = visit(&layer, "__Host-id=stale", async |session| {
        session.destroy().unwrap();
    })
    .await;
    assert!(set_cookie(&response).unwrap().contains("Max-Age=0"));
}

#[tokio::test]
async fn cookie_fields_split_by_http2_are_all_read() {
    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    let fields = ["x=1".to_owned(), "y=2".to_owned(), cookie, "z=3".to_owned()];
    assert_eq!(value(&layer, fields.as_slice(), "a").await, Some(1));
}

#[tokio::test]
async fn first_living_cookie_of_eight_wins_over_planted_ones() {
    let layer = layer().await;
    let (one, _) = start(&layer, "a", 1).await;
    let (two, _) = start(&layer, "a", 2).await;
    let planted = |count| vec!["__Host-id=junk".to_owned(); count];

    let mut fields = planted(6);
    fields.extend([two.clone(), one.clone()]);
    assert_eq!(value(&layer, fields.as_slice(), "a").await, Some(2));

    let mut fields = planted(7);
    fields.push(one.clone());
    assert_eq!(value(&layer, fields.as_slice(), "a").await, Some(1));
    assert_eq!(value(&layer, &fields.join("; "), "a").await, Some(1));

    let mut fields = planted(8);
    fields.push(one);
    assert_eq!(value(&layer, fields.as_slice(), "a").await, None);
}

#[tokio::test]
async fn route_is_shown_in_id_and_cookie_and_ignored_on_read() {
    let config = ClusterConfig::standalone().route("node1");
    let layer = ClusterSessionLayer::new(config);
    let (cookie, id) = start(&layer, "a", 1).await;
    assert!(cookie.ends_with(".node1") && id.ends_with(".node1"));
    for other in [
        cookie.replace(".node1", ".node2"),
        cookie.replace(".node1", ""),
    ] {
        assert_eq!(value(&layer, &other, "a").await, Some(1), "{other}");
    }
}

#[tokio::test(start_paused = true)]
async fn persistent_cookie_lasts_as_long_as_the_session() {
    let layer = layer().await.with_persistent_cookie();
    let max_age = async |expiry| {
        let response = visit(&layer, (), async |session| {
            session.set_expiry(expiry).unwrap();
            session.insert("a", 1).unwrap();
        });
        let field = set_cookie(&response.await).unwrap();
        let (_, age) = field.split_once("Max-Age=").expect("persistent");
        age.split(';').next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(max_age(Expiry::idle(minutes(30))).await, 1800);
    assert_eq!(max_age(Expiry::absolute(minutes(60))).await, 3600);
    let both = Expiry::idle(minutes(30)).or_absolute(minutes(10));
    assert_eq!(max_age(both).await, 600);
}

#[tokio::test(start_paused = true)]
async fn persistent_cookie_is_renewed_when_a_tenth_is_used() {
    let layer = layer().await.with_persistent_cookie();
    let (cookie, _) = start(&layer, "a", 1).await;
    // Minutes between requests, and whether the cookie comes again. A tenth is 3 minutes.
    for (wait, renewed) in [
        (1, false),
        (1, false),
        (1, true),
        (2, false),
        (2, true),
        (25, true),
    ] {
        pass(minutes(wait)).await;
        let response = visit(&layer, &cookie, async |session| {
            session.get::<u64>("a").unwrap()
        })
        .await;
        let field = set_cookie(&response);
        assert_eq!(field.is_some(), renewed, "{wait} {field:?}");
        if let Some(field) = field {
            assert!(field.starts_with(&cookie), "the same id");
            assert!(field.contains("Max-Age=1800"), "{field}");
        }
        assert_eq!(response.into_body(), Some(1));
    }
}

#[tokio::test(start_paused = true)]
async fn persistent_cookie_is_not_renewed_with_a_replaced_id() {
    let layer = layer().await.with_persistent_cookie();
    let (old, _) = start(&layer, "a", 1).await;
    pass(minutes(5)).await;
    let response = visit(&layer, &old, async |_| {
        visit(&layer, &old, async |other| other.cycle_id().unwrap()).await;
    })
    .await;
    assert_eq!(set_cookie(&response), None);
}

#[tokio::test(start_paused = true)]
async fn persistent_cookie_follows_set_expiry() {
    let layer = layer().await.with_persistent_cookie();
    let (cookie, _) = start(&layer, "a", 1).await;
    let response = visit(&layer, &cookie, async |session| {
        session.set_expiry(Expiry::idle(minutes(5))).unwrap();
    })
    .await;
    assert!(set_cookie(&response).unwrap().contains("Max-Age=300"));
}

#[tokio::test(start_paused = true)]
async fn cookie_that_ends_with_the_sessions_age_is_not_renewed() {
    let expiry = Expiry::absolute(minutes(60));
    let layer = layer().await.with_persistent_cookie().with_expiry(expiry);
    let (cookie, _) = start(&layer, "a", 1).await;
    pass(minutes(50)).await;
    let response = visit(&layer, &cookie, async |session| session.keys().unwrap()).await;
    assert_eq!(set_cookie(&response), None);
    assert_eq!(response.into_body(), ["a"]);
}

#[tokio::test]
async fn development_cookie_has_neither_secure_nor_prefix() {
    let layer = layer().await.insecure_for_development();
    let response = visit(&layer, (), async |session| session.insert("a", 1).unwrap()).await;
    let field = set_cookie(&response).unwrap();
    assert!(
        field.starts_with("id=") && !field.contains("Secure"),
        "{field}"
    );
    assert!(field.contains("HttpOnly"), "{field}");
    let shop = layer.with_context("shop");
    let (cookie, _) = start(&shop, "a", 1).await;
    assert!(cookie.starts_with("id-shop="), "{cookie}");
}

#[tokio::test]
async fn cookies_that_browsers_would_drop_are_refused_with_the_fix() {
    let layer = layer().await;
    let cases = [
        (
            layer.clone().with_secure(false),
            "leave out `with_secure(false)`",
        ),
        (
            layer.clone().with_domain("example.org"),
            "leave out `with_domain`",
        ),
        (layer.clone().with_path("/shop"), "leave out `with_path`"),
        (
            layer.clone().with_name("__Secure-id").with_secure(false),
            "leave out `with_secure(false)`",
        ),
        (
            layer.clone().with_name("__host-id").with_secure(false),
            "choose another name with `with_name`",
        ),
        (
            layer
                .clone()
                .with_same_site(SameSite::None)
                .insecure_for_development(),
            "choose `SameSite::Lax`",
        ),
        (
            layer.clone().with_name(""),
            "must be 1 or more of the characters",
        ),
        (
            layer.clone().with_name("a b"),
            "must be 1 or more of the characters",
        ),
        (layer.clone().with_context(""), "must be 1 to 64"),
        (layer.clone().with_context("a;b"), "must be 1 to 64"),
        (
            layer.clone().with_context("x".repeat(65)),
            "must be 1 to 64",
        ),
    ];
    for (layer, fix) in cases {
        let message = layer.check().expect_err(fix).to_string();
        assert!(message.contains(fix), "{message}");
        let layered = catch_unwind(AssertUnwindSafe(|| drop(layer.layer(()))));
        let panic = layered.expect_err("layer checks, too");
        assert!(panic.downcast_ref::<String>().unwrap().contains(fix));
    }
    let plain = layer.with_name("sid").with_secure(false).with_path("/shop");
    plain.check().unwrap();
}

#[tokio::test]
async fn options_show_in_the_cookie() {
    let layer = layer()
        .await
        .with_name("sid")
        .with_secure(false)
        .with_http_only(false)
        .with_same_site(SameSite::Strict)
        .with_domain("example.org")
        .with_path("/shop");
    let response = visit(&layer, (), async |session| session.insert("a", 1).unwrap()).await;
    let field = set_cookie(&response).unwrap();
    let (_, attributes) = field.split_once("; ").unwrap();
    let mut attributes: Vec<&str> = attributes.split("; ").collect();
    attributes.sort_unstable();
    assert_eq!(
        attributes,
        ["Domain=example.org", "Path=/shop", "SameSite=Strict"]
    );
}

#[tokio::test]
async fn sessions_of_different_contexts_never_mix() {
    let plain = layer().await;
    let shop = plain.clone().with_context("shop");
    let (cookie, _) = start(&shop, "a", 1).await;
    assert!(cookie.starts_with("__Host-id-shop="), "{cookie}");
    // Even under the other layer's name the id opens nothing there.
    let forged = cookie.replace("-shop=", "=");
    assert_eq!(value(&plain, &forged, "a").await, None);
    assert_eq!(value(&shop, &cookie, "a").await, Some(1));
}

#[tokio::test]
async fn layers_of_two_contexts_around_one_service_both_work() {
    let plain = layer().await;
    let shop = plain.clone().with_context("shop");
    let service = service_fn(async |request: Request<()>| {
        let extensions = request.extensions();
        let inner = extensions.get::<SessionSlot>().unwrap().load().await;
        let shop = SessionSlot::of(extensions, "shop").unwrap().load().await;
        let plain = SessionSlot::of(extensions, "").unwrap().load().await;
        assert!(SessionSlot::of(extensions, "forum").is_none());
        shop.insert("a", 1).unwrap();
        plain.insert("b", 2).unwrap();
        assert_eq!(inner.keys().unwrap(), ["a"], "the innermost is the shop's");
        Ok::<_, Infallible>(Response::new(()))
    });
    let service = plain.layer(shop.layer(service));
    let response = service.oneshot(request(())).await.unwrap();
    let cookies: Vec<_> = response.headers().get_all(SET_COOKIE).iter().collect();
    assert_eq!(cookies.len(), 2);
    assert_eq!(plain.cluster().session_count(), 2);
}

#[tokio::test]
async fn same_cluster_and_context_layered_twice_passes_through() {
    let layer = layer().await;
    let service = service_fn(async |request: Request<()>| {
        let session = slot(&request).load().await;
        session.increment("hits", 1).unwrap();
        Ok::<_, Infallible>(Response::new(()))
    });
    let service = layer.layer(layer.clone().layer(service));
    let response = service.oneshot(request(())).await.unwrap();
    let cookie = cookie(&response).expect("exactly one");
    let response = visit(&layer, &cookie, async |session| {
        session.counter("hits").unwrap()
    })
    .await;
    assert_eq!(response.into_body(), 1);
    assert_eq!(layer.cluster().session_count(), 1);
}

#[tokio::test]
async fn two_contexts_with_one_cookie_name_are_an_error() {
    let layer = layer().await.with_name("__Host-sid");
    layer.check().unwrap();
    layer.check().unwrap();
    let shop = layer.clone().with_context("shop");
    let error = shop.check().unwrap_err();
    assert!(matches!(error, LayerError::NameTaken { .. }), "{error}");
    assert!(error.to_string().contains("with_name"), "{error}");
    shop.with_name("__Host-shop").check().unwrap();
}

#[tokio::test]
async fn one_layer_serves_64_contexts_at_most() {
    let layer = layer().await;
    for at in 0..64 {
        layer
            .clone()
            .with_context(format!("c{at}"))
            .check()
            .unwrap();
    }
    let error = layer.clone().with_context("c64").check().unwrap_err();
    assert!(matches!(error, LayerError::TooManyContexts));
}

#[test]
fn new_outside_a_runtime_panics_naming_the_reason() {
    let error = ClusterSessionLayer::try_new(ClusterConfig::standalone()).unwrap_err();
    let panic = catch_unwind(|| ClusterSessionLayer::new(ClusterConfig::standalone()))
        .expect_err("no runtime");
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains(&error.to_string()), "{message}");
}

#[tokio::test(start_paused = true)]
async fn expiry_of_the_layer_is_what_sessions_start_with() {
    let layer = layer()
        .await
        .with_expiry(Expiry::idle(Duration::from_secs(60)));
    let (cookie, _) = start(&layer, "a", 1).await;
    let response = visit(&layer, &cookie, async |session| session.expiry().unwrap()).await;
    assert_eq!(response.into_body(), Expiry::idle(minutes(1)));
}

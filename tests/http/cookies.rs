//! What the cookie looks like, when it is sent, and which one is believed.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use cookie::Cookie;
use http::{
    HeaderValue, Request, Response,
    header::{CACHE_CONTROL, SET_COOKIE},
};
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_cluster_sessions::{
    ClusterConfig, ClusterSessionLayer, Consistency, Expiry, LayerError, LayerOptions, SameSite,
    SessionError, SessionSlot,
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
    assert_eq!(set_cookie(&response), None);
    assert_eq!(response.headers()[CACHE_CONTROL], "private, no-cache");
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
    assert_eq!(set_cookie(&response), None);
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

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Lets days pass at once, as for a process that is stopped, and then what follows from that.
async fn jump(time: Duration) {
    tokio::time::advance(time).await;
    pass(Duration::from_secs(5)).await;
}

/// The seconds of `Max-Age`. `Expires` comes with it and not without.
fn max_age(field: &str) -> Option<u64> {
    let cookie = Cookie::parse(field).expect("a cookie");
    assert_eq!(
        cookie.max_age().is_some(),
        cookie.expires_datetime().is_some(),
        "{field}"
    );
    cookie
        .max_age()
        .map(|age| age.whole_seconds().unsigned_abs())
}

#[tokio::test(start_paused = true)]
async fn persistent_cookie_lasts_until_the_limit_of_age_and_400_days_at_most() {
    let layer = layer().await.with_persistent_cookie();
    for (expiry, expected) in [
        (Expiry::idle(minutes(30)), 400 * DAY),
        (Expiry::never(), 400 * DAY),
        (Expiry::absolute(minutes(60)), minutes(60)),
        (Expiry::absolute(Duration::MAX), 400 * DAY),
        (
            Expiry::idle(minutes(30)).or_absolute(minutes(10)),
            minutes(10),
        ),
    ] {
        let response = visit(&layer, (), async |session| {
            session.set_expiry(expiry).unwrap();
            session.insert("a", 1).unwrap();
        });
        let field = set_cookie(&response.await).unwrap();
        assert_eq!(max_age(&field), Some(expected.as_secs()), "{expiry:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn persistent_cookie_does_not_die_before_a_session_that_a_stream_holds() {
    let idle = Duration::from_secs(5);
    let layer = layer()
        .await
        .with_expiry(Expiry::idle(idle))
        .with_persistent_cookie();
    let response = visit(&layer, (), async |session| {
        session.insert("a", 1).unwrap();
        session
    })
    .await;
    let field = set_cookie(&response).unwrap();
    let held = response.into_body();
    let stream = Duration::from_secs(12);
    pass(stream).await;
    drop(held);
    let cookie = field.split(';').next().unwrap();
    assert_eq!(value(&layer, cookie, "a").await, Some(1));
    assert!(max_age(&field).unwrap() > (stream + idle).as_secs());
}

#[tokio::test(start_paused = true)]
async fn persistent_cookie_is_renewed_when_a_tenth_is_used() {
    for expiry in [Expiry::idle(100 * DAY), Expiry::never()] {
        let layer = layer().await.with_expiry(expiry).with_persistent_cookie();
        let (cookie, _) = start(&layer, "a", 1).await;
        // Days between requests, and whether the cookie comes again. A tenth is 40 days.
        for (wait, renewed) in [
            (15, false),
            (20, false),
            (10, true),
            (10, false),
            (35, true),
            (90, true),
        ] {
            jump(wait * DAY).await;
            let response = visit(&layer, &cookie, async |session| {
                session.get::<u64>("a").unwrap()
            })
            .await;
            let field = set_cookie(&response);
            assert_eq!(field.is_some(), renewed, "{wait} {field:?}");
            if let Some(field) = field {
                assert!(field.starts_with(&cookie), "the same id");
                assert_eq!(max_age(&field), Some((400 * DAY).as_secs()));
            }
            assert_eq!(response.into_body(), Some(1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn persistent_cookie_is_not_renewed_with_a_replaced_id() {
    let layer = layer().await.with_persistent_cookie();
    let layer = layer.with_expiry(Expiry::never());
    let (old, _) = start(&layer, "a", 1).await;
    jump(50 * DAY).await;
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
        session.set_expiry(Expiry::absolute(minutes(5))).unwrap();
    })
    .await;
    assert_eq!(max_age(&set_cookie(&response).unwrap()), Some(300));
}

#[tokio::test(start_paused = true)]
async fn cookie_that_ends_with_the_sessions_age_is_not_renewed() {
    let expiry = Expiry::absolute(100 * DAY);
    let layer = layer().await.with_persistent_cookie().with_expiry(expiry);
    let (cookie, _) = start(&layer, "a", 1).await;
    jump(50 * DAY).await;
    let response = visit(&layer, &cookie, async |session| session.keys().unwrap()).await;
    assert_eq!(set_cookie(&response), None);
    assert_eq!(response.into_body(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn session_may_have_a_persistent_cookie_under_a_layer_without() {
    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    let response = visit(&layer, &cookie, async |session| {
        assert!(!session.is_persistent().unwrap());
        session.set_expiry(Expiry::idle(30 * DAY)).unwrap();
        session.set_persistent(true).unwrap();
        assert!(session.is_persistent().unwrap());
        assert_eq!(session.expiry().unwrap(), Expiry::idle(30 * DAY));
    })
    .await;
    let field = set_cookie(&response).expect("the cookie again");
    assert!(field.starts_with(&cookie), "{field}");
    assert_eq!(max_age(&field), Some((400 * DAY).as_secs()));
    // It is kept with the session.
    jump(29 * DAY).await;
    let response = visit(&layer, &cookie, async |session| {
        let expiry = Expiry::idle(30 * DAY).or_absolute(60 * DAY);
        session.set_expiry(expiry).unwrap();
        session.is_persistent().unwrap()
    })
    .await;
    let left = max_age(&set_cookie(&response).unwrap()).expect("persistent");
    assert_eq!(left.div_ceil(DAY.as_secs()), 31);
    assert!(response.into_body());
    let response = visit(&layer, &cookie, async |session| session.cycle_id().unwrap()).await;
    assert!(max_age(&set_cookie(&response).unwrap()).is_some());
}

#[tokio::test]
async fn session_may_have_a_browsers_cookie_under_a_persistent_layer() {
    let layer = layer().await.with_persistent_cookie();
    let response = visit(&layer, (), async |session| {
        session.set_persistent(false).unwrap();
        assert!(!session.is_persistent().unwrap());
        assert_eq!(session.id(), None, "no session for that alone");
        session.insert("a", 1).unwrap();
        assert!(!session.is_persistent().unwrap());
    })
    .await;
    let field = set_cookie(&response).unwrap();
    assert_eq!(max_age(&field), None);
    let cookie = cookie(&response).unwrap();
    let response = visit(&layer, &cookie, async |session| {
        session.set_persistent(true)
    })
    .await;
    assert!(max_age(&set_cookie(&response).unwrap()).is_some());
    let session = visit(&layer, &cookie, async |session| session)
        .await
        .into_body();
    let error = session.set_persistent(false).unwrap_err();
    assert!(matches!(error, SessionError::HeadersSent), "{error}");
}

#[tokio::test]
async fn javas_quotes_are_taken_off_each_kind_of_cookie() {
    let config = ClusterConfig::standalone()
        .consistency_key("0e9d3fbd27f2b1f9a0f1c4677d9a1e5b88c6c1a25ddf7a4c903bfe6f2240d7e3");
    let plain = ClusterSessionLayer::new(config.route("node1"));
    let plain = plain.with_consistency(Consistency::ReadYourWrites);
    for layer in sealed_in_all_ways(&plain) {
        let response = visit(&layer, (), async |session| session.insert("a", 1).unwrap()).await;
        let mut java = r#"$Version="1""#.to_owned();
        for field in response.headers().get_all(SET_COOKIE) {
            let pair = field.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            java += &format!(r#"; {name}="{value}";$Path="/""#);
        }
        let response = visit(&layer, &java, async |session| {
            assert!(!session.is_new());
            session.destroy().unwrap();
        })
        .await;
        let removed = response.headers().get_all(SET_COOKIE).iter().count();
        assert_eq!(removed, 2, "the consistency cookie was seen, too");
    }
}

#[tokio::test]
async fn cookie_fields_are_not_for_logs() {
    for layer in sealed_in_all_ways(&layer().await) {
        let (cookie, _) = start(&layer, "a", 1).await;
        let (_, secret) = cookie.split_once('=').unwrap();
        let service = service_fn(async |request: Request<()>| {
            let shown = format!("{:?}", request.headers());
            slot(&request).load().await.cycle_id().unwrap();
            Ok::<_, Infallible>(Response::new(shown))
        });
        let mut request = request([cookie.clone(), "theme=dark".to_owned()].as_slice());
        request
            .headers_mut()
            .append("accept", "text/html".parse().unwrap());
        let response = layer.layer(service).oneshot(request).await.unwrap();
        let next = cookie_of(&response);
        let shown = format!("{:?}{}", response.headers(), response.body());
        for value in [secret, next.split_once('=').unwrap().1, "dark"] {
            assert!(!shown.contains(value), "{shown}");
        }
        assert!(shown.contains("text/html"), "{shown}");
        assert!(
            response.headers()[SET_COOKIE].is_sensitive(),
            "HPACK indexes it never"
        );
    }
}

fn cookie_of<B>(response: &Response<B>) -> String {
    cookie(response).expect("a cookie")
}

#[tokio::test]
async fn cookie_field_of_400_kb_is_looked_through_once() {
    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    let semicolons = format!("{}{cookie}", ";".repeat(400_000));
    assert_eq!(value(&layer, &semicolons, "a").await, Some(1));
    let names = format!("{}{cookie}", "a=__Host-id;".repeat(30_000));
    assert_eq!(value(&layer, &names, "a").await, None);
}

#[tokio::test]
async fn limit_of_zero_is_an_error_that_names_never() {
    let layer = layer().await;
    let zero = Duration::ZERO;
    for expiry in [
        Expiry::idle(zero),
        Expiry::absolute(zero),
        Expiry::idle(minutes(1)).or_absolute(zero),
    ] {
        let error = layer.clone().with_expiry(expiry).check().unwrap_err();
        assert!(error.to_string().contains("`Expiry::never()`"), "{error}");
        let response = visit(&layer, (), async |session| {
            let error = session.set_expiry(expiry).unwrap_err();
            assert!(error.to_string().contains("`Expiry::never()`"), "{error}");
            session.expiry().unwrap()
        })
        .await;
        assert_eq!(response.into_body(), Expiry::default());
    }
    layer.with_expiry(Expiry::never()).check().unwrap();
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
                .with_name("__Host-Http-id")
                .with_http_only(false),
            "leave out `with_http_only(false)`",
        ),
        (
            layer.clone().with_name("__host-http-id").with_path("/shop"),
            "leave out `with_path`",
        ),
        (
            layer.clone().with_name("__Http-id").with_http_only(false),
            "leave out `with_http_only(false)`",
        ),
        (
            layer.clone().with_name("__Http-id").with_secure(false),
            "leave out `with_secure(false)`",
        ),
        (
            layer.clone().with_partitioned(true),
            "add `with_same_site(SameSite::None)`",
        ),
        (
            layer
                .clone()
                .with_name("id")
                .with_partitioned(true)
                .with_secure(false),
            "leave out `with_secure(false)`",
        ),
        (
            layer.clone().with_name("x".repeat(1025)),
            "choose another one with `with_name`",
        ),
        (
            layer
                .clone()
                .with_name("id")
                .with_path(format!("/{}", "x".repeat(1024))),
            "choose another one with `with_path`",
        ),
        (
            layer.clone().with_name("id").with_domain("x".repeat(254)),
            "choose another one with `with_domain`",
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
            "must be 1 to 1024 of the characters",
        ),
        (
            layer.clone().with_name("a b"),
            "must be 1 to 1024 of the characters",
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
    let longest = layer.clone().with_name("x".repeat(1024));
    longest
        .with_path(format!("/{}", "x".repeat(1023)))
        .with_domain("x".repeat(253))
        .check()
        .unwrap();
    for name in ["__Http-sid", "__Secure-sid"] {
        let anywhere = layer.clone().with_name(name).with_path("/shop");
        anywhere.with_domain("example.org").check().unwrap();
    }
    let dev = layer
        .clone()
        .with_name("__Host-Http-sid")
        .insecure_for_development();
    assert!(start(&dev, "a", 1).await.0.starts_with("sid="));
    let plain = layer
        .with_name("sid2")
        .with_secure(false)
        .with_path("/shop");
    plain.check().unwrap();
}

#[tokio::test]
async fn options_from_a_configuration_show_in_the_cookie() {
    let options: LayerOptions = serde_json::from_str(
        r#"{"cookie": {"name": "shop", "path": "/shop", "same_site": "strict", "persistent": true},
            "expiry": {"idle": "10m"}, "context": "shop", "cache_headers": false}"#,
    )
    .unwrap();
    let layer = layer().await.with_options(options);
    let response = visit(&layer, (), async |session| session.insert("a", 1).unwrap()).await;
    let cookie = set_cookie(&response).expect("a new session");
    for part in ["shop=", "; Path=/shop", "; SameSite=Strict", "; Max-Age="] {
        assert!(cookie.contains(part), "{part} is not in {cookie}");
    }
    for (options, word) in [
        (r#"{"cookie": {"htp_only": true}}"#, "http_only"),
        (r#"{"filter": [".*\\.(gif"]}"#, "invalid filter"),
        (r#"{"expiry": {"idle": "0s"}}"#, "use `never`"),
        (r#"{"ack": "some"}"#, "`none`"),
    ] {
        let error = serde_json::from_str::<LayerOptions>(options).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
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
async fn partitioned_cookie_is_removed_as_it_was_set() {
    let layer = layer()
        .await
        .with_same_site(SameSite::None)
        .with_partitioned(true);
    let response = visit(&layer, (), async |session| session.insert("a", 1).unwrap()).await;
    let cookie = cookie(&response).unwrap();
    let removal = visit(&layer, &cookie, async |session| session.destroy().unwrap()).await;
    for response in [response, removal] {
        let field = set_cookie(&response).unwrap();
        for attribute in ["; Partitioned", "; Secure", "; SameSite=None"] {
            assert!(field.contains(attribute), "{field}");
        }
    }
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

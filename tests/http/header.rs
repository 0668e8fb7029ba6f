//! Sessions of clients that present them in a header field instead of a cookie.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION,
        CACHE_CONTROL, COOKIE, ORIGIN as ORIGIN_FIELD, SET_COOKIE, VARY,
    },
};
use std::convert::Infallible;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_cluster_sessions::{
    Cluster, ClusterConfig, ClusterSessionLayer, Consistency, CookieValue, LayerError,
    LayerOptions, Session, Transport,
};
use tower_http::cors::CorsLayer;

use crate::http_support::{layer, sealed_in_all_ways, set_cookie, slot, start, visit};

/// Sends a request with these header fields.
async fn send<T>(
    layer: &ClusterSessionLayer,
    fields: &[(&str, &str)],
    handler: impl AsyncFnOnce(Session) -> T,
) -> Response<T> {
    let mut handler = Some(handler);
    let service = service_fn(|request: Request<()>| {
        let handler = handler.take().expect("one request");
        async move {
            for name in ["x-session", AUTHORIZATION.as_str()] {
                let field = request.headers().get(name);
                assert!(field.is_none_or(|field| field.is_sensitive()), "{name}");
            }
            let session = slot(&request).load().await;
            Ok::<_, Infallible>(Response::new(handler(session).await))
        }
    });
    let mut request = Request::builder();
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(()).expect("valid fields");
    let answer = layer.layer(service).oneshot(request).await;
    answer.unwrap_or_else(|never| match never {})
}

async fn read(layer: &ClusterSessionLayer, fields: &[(&str, &str)]) -> Option<u64> {
    let response = send(layer, fields, async |session| {
        session.get("a").expect("a number")
    })
    .await;
    response.into_body()
}

/// The value that a response gives in the field, which must be told nobody else.
fn told(headers: &HeaderMap) -> Option<String> {
    let field = headers.get("x-session")?;
    assert!(field.is_sensitive());
    assert_eq!(headers[CACHE_CONTROL], "no-store");
    assert!(!headers.contains_key(SET_COOKIE));
    Some(field.to_str().expect("text").to_owned())
}

#[tokio::test]
async fn session_is_created_cycled_and_destroyed_by_the_field_alone() {
    let layer = layer().await;
    for layer in sealed_in_all_ways(&layer) {
        for (transport, scheme) in [
            (Transport::header("X-Session"), ""),
            (Transport::bearer("x-session"), "Bearer "),
        ] {
            let layer = layer.clone().with_transport(transport);
            let name = if scheme.is_empty() {
                "x-session"
            } else {
                "authorization"
            };
            let created = send(&layer, &[], async |session| session.insert("a", 1).unwrap()).await;
            let value = told(created.headers()).expect("a new session");
            let present = |value: &str| format!("{scheme}{value}");

            let again = send(&layer, &[(name, &present(&value))], async |session| {
                session.get::<u64>("a").unwrap()
            })
            .await;
            assert_eq!(told(again.headers()), None, "the client has it");
            assert_eq!(*again.body(), Some(1));

            let cycled = send(&layer, &[(name, &present(&value))], async |session| {
                session.cycle_id().unwrap();
            })
            .await;
            let other = told(cycled.headers()).expect("another id");
            assert_eq!(read(&layer, &[(name, &present(&value))]).await, None);
            assert_eq!(read(&layer, &[(name, &present(&other))]).await, Some(1));

            let destroyed = send(&layer, &[(name, &present(&other))], async |session| {
                session.destroy().unwrap();
            })
            .await;
            assert_eq!(told(destroyed.headers()).as_deref(), Some(""));
            assert_eq!(read(&layer, &[(name, &present(&other))]).await, None);
        }
    }
    assert_eq!(layer.cluster().session_count(), 0);
}

#[tokio::test]
async fn unknown_ids_in_the_field_are_never_adopted() {
    let layer = layer().await.with_transport(Transport::header("x-session"));
    let made_up = CookieValue::new([1; 16], [2; 16]).expose();
    for presented in [&*made_up, "malformed", ""] {
        let fields = [("x-session", presented)];
        let read = send(&layer, &fields, async |session| session.is_new()).await;
        assert_eq!(told(read.headers()), None, "a miss takes nothing away");
        let written = send(&layer, &fields, async |session| {
            session.insert("a", 1).unwrap()
        })
        .await;
        let value = told(written.headers()).expect("a new session");
        assert_ne!(value, presented);
    }
    assert_eq!(layer.cluster().session_count(), 3);
}

#[tokio::test]
async fn layer_with_the_field_alone_neither_reads_nor_sets_cookies() {
    let cookies = layer().await;
    let (cookie, _) = start(&cookies, "a", 1).await;
    let layer = cookies
        .clone()
        .with_transport(Transport::header("x-session"));
    assert_eq!(read(&layer, &[("cookie", &cookie)]).await, None);
    let (_, value) = cookie.split_once('=').unwrap();
    assert_eq!(
        read(&layer, &[("x-session", value)]).await,
        Some(1),
        "the value is the same"
    );
}

#[tokio::test]
async fn with_either_a_request_is_answered_as_it_asks() {
    let layer = layer()
        .await
        .with_transport(Transport::bearer("x-session").or_cookie());
    let (cookie, _) = start(&layer, "a", 1).await;
    let asks = [("authorization", "Bearer")];
    let by_field = send(&layer, &asks, async |session| {
        session.insert("a", 2).unwrap()
    })
    .await;
    let value = format!(
        "bearer {}",
        told(by_field.headers()).expect("a new session")
    );

    assert_eq!(read(&layer, &[("cookie", &cookie)]).await, Some(1));
    assert_eq!(read(&layer, &[("authorization", &value)]).await, Some(2));
    let both = [("cookie", &*cookie), ("authorization", &*value)];
    assert_eq!(read(&layer, &both).await, Some(2), "the field comes first");
    let forged = [("cookie", &*cookie), ("authorization", "Bearer forged")];
    assert_eq!(
        read(&layer, &forged).await,
        None,
        "the cookie is not looked at"
    );
    let other = [("cookie", &*cookie), ("authorization", "Basic YTpi")];
    assert_eq!(
        read(&layer, &other).await,
        Some(1),
        "another scheme is none of ours"
    );

    let out = send(&layer, &both, async |session| session.destroy().unwrap()).await;
    assert_eq!(told(out.headers()).as_deref(), Some(""));
    assert_eq!(
        read(&layer, &[("cookie", &cookie)]).await,
        Some(1),
        "it was not presented"
    );
    let out = visit(&layer, &cookie, async |session| session.destroy().unwrap()).await;
    assert!(set_cookie(&out).unwrap().contains("Max-Age=0"));
    assert!(!out.headers().contains_key("x-session"));
}

#[tokio::test]
async fn responses_vary_by_what_the_session_was_looked_for_in() {
    let cookies = layer().await;
    let names = async |transport: Transport| {
        let layer = cookies.clone().with_transport(transport);
        let response = send(&layer, &[], async |_| ()).await;
        let fields = response.headers().get_all(VARY).iter();
        fields
            .map(|field| field.to_str().unwrap().to_ascii_lowercase())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(Transport::cookie()).await, [COOKIE.as_str()]);
    assert_eq!(names(Transport::header("x-session")).await, ["x-session"]);
    assert_eq!(
        names(Transport::bearer("x-token").or_cookie()).await,
        [COOKIE.as_str(), AUTHORIZATION.as_str()]
    );
}

#[tokio::test]
async fn slot_tells_of_the_field_what_it_tells_of_the_cookie() {
    let layer = layer().await.with_transport(Transport::header("x-session"));
    let created = send(&layer, &[], async |session| {
        session.insert("a", 1).unwrap();
        session.id().unwrap()
    })
    .await;
    let value = told(created.headers()).expect("a new session");
    let id = created.into_body();
    for (presented, expected) in [(&*value, (true, Some(id))), ("", (false, None))] {
        let service = service_fn(async |request: Request<()>| {
            let slot = slot(&request);
            Ok::<_, Infallible>(Response::new((slot.presents_cookie(), slot.presented_id())))
        });
        let request = Request::builder().header("x-session", presented).body(());
        let answer = layer.layer(service).oneshot(request.unwrap()).await;
        assert_eq!(answer.unwrap().into_body(), expected);
    }
}

#[tokio::test]
async fn scripts_of_an_origin_that_the_cors_layer_allows_send_and_read_the_field() {
    const ORIGIN: &str = "https://app.example";
    let field = HeaderName::from_static("x-session");
    let cors = CorsLayer::new()
        .allow_origin(HeaderValue::from_static(ORIGIN))
        .allow_methods([Method::GET])
        .allow_headers([field.clone()])
        .expose_headers([field.clone()]);
    let sessions = layer().await.with_transport(Transport::header("x-session"));
    let handler = service_fn(async |request: Request<()>| {
        let session = slot(&request).load().await;
        let hits = session.update("hits", |hits: Option<u64>| hits.unwrap_or(0) + 1);
        Ok::<_, Infallible>(Response::new(hits.unwrap().to_string()))
    });
    let app = cors.layer(sessions.layer(handler));

    let preflight = Request::builder()
        .method(Method::OPTIONS)
        .header(ORIGIN_FIELD, ORIGIN)
        .header(ACCESS_CONTROL_REQUEST_METHOD, "GET")
        .header(ACCESS_CONTROL_REQUEST_HEADERS, "x-session")
        .body(());
    let answer = app.clone().oneshot(preflight.unwrap()).await.unwrap();
    assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], ORIGIN);
    assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_HEADERS], "x-session");
    assert_eq!(
        sessions.cluster().session_count(),
        0,
        "a preflight is no hit"
    );

    let mut value = String::new();
    for hits in ["1", "2"] {
        let request = Request::builder()
            .header(ORIGIN_FIELD, ORIGIN)
            .header(&field, &value)
            .body(());
        let answer = app.clone().oneshot(request.unwrap()).await.unwrap();
        assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], ORIGIN);
        assert_eq!(answer.headers()[ACCESS_CONTROL_EXPOSE_HEADERS], "x-session");
        if hits == "1" {
            value = told(answer.headers()).expect("a new session");
        }
        assert_eq!(answer.body(), hits);
    }
}

#[tokio::test]
async fn transports_that_cannot_work_are_refused() {
    let layer = layer().await;
    for name in [
        "",
        "a b",
        "Cookie",
        "set-cookie",
        "authorization",
        "host",
        "vary",
    ] {
        let refused = layer
            .clone()
            .with_transport(Transport::header(name))
            .check();
        assert!(
            matches!(&refused, Err(LayerError::InvalidHeader { name: told, .. }) if told == name),
            "{refused:?}"
        );
    }
    let options: LayerOptions = serde_json::from_str(r#"{"transport": {"bearer": true}}"#).unwrap();
    let refused = layer.clone().with_options(options).check();
    assert!(
        matches!(refused, Err(LayerError::InvalidHeader { .. })),
        "{refused:?}"
    );

    let shop = layer
        .clone()
        .with_context("shop")
        .with_transport(Transport::header("x-session"));
    shop.check().unwrap();
    shop.check().unwrap();
    let other = layer
        .clone()
        .with_transport(Transport::header("X-Session"))
        .check();
    assert!(
        matches!(&other, Err(LayerError::HeaderTaken { name, other, .. }) if name == "x-session" && other == "shop"),
        "{other:?}"
    );

    let config = ClusterConfig::standalone().consistency_key(KEY);
    let cluster = Cluster::start(config).await.unwrap();
    let consistent = ClusterSessionLayer::from_cluster(&cluster)
        .with_consistency(Consistency::ReadYourWrites)
        .with_transport(Transport::header("x-session").or_cookie());
    assert!(matches!(
        consistent.check(),
        Err(LayerError::ConsistencyWithoutCookie)
    ));
}

#[tokio::test]
async fn transport_of_a_configuration_is_that_of_the_layer() {
    let options: LayerOptions =
        serde_json::from_str(r#"{"transport": {"header": "x-session", "or_cookie": true}}"#)
            .unwrap();
    let layer = layer().await.with_options(options);
    let fields = [("x-session", "")];
    let created = send(&layer, &fields, async |session| {
        session.insert("a", 1).unwrap()
    })
    .await;
    assert!(told(created.headers()).is_some());
}

const KEY: &str = "8d1f0c6ea37b25944e9ab07f6c53d812f1c04be79a6d3382c5570e9bd4a16f23";

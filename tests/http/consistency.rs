//! The second cookie of `Consistency::ReadYourWrites`: when it is sent, what it looks like, and
//! when it goes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use http::{
    Response,
    header::{CACHE_CONTROL, SET_COOKIE},
};
use tower::{Layer as _, service_fn};
use tower_cluster_sessions::{
    Cluster, ClusterConfig, ClusterSessionLayer, Consistency, LayerError,
};

use crate::http_support::*;

const KEY: &str = "0e9d3fbd27f2b1f9a0f1c4677d9a1e5b88c6c1a25ddf7a4c903bfe6f2240d7e3";

#[tokio::test]
async fn token_is_sent_only_when_the_session_changed_and_never_cached() {
    let layer = layer().await;
    let response = visit(&layer, (), async |session| session.insert("a", 1).unwrap()).await;
    assert_eq!(names(&response), ["__Host-id", "__Host-id-seen"]);
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    let cookies = cookies(&response);

    let response = visit(&layer, &cookies, async |session| {
        session.get::<u64>("a").unwrap();
        assert!(!session.remove("b").unwrap());
    })
    .await;
    assert!(
        !response.headers().contains_key(SET_COOKIE),
        "{:?}",
        response.headers()
    );

    let response = visit(&layer, &cookies, async |session| {
        session
            .update("a", |a: Option<u64>| a.unwrap_or(0) + 1)
            .unwrap();
    })
    .await;
    assert_eq!(names(&response), ["__Host-id-seen"]);
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    assert!(!cookies.contains(&self::cookies(&response)), "a newer one");
}

#[tokio::test]
async fn token_has_the_attributes_of_the_session_cookie() {
    let layer = layer().await.with_persistent_cookie();
    let response = visit(&layer, (), async |session| session.insert("a", 1).unwrap()).await;
    let fields = fields(&response);
    let (token, attributes) = fields[1].split_once("; ").unwrap();
    assert_eq!(fields[0].split_once("; ").unwrap().1, attributes);
    let value = token.strip_prefix("__Host-id-seen=").unwrap();
    assert_eq!(value.len(), 48, "one write");
    let mut attributes: Vec<&str> = attributes.split("; ").collect();
    attributes.retain(|attribute| !attribute.starts_with("Expires="));
    attributes.sort_unstable();
    let expected = [
        "HttpOnly",
        "Max-Age=34560000",
        "Path=/",
        "SameSite=Lax",
        "Secure",
    ];
    assert_eq!(attributes, expected);
}

#[tokio::test]
async fn destroy_removes_both_cookies() {
    let layer = layer().await;
    let response = visit(&layer, (), async |session| session.insert("a", 1).unwrap()).await;
    let cookies = cookies(&response);
    let response = visit(&layer, &cookies, async |session| session.destroy().unwrap()).await;
    assert_eq!(names(&response), ["__Host-id", "__Host-id-seen"]);
    for field in fields(&response) {
        assert!(field.contains("Max-Age=0"), "{field}");
    }
    let only_id = cookies.split("; ").next().unwrap();
    let response = visit(&layer, only_id, async |session| session.destroy().unwrap()).await;
    assert_eq!(
        names(&response),
        ["__Host-id"],
        "there is no token to remove"
    );
}

#[tokio::test]
async fn session_after_destroy_has_a_token_of_its_own() {
    let layer = layer().await;
    let response = visit(&layer, (), async |session| session.insert("a", 1).unwrap()).await;
    let cookies = cookies(&response);
    let response = visit(&layer, &cookies, async |session| {
        session.destroy().unwrap();
        session.insert("a", 2).unwrap();
    })
    .await;
    assert_eq!(names(&response), ["__Host-id", "__Host-id-seen"]);
    let cookies = self::cookies(&response);
    assert_eq!(value(&layer, &cookies, "a").await, Some(2));
    assert_eq!(layer.cluster().stats().stale_reads, 0);
}

#[tokio::test]
async fn cycling_and_expiry_are_changes_too() {
    let layer = layer().await;
    let response = visit(&layer, (), async |session| session.insert("a", 1).unwrap()).await;
    let first = cookies(&response);
    let response = visit(&layer, &first, async |session| session.cycle_id().unwrap()).await;
    assert_eq!(names(&response), ["__Host-id", "__Host-id-seen"]);
    let second = cookies(&response);
    let expiry = tower_cluster_sessions::Expiry::idle(minutes(5));
    let response = visit(&layer, &second, async |session| {
        session.set_expiry(expiry).unwrap();
    })
    .await;
    assert_eq!(names(&response), ["__Host-id-seen"]);
}

#[tokio::test]
async fn attribute_writes_of_filtered_requests_are_not_part_of_it() {
    let layer = layer().await.with_filter("/static/.*").unwrap();
    let response = visit_at(&layer, "/static/x", (), async |session| {
        session.insert("a", 1).unwrap();
    })
    .await;
    assert_eq!(names(&response), ["__Host-id", "__Host-id-seen"], "created");
    let cookies = cookies(&response);
    let response = visit_at(&layer, "/static/x", &cookies, async |session| {
        session.insert("a", 2).unwrap();
    })
    .await;
    assert!(!response.headers().contains_key(SET_COOKIE));
}

#[tokio::test]
async fn forged_tokens_are_ignored_and_replaced() {
    let layer = layer().await;
    let response = visit(&layer, (), async |session| session.insert("a", 1).unwrap()).await;
    let id = cookies(&response).split("; ").next().unwrap().to_owned();
    for token in ["", "x", &"A".repeat(48), &"A".repeat(128)] {
        let cookies = format!("{id}; __Host-id-seen={token}");
        let response = visit(&layer, &cookies, async |session| {
            assert_eq!(session.get("a").unwrap(), Some(1));
            session.insert("a", 1).unwrap();
        })
        .await;
        assert_eq!(names(&response), ["__Host-id-seen"]);
        let (_, own) = self::cookies(&response).split_once('=').map(owned).unwrap();
        assert_eq!(own.len(), 48, "nothing of {token:?} is in it");
    }
    let stats = layer.cluster().stats();
    assert_eq!((stats.lookups, stats.stale_reads), (0, 0));
}

#[tokio::test]
async fn split_and_repeated_cookie_fields_are_all_read() {
    let layer = layer().await;
    let response = visit(&layer, (), async |session| session.insert("a", 1).unwrap()).await;
    let cookies = cookies(&response);
    let (id, token) = cookies.split_once("; ").map(owned).unwrap();
    let split = ["__Host-id-seen=x".to_owned(), token, "y=z".to_owned(), id];
    assert_eq!(value(&layer, split.as_slice(), "a").await, Some(1));
    let response = visit(&layer, split.as_slice(), async |session| {
        session.destroy().unwrap()
    });
    assert_eq!(names(&response.await), ["__Host-id", "__Host-id-seen"]);
}

#[tokio::test]
async fn missing_key_is_an_error_that_shows_how_to_make_one() {
    let cluster = Cluster::start(ClusterConfig::standalone()).await.unwrap();
    let layer =
        ClusterSessionLayer::from_cluster(&cluster).with_consistency(Consistency::ReadYourWrites);
    let error = layer.check().unwrap_err();
    assert_eq!(error, LayerError::NoConsistencyKey);
    let text = error.to_string();
    for word in ["`openssl rand -hex 32`", "`ClusterConfig::consistency_key`"] {
        assert!(text.contains(word), "{word} is not in: {text}");
    }
    let panic = catch_unwind(AssertUnwindSafe(|| {
        layer.layer(service_fn(async |()| Ok::<_, ()>(())))
    }));
    let panic = panic.unwrap_err();
    assert!(panic.downcast_ref::<String>().unwrap().contains(&text));
    assert!(
        layer
            .with_consistency(Consistency::Eventual)
            .check()
            .is_ok()
    );
}

#[tokio::test]
async fn weak_key_is_an_error_at_start() {
    for weak in ["hunter2", &"00".repeat(32)] {
        let config = ClusterConfig::standalone().consistency_key(weak);
        let error = Cluster::start(config).await.unwrap_err().to_string();
        assert!(error.contains("`openssl rand -hex 32`"), "{error}");
        assert!(!error.contains(weak), "{error}");
    }
}

#[tokio::test]
async fn names_of_both_cookies_belong_to_one_context() {
    let default = layer().await;
    default.check().unwrap();
    let seen = ClusterSessionLayer::from_cluster(default.cluster()).with_context("seen");
    let taken = |error| matches!(error, LayerError::NameTaken { .. });
    assert!(taken(seen.check().unwrap_err()), "`__Host-id-seen`");
    let confused = ClusterSessionLayer::from_cluster(default.cluster()).with_name("__Host-id-seen");
    assert!(taken(confused.check().unwrap_err()));
    let shop = default.with_context("shop");
    let response = visit(&shop, (), async |session| session.insert("a", 1).unwrap()).await;
    assert_eq!(names(&response), ["__Host-id-shop", "__Host-id-shop-seen"]);
}

#[tokio::test]
async fn keys_are_never_shown() {
    let config = ClusterConfig::standalone().consistency_key(KEY);
    let layer = layer().await;
    let service = layer.layer(service_fn(async |()| Ok::<_, ()>(())));
    let shown = format!("{config:?} {layer:?} {service:?} {:?}", layer.cluster());
    assert!(!shown.contains(&KEY[..8]), "{shown}");
}

/// A layer whose clients read their writes, on a node of its own.
async fn layer() -> ClusterSessionLayer {
    let config = ClusterConfig::standalone().consistency_key(KEY);
    let cluster = Cluster::start(config).await.expect("a good key");
    ClusterSessionLayer::from_cluster(&cluster).with_consistency(Consistency::ReadYourWrites)
}

fn fields<B>(response: &Response<B>) -> Vec<&str> {
    let fields = response.headers().get_all(SET_COOKIE);
    fields
        .iter()
        .map(|field| field.to_str().expect("text"))
        .collect()
}

/// The cookies that a response sets, as a client sends them.
fn cookies<B>(response: &Response<B>) -> String {
    let pairs = fields(response).into_iter();
    let pairs: Vec<_> = pairs
        .map(|field| field.split(';').next().expect("split gives one"))
        .collect();
    pairs.join("; ")
}

/// Their names.
fn names<B>(response: &Response<B>) -> Vec<&str> {
    let fields = fields(response).into_iter();
    fields
        .map(|field| field.split('=').next().expect("split gives one"))
        .collect()
}

fn owned((a, b): (&str, &str)) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

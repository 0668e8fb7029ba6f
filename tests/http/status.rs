//! The page for operators, as a browser gets it.

use axum::{Router, body::Body};
use http::{
    Request, Response, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
        X_FRAME_OPTIONS,
    },
};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;
use tower_cluster_sessions::{
    Cluster, ClusterConfig, ClusterSessionLayer, StatusPage, test_util::TestCluster,
};

use crate::http_support::*;

async fn standalone() -> Cluster {
    let cluster = Cluster::start(ClusterConfig::standalone()).await;
    let cluster = cluster.expect("nothing is bound");
    cluster.ready().await;
    cluster
}

async fn ask(page: &StatusPage, path: &str) -> Response<Body> {
    let app: Router = Router::new().nest("/ops/status", page.clone().router());
    let request = Request::get(format!("/ops/status{path}"));
    let request = request.body(Body::empty()).expect("a request");
    app.oneshot(request).await.expect("it answers")
}

async fn text(response: Response<Body>) -> String {
    let body = response.into_body().collect().await.expect("it is whole");
    String::from_utf8(body.to_bytes().into()).expect("text")
}

async fn get(page: &StatusPage, path: &str) -> String {
    let response = ask(page, path).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    text(response).await
}

#[tokio::test]
async fn browsers_run_and_load_nothing_but_what_belongs_to_the_page() {
    let page = StatusPage::new(&standalone().await);
    for (path, kind) in [
        ("", "text/html; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/live.js", "text/javascript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/overview.json", "application/json"),
        ("/live", "text/event-stream"),
    ] {
        let response = ask(&page, path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let headers = response.headers();
        assert_eq!(headers[CONTENT_TYPE], kind, "{path}");
        let policy = headers[CONTENT_SECURITY_POLICY].to_str().expect("plain");
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        for part in [
            "script-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
        assert_eq!(headers[X_FRAME_OPTIONS], "DENY", "{path}");
        assert_eq!(headers[CACHE_CONTROL], "no-store", "{path}");
    }
    let html = get(&page, "").await;
    assert!(!html.contains("style="), "the policy forbids it");
    assert!(!html.contains("//"), "nothing leads elsewhere: {html}");
    for script in html.split("<script").skip(1) {
        assert!(
            script.starts_with(" src=\"./status/live.js\" defer></script>"),
            "{script}"
        );
    }
}

#[tokio::test]
async fn links_lead_where_the_page_is_nested() {
    let page = StatusPage::new(&standalone().await);
    let html = get(&page, "").await;
    for link in [
        "./status/style.css",
        "./status/icon.svg",
        "./status/overview.json",
    ] {
        assert!(html.contains(&format!("href=\"{link}\"")), "{link}: {html}");
    }
    assert!(html.contains("data-live=\"./status/live\""), "{html}");
    // At the root, too.
    let app: Router = page.router();
    let request = Request::get("/").body(Body::empty()).expect("a request");
    let html = text(app.oneshot(request).await.expect("it answers")).await;
    assert!(html.contains("href=\"./style.css\""), "{html}");
}

#[tokio::test]
async fn page_is_read_without_scripts_and_loads_itself_anew_then() {
    let page = StatusPage::new(&standalone().await);
    let html = get(&page, "").await;
    assert!(html.contains("<noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>"));
    assert!(html.contains("<h1>standalone is alone</h1>"), "{html}");
    assert!(html.contains("Nodes"), "{html}");
    assert!(html.contains("ready, with nobody to ask"), "{html}");
}

#[tokio::test(start_paused = true)]
async fn page_tells_that_nodes_hold_the_same_and_which_one_is_gone() {
    let mut cluster = TestCluster::start(3).await;
    let page = StatusPage::new(cluster.cluster(0));
    start(
        &ClusterSessionLayer::from_cluster(cluster.cluster(1)),
        "a",
        1,
    )
    .await;
    cluster.converged().await;
    until(&page, |html| {
        html.contains("<h1>All 3 nodes hold the same 1\u{a0}session</h1>")
    })
    .await;
    let name = cluster.cluster(2).node_name().to_owned();
    cluster.kill(2);
    until(&page, |html| {
        html.contains(&format!("<h1>{name} has lost its link</h1>"))
            || html.contains(&format!("<h1>{name} is down</h1>"))
    })
    .await;
    until(&page, |html| {
        html.contains(&format!("<h1>{name} is down</h1>"))
    })
    .await;
    let html = get(&page, "").await;
    assert!(html.contains("class=\"state down\""), "{html}");
    assert!(
        html.contains(&format!("<span>{name} is down</span>")),
        "{html}"
    );
    cluster.restart(2).await;
    until(&page, |html| html.contains("<h1>All 3 nodes hold the same")).await;
}

#[tokio::test(start_paused = true)]
async fn json_has_all_that_the_page_shows() {
    let cluster = TestCluster::start(2).await;
    let page = StatusPage::new(cluster.cluster(0));
    let layer = ClusterSessionLayer::from_cluster(cluster.cluster(0));
    pass(std::time::Duration::from_secs(3)).await;
    let (cookie, _) = start(&layer, "a", 1).await;
    pass(std::time::Duration::from_secs(10)).await;
    let json = get(&page, "/overview.json").await;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["verdict"], "good", "{json:#}");
    assert_eq!(json["stats"]["sessions"], 1);
    assert_eq!(json["stats"]["node"], cluster.cluster(0).node_name());
    let member = &json["stats"]["members"][0];
    assert_eq!(member["state"], "up");
    assert!(
        member["equal_for_ms"].as_u64().is_some_and(|ms| ms > 1_000),
        "{json:#}"
    );
    assert!(member["last_round_ms"].is_u64(), "{json:#}");
    for rate in ["loads", "created", "changes"] {
        assert!(
            json["rates"][rate].as_f64().is_some_and(|rate| rate > 0.0),
            "{json:#}"
        );
    }
    assert!(
        json["rates"]["members"][0]["sent_bytes"]
            .as_f64()
            .is_some_and(|rate| rate > 0.0)
    );
    assert!(json["events"][0]["age_ms"].is_u64() && json["events"][0]["text"].is_string());
    let (_, value) = cookie.split_once('=').expect("a pair");
    assert!(
        !json.to_string().contains(value),
        "what opens a session is nobody's business"
    );
}

#[tokio::test(start_paused = true)]
async fn parts_are_sent_again_when_they_change_and_the_stream_ends() {
    let cluster = standalone().await;
    let page = StatusPage::new(&cluster);
    let mut body = ask(&page, "/live").await.into_body();
    let mut next = async || {
        let frame = body.frame().await?.expect("no error");
        let bytes = frame.into_data().expect("no trailers");
        Some(String::from_utf8(bytes.into()).expect("text"))
    };
    let mut begin = String::new();
    while !begin.contains("event: beat") {
        begin += &next().await.expect("it goes on");
    }
    for part in ["verdict", "figures", "members", "log"] {
        assert!(begin.contains(&format!("event: {part}\n")), "{begin}");
    }
    start(&ClusterSessionLayer::from_cluster(&cluster), "a", 1).await;
    let mut later = String::new();
    while !later.contains("event: figures") {
        later += &next().await.expect("it goes on");
    }
    assert!(
        !later.contains("event: verdict"),
        "it has not changed: {later}"
    );
    cluster.drain();
    while next().await.is_some() {}
    // A browser that asks anew sees it.
    let begin = ask(&page, "/live").await;
    assert!(text(begin).await.contains("standalone is not ready"));
}

/// Waits until the page is so, in virtual time.
async fn until(page: &StatusPage, mut is_so: impl FnMut(&str) -> bool) {
    let mut last = String::new();
    for _ in 0..1200 {
        last = get(page, "").await;
        if is_so(&last) {
            return;
        }
        pass(std::time::Duration::from_millis(100)).await;
    }
    panic!("it is never so: {last}");
}

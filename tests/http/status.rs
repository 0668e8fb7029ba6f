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
async fn path_of_no_page_leads_to_those_that_there_are() {
    let page = StatusPage::new(&standalone().await);
    for (path, home) in [("/nowhere", "./../status"), ("/a/b", "./../../status")] {
        let response = ask(&page, path).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(response.headers().contains_key(CONTENT_SECURITY_POLICY));
        let html = text(response).await;
        assert!(html.contains("<h1>There is no such page</h1>"), "{html}");
        let home = home.trim_start_matches("./");
        assert!(
            html.contains(&format!("<a href=\"{home}\">The cluster</a>")),
            "{html}"
        );
    }
}

#[tokio::test]
async fn context_that_cannot_be_is_told_and_no_defect() {
    let page = StatusPage::new(&standalone().await);
    let html = get(&page, "/sessions?context=%22%20").await;
    assert!(html.contains("No context has such a name."), "{html}");
    let json = ask(&page, "/sessions.json?context=%22%20").await;
    assert_eq!(json.status(), StatusCode::BAD_REQUEST);
    assert!(
        get(&page, "/sessions?context=shop")
            .await
            .contains("No sessions yet.")
    );
}

#[tokio::test]
async fn search_leads_back_to_all_sessions() {
    let (cluster, layer) = indexed().await;
    let id = log_in(&layer, "alice").await;
    let page = StatusPage::new(&cluster);
    for value in ["nobody", &id] {
        let html = get(&page, &format!("/sessions?value={value}")).await;
        assert!(html.contains("<button>All sessions</button>"), "{html}");
    }
    assert!(
        !get(&page, "/sessions")
            .await
            .contains("<button>All sessions</button>")
    );
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
    while !begin.contains("event: beat\ndata: live\n\n") {
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

/// The values that a hostile visitor would choose.
const HOSTILE: &str = "\"><script>alert(1)</script>";

async fn indexed() -> (Cluster, ClusterSessionLayer) {
    let config = ClusterConfig::standalone().index("user");
    let cluster = Cluster::start(config).await.expect("nothing is bound");
    cluster.ready().await;
    let layer = ClusterSessionLayer::from_cluster(&cluster);
    (cluster, layer)
}

async fn log_in(layer: &ClusterSessionLayer, user: &str) -> String {
    let response = visit(layer, (), async |session| {
        session.insert("user", user).expect("there is room");
        session.id().expect("it is there")
    })
    .await;
    response.into_body()
}

/// Sends the form by which a session is ended.
async fn end(
    page: &StatusPage,
    id: &str,
    token: &str,
    fields: &[(&'static str, &str)],
) -> Response<Body> {
    let app: Router = Router::new().nest("/ops/status", page.clone().router());
    let mut request = Request::post(format!("/ops/status/sessions/{id}/end"))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(format!("token={token}")));
    app.oneshot(request.expect("a request"))
        .await
        .expect("it answers")
}

/// Opens the page of a session. Returns the browser's cookie, and the token of the form.
async fn form(page: &StatusPage, id: &str) -> (String, String) {
    let response = ask(page, &format!("/sessions/{id}")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let cookie = cookie(&response).expect("a cookie for the form");
    let html = text(response).await;
    let (_, rest) = html.split_once("name=\"token\" value=\"").expect("a form");
    let (token, _) = rest.split_once('"').expect("a value");
    (cookie, token.to_owned())
}

#[tokio::test]
async fn sessions_are_listed_and_found_by_id_and_by_index() {
    let (cluster, layer) = indexed().await;
    let page = StatusPage::new(&cluster);
    assert!(get(&page, "/sessions").await.contains("No sessions yet."));
    let alice = log_in(&layer, "alice").await;
    let bob = log_in(&layer, "bob").await;
    let all = get(&page, "/sessions").await;
    assert!(all.contains("<h1>2\u{a0}sessions</h1>"), "{all}");
    for (question, found) in [
        (format!("value={alice}"), Some(&alice)),
        (format!("by=id&value=%20{bob}%20"), Some(&bob)),
        ("by=user&value=bob".to_owned(), Some(&bob)),
        ("by=user&value=carol".to_owned(), None),
        ("value=nobody".to_owned(), None),
    ] {
        let html = get(&page, &format!("/sessions?{question}")).await;
        for id in [&alice, &bob] {
            let link = format!("href=\"./sessions/{id}\"");
            assert_eq!(
                html.contains(&link),
                found == Some(id),
                "{question}: {html}"
            );
        }
        let json = get(&page, &format!("/sessions.json?{question}")).await;
        let json: Value = serde_json::from_str(&json).expect("JSON");
        let sessions = json["sessions"].as_array().expect("a list");
        assert_eq!(sessions.len(), usize::from(found.is_some()), "{question}");
        if let Some(id) = found {
            let session = &sessions[0];
            assert_eq!(session["id"], **id);
            assert_eq!(session["attributes"], serde_json::json!(["user"]));
            assert!(session["bytes"].as_u64().is_some_and(|bytes| bytes > 0));
            assert!(session["remaining_ms"].is_u64() && session["created"].is_string());
        }
    }
    let html = get(&page, "/sessions?by=shoe_size&value=42").await;
    assert!(
        html.contains("class=\"told bad\"") && html.contains("shoe_size"),
        "{html}"
    );
    let refused = ask(&page, "/sessions.json?by=shoe_size&value=42").await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn list_goes_on_where_its_page_ended_while_sessions_come_and_go() {
    let (cluster, layer) = indexed().await;
    let page = StatusPage::new(&cluster);
    let mut ids = Vec::new();
    for _ in 0..120 {
        ids.push(log_in(&layer, "alice").await);
    }
    let mut seen = Vec::new();
    let mut next = String::new();
    loop {
        let json = get(&page, &format!("/sessions.json?{next}")).await;
        let json: Value = serde_json::from_str(&json).expect("JSON");
        for session in json["sessions"].as_array().expect("a list") {
            seen.push(session["id"].as_str().expect("a text").to_owned());
        }
        let Some(after) = json["next"].as_str() else {
            break;
        };
        next = format!("after={after}");
        // The last one that was seen, and a new one.
        assert!(cluster.destroy(seen.last().expect("it was seen")).await);
        log_in(&layer, "bob").await;
    }
    assert!(
        ids.iter().all(|id| seen.contains(id)),
        "all that stayed were seen"
    );
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count, "none was seen twice");
}

#[tokio::test]
async fn session_is_ended_by_the_form_of_its_page_alone() {
    let (cluster, layer) = indexed().await;
    let page = StatusPage::new(&cluster);
    let id = log_in(&layer, "alice").await;
    let (cookie, token) = form(&page, &id).await;
    let own = ("cookie", cookie.as_str());
    let (_, foreign) = form(&page, &id).await;
    assert_ne!(foreign, token, "each browser has its own");
    for (token, fields) in [
        ("", &[own][..]),
        (foreign.as_str(), &[own]),
        (token.as_str(), &[]),
        (token.as_str(), &[("sec-fetch-site", "same-origin")]),
        (token.as_str(), &[own, ("sec-fetch-site", "cross-site")]),
        (token.as_str(), &[own, ("sec-fetch-site", "same-site")]),
    ] {
        let refused = end(&page, &id, token, fields).await;
        assert_eq!(
            refused.status(),
            StatusCode::FORBIDDEN,
            "{token} {fields:?}"
        );
        assert!(text(refused).await.contains("This form is not taken"));
        assert_eq!(cluster.session_count(), 1);
    }
    let got = ask(&page, &format!("/sessions/{id}/end")).await;
    assert_eq!(
        got.status(),
        StatusCode::METHOD_NOT_ALLOWED,
        "a link ends nothing"
    );

    let fields = [own, ("sec-fetch-site", "same-origin")];
    let done = end(&page, &id, &token, &fields).await;
    assert_eq!(done.status(), StatusCode::SEE_OTHER);
    assert_eq!(
        done.headers()["location"],
        format!("./../../sessions?ended={id}")
    );
    assert_eq!(cluster.session_count(), 0);
    let told = get(&page, &format!("/sessions?ended={id}")).await;
    let absent = format!("This node holds no session <code>{id}</code> now.");
    assert!(told.contains(&absent), "{told}");
    let again = end(&page, &id, &token, &fields).await;
    assert_eq!(again.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn page_tells_that_a_session_has_ended_only_where_one_has() {
    let cluster = TestCluster::start(2).await;
    let page = StatusPage::new(cluster.cluster(0));
    let layer = ClusterSessionLayer::from_cluster(cluster.cluster(0));
    let (_, id) = start(&layer, "a", 1).await;
    let told = async |id: &str| get(&page, &format!("/sessions?ended={id}")).await;
    for not_ended in [&*id, "malformed", ""] {
        let html = told(not_ended).await;
        assert!(!html.contains("class=\"told"), "{not_ended}: {html}");
    }
    let html = told("zVgsCmrkLjvtoeYNl05I7A").await;
    assert!(html.contains("This node holds no session <code>"), "{html}");
    assert!(!html.contains("has ended"), "it never was: {html}");
    cluster.cut();
    assert!(cluster.cluster(0).destroy(&id).await);
    let html = told(&id).await;
    let ended = format!("<code>{id}</code> has ended. Nodes that are cut off end it when");
    assert!(html.contains(&ended), "{html}");
}

#[tokio::test]
async fn form_of_one_node_is_taken_by_another() {
    let cluster = TestCluster::start(2).await;
    let pages = [0, 1].map(|node| StatusPage::new(cluster.cluster(node)));
    let layer = ClusterSessionLayer::from_cluster(cluster.cluster(0));
    let (_, id) = start(&layer, "a", 1).await;
    let (cookie, token) = form(&pages[0], &id).await;
    let done = end(&pages[1], &id, &token, &[("cookie", &cookie)]).await;
    assert_eq!(done.status(), StatusCode::SEE_OTHER);
    cluster.converged().await;
    assert_eq!(cluster.cluster(0).session_count(), 0);
}

#[tokio::test]
async fn page_that_is_read_only_ends_nothing() {
    let (cluster, layer) = indexed().await;
    let page = StatusPage::new(&cluster).read_only();
    let id = log_in(&layer, "alice").await;
    let response = ask(&page, &format!("/sessions/{id}")).await;
    assert_eq!(cookie(&response), None);
    let html = text(response).await;
    assert!(!html.contains("<button class=\"danger\""), "{html}");
    let refused = end(&page, &id, "", &[]).await;
    assert_eq!(refused.status(), StatusCode::NOT_FOUND);
    assert_eq!(cluster.session_count(), 1);
}

#[tokio::test]
async fn values_are_shown_only_where_the_app_says_so() {
    let (cluster, layer) = indexed().await;
    let id = log_in(&layer, "a-secret-value").await;
    let path = format!("/sessions/{id}");
    let page = StatusPage::new(&cluster);
    for path in [
        path.as_str(),
        "/sessions",
        "/sessions.json",
        "/",
        "/overview.json",
    ] {
        let path = path.trim_end_matches('/');
        assert!(!get(&page, path).await.contains("a-secret-value"), "{path}");
    }
    assert!(
        get(&page, &path)
            .await
            .contains("Values are not shown here.")
    );
    let html = get(&page.reveal_values(), &path).await;
    assert!(
        html.contains("<pre>&#34;a-secret-value&#34;</pre>"),
        "{html}"
    );
}

#[tokio::test]
async fn values_of_indexes_are_in_lists_only_where_the_app_says_so() {
    let config = ClusterConfig::standalone()
        .index("user")
        .index("account#/role");
    let cluster = Cluster::start(config).await.expect("nothing is bound");
    let layer = ClusterSessionLayer::from_cluster(&cluster);
    log_in(&layer, "alice").await;
    visit(&layer, (), async |session| {
        session.insert("user", 7).expect("there is room");
        session
            .insert("other", "not-indexed")
            .expect("there is room");
        let account = serde_json::json!({"role": "editor", "name": "not-indexed"});
        session.insert("account", account).expect("there is room");
    })
    .await;
    let hidden = StatusPage::new(&cluster);
    let shown = hidden.clone().reveal_values();
    for path in [
        "/sessions?",
        "/sessions?by=user&value=7",
        "/sessions?by=user&value=alice",
    ] {
        let html = get(&hidden, path).await;
        assert!(!html.contains("data-label=\"user\""), "{path}: {html}");
        assert!(!html.contains("editor"), "{path}: {html}");
        let json = get(&hidden, &path.replace("sessions", "sessions.json")).await;
        assert!(
            !json.contains("indexed") && !json.contains("alice"),
            "{json}"
        );
    }
    let html = get(&shown, "/sessions").await;
    for (index, value) in [
        ("user", "alice"),
        ("user", "7"),
        ("account#/role", "editor"),
        ("account#/role", ""),
    ] {
        let cell = format!("data-label=\"{index}\">{value}</td>");
        let head = format!("<th scope=\"col\">{index}</th>");
        assert!(
            html.contains(&cell) && html.contains(&head),
            "{cell}: {html}"
        );
    }
    assert!(!html.contains("not-indexed"), "{html}");
    let json = get(&shown, "/sessions.json?by=user&value=7").await;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let indexed = serde_json::json!({"user": 7, "account#/role": "editor"});
    assert_eq!(json["sessions"][0]["indexed"], indexed, "{json:#}");
}

#[tokio::test]
async fn names_and_values_of_visitors_are_no_html() {
    let config = ClusterConfig::standalone().index(HOSTILE);
    let cluster = Cluster::start(config).await.expect("nothing is bound");
    let page = StatusPage::new(&cluster).reveal_values();
    let layer = ClusterSessionLayer::from_cluster(&cluster).with_context("shop");
    let other = ClusterSessionLayer::from_cluster(&cluster).with_name("other");
    start(&other, "a", 1).await;
    let response = visit(&layer, (), async |session| {
        session.insert(HOSTILE, HOSTILE).unwrap();
        session.id().expect("it is there")
    })
    .await;
    let id = response.into_body();
    let hostile = "%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    for path in [
        format!("/sessions/{id}"),
        "/sessions?context=shop".to_owned(),
        format!("/sessions?context={hostile}"),
        format!("/sessions?context=shop&by={hostile}&value={hostile}"),
        format!("/sessions?by={hostile}&value={hostile}"),
        format!("/sessions?ended={hostile}"),
        format!("/sessions?ended={id}.{hostile}"),
        format!("/sessions?after={hostile}"),
    ] {
        let html = get(&page, &path).await;
        assert!(!html.contains("<script>"), "{path}: {html}");
        assert!(!html.contains(HOSTILE), "{path}: {html}");
    }
    let unknown = ask(&page, &format!("/sessions/{hostile}")).await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    assert!(!text(unknown).await.contains("<script>"));
}

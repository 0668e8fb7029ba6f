//! Which requests are filtered, and what that changes.

use tower_cluster_sessions::{ClusterSessionLayer, Session, test_util::TestCluster};

use crate::http_support::*;

async fn filtered() -> ClusterSessionLayer {
    let layer = layer().await.with_filter("/static/.*");
    layer.expect("a valid filter")
}

/// How many commits a request makes that does this to a session.
async fn commits(
    layer: &ClusterSessionLayer,
    path: &str,
    cookies: impl Cookies,
    handler: impl AsyncFnOnce(&Session),
) -> u64 {
    let before = layer.cluster().stats().log_head;
    visit_at(layer, path, cookies, async |session| {
        handler(&session).await
    })
    .await;
    layer.cluster().stats().log_head - before
}

async fn insert(session: &Session) {
    session.insert("b", 2).expect("room");
}

#[tokio::test]
async fn there_is_no_filter_by_default() {
    let layer = layer().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    assert_eq!(commits(&layer, "/x.gif", &cookie, insert).await, 1);
}

#[tokio::test]
async fn whole_path_as_sent_is_matched_without_query() {
    let layer = filtered().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    for (path, filtered) in [
        ("/static/x", true),
        ("/static/x?y=/other", true),
        ("/static/", true),
        ("/static", false),
        ("/other?/static/x", false),
        ("/x/static/y", false),
        ("/st%61tic/x", false),
        ("http://host/static/x", true),
    ] {
        let made = commits(&layer, path, &cookie, insert).await;
        assert_eq!(made == 0, filtered, "{path}");
    }
}

#[tokio::test]
async fn repeated_filters_add() {
    let layer = filtered().await.with_filter(r".*\.gif").unwrap();
    let (cookie, _) = start(&layer, "a", 1).await;
    for path in ["/static/x", "/y.gif"] {
        assert_eq!(commits(&layer, path, &cookie, insert).await, 0, "{path}");
    }
    assert_eq!(commits(&layer, "/y.gif.html", &cookie, insert).await, 1);
}

#[tokio::test]
async fn filtered_writes_work_here_and_leave_with_the_next_commit() {
    let layer = filtered().await;
    let (cookie, _) = start(&layer, "a", 1).await;
    let made = commits(&layer, "/static/x", &cookie, async |session| {
        session.insert("b", 2).unwrap();
        session.increment("c", 1).unwrap();
        assert!(session.remove("a").unwrap());
    })
    .await;
    assert_eq!(made, 0);
    assert_eq!(value(&layer, &cookie, "b").await, Some(2));
    let made = commits(&layer, "/", &cookie, insert).await;
    assert_eq!(made, 1);
}

#[tokio::test(start_paused = true)]
async fn creating_cycling_and_destroying_are_replicated_as_always() {
    // A node that has no peer has nobody to tell that a session is destroyed.
    let cluster = TestCluster::start(2).await;
    let layer = ClusterSessionLayer::from_cluster(cluster.cluster(0)).with_filter("/static/.*");
    let layer = layer.expect("a valid filter");
    let before = layer.cluster().stats().log_head;
    let response = visit_at(&layer, "/static/x", (), async |session| {
        insert(&session).await;
    })
    .await;
    let first = cookie(&response).expect("a session as always");
    assert_eq!(layer.cluster().stats().log_head, before + 1);
    value(&layer, &first, "b").await;
    let before = before + 1;
    assert_eq!(layer.cluster().stats().log_head, before + 1, "it is back");

    let response = visit_at(&layer, "/static/x", &first, async |session| {
        session.cycle_id().unwrap();
    })
    .await;
    let second = cookie(&response).expect("another id as always");
    assert_eq!(layer.cluster().stats().log_head, before + 2);

    let response = visit_at(&layer, "/static/x", &second, async |session| {
        session.destroy().unwrap();
    })
    .await;
    assert!(set_cookie(&response).is_some());
    assert_eq!(layer.cluster().stats().log_head, before + 3);
    assert_eq!(cluster.cluster(1).session_count(), 0);
}

#[tokio::test]
async fn malformed_filters_of_the_how_to_show_pattern_and_position() {
    for (pattern, what) in [
        (
            r".*\.(gif|.*\.(js|.*\.(jpg|.*\.(png|.*\.(htm|.*\.(html|.*\.(css|.*\.(txt|;",
            "unclosed group at position 67",
        ),
        (
            r".*\.gif;.*\js;.*\jpg;.*\png;.*\html;.*\html;.*\css;.*\txt;",
            "unrecognized escape sequence at position 10",
        ),
    ] {
        let error = layer().await.with_filter(pattern).unwrap_err();
        let shown = error.to_string();
        assert!(shown.contains(pattern) && shown.contains(what), "{shown}");
        assert_eq!(error.pattern(), pattern);
    }
}

#[tokio::test]
async fn java_look_around_is_an_error_that_says_so() {
    let error = layer().await.with_filter("/(?!api/).*").unwrap_err();
    let shown = error.to_string();
    assert!(shown.contains("Java syntax"), "{shown}");
    assert!(
        shown.contains("look-around is not supported at position 1"),
        "{shown}"
    );
}

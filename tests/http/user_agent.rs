//! Sessions that are bound to what their clients call themselves.

use http::{
    HeaderMap,
    header::{COOKIE, USER_AGENT},
};
use tower_cluster_sessions::{ClusterSessionLayer, CookieValue, test_util::TestCluster};

use crate::http_support::*;

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";
const FIREFOX_LATER: &str =
    "Mozilla/5.0 (X11; Linux x86_64; rv:146.0) Gecko/20100101 Firefox/146.0.1";
const CURL: &str = "curl/8.14.1";

/// What a client sends that calls itself so and has this cookie.
struct Client<'a>(Option<&'a str>, Option<&'a str>);

impl Cookies for Client<'_> {
    fn add_to(&self, headers: &mut HeaderMap) {
        let Self(user_agent, cookie) = self;
        for (name, value) in [(USER_AGENT, user_agent), (COOKIE, cookie)] {
            if let Some(value) = value {
                headers.append(name, value.parse().expect("a value"));
            }
        }
    }
}

/// Starts a session of a client that calls itself so, and comes back to it once.
async fn begin(layer: &ClusterSessionLayer, user_agent: Option<&str>) -> String {
    let begun = visit(layer, Client(user_agent, None), async |session| {
        session.insert("a", 1).expect("there is room");
    })
    .await;
    let cookie = cookie(&begun).expect("a cookie");
    assert_eq!(read(layer, user_agent, &cookie).await, Some(1));
    cookie
}

async fn read(layer: &ClusterSessionLayer, user_agent: Option<&str>, cookie: &str) -> Option<u64> {
    value(layer, Client(user_agent, Some(cookie)), "a").await
}

#[tokio::test]
async fn bound_session_opens_for_the_same_browser_alone() {
    for layer in sealed_in_all_ways(&layer().await) {
        let layer = layer.with_user_agent_binding(true);
        let cookie = begin(&layer, Some(FIREFOX)).await;
        assert_eq!(read(&layer, Some(FIREFOX_LATER), &cookie).await, Some(1));
        assert_eq!(read(&layer, Some(CURL), &cookie).await, None);
        assert_eq!(read(&layer, None, &cookie).await, None);

        let cookie = begin(&layer, None).await;
        assert_eq!(read(&layer, Some(CURL), &cookie).await, None);
    }
}

#[tokio::test]
async fn binding_is_kept_by_another_id_on_another_node() {
    let cluster = TestCluster::start(2).await;
    let [one, two] = [0, 1].map(|node| {
        ClusterSessionLayer::from_cluster(cluster.cluster(node)).with_user_agent_binding(true)
    });
    let before = begin(&one, Some(FIREFOX)).await;
    let cycled = visit(
        &two,
        Client(Some(FIREFOX), Some(&before)),
        async |session| {
            session.cycle_id().unwrap();
        },
    )
    .await;
    let after = cookie(&cycled).expect("another cookie");
    assert_eq!(read(&one, Some(CURL), &after).await, None);
    assert_eq!(read(&one, Some(FIREFOX), &after).await, Some(1));
    assert_eq!(read(&one, Some(FIREFOX), &before).await, None);

    // A copy of the cookie alone does not log its owner out either.
    visit(&two, Client(Some(CURL), Some(&after)), async |session| {
        session.destroy().unwrap();
    })
    .await;
    assert_eq!(read(&one, Some(FIREFOX), &after).await, Some(1));
    visit(&two, Client(Some(FIREFOX), Some(&after)), async |session| {
        session.destroy().unwrap();
    })
    .await;
    assert_eq!(read(&one, Some(FIREFOX), &after).await, None);
}

#[tokio::test]
async fn sessions_from_before_the_binding_are_found_no_more() {
    let unbound = layer().await;
    let bound = unbound.clone().with_user_agent_binding(true);
    let cookie = begin(&unbound, Some(FIREFOX)).await;
    assert_eq!(read(&bound, Some(FIREFOX), &cookie).await, None);
    let cookie = begin(&bound, None).await;
    assert_eq!(read(&unbound, None, &cookie).await, None);
}

#[tokio::test]
async fn bound_session_opens_outside_requests_with_what_its_client_calls_itself() {
    let layer = layer().await.with_user_agent_binding(true);
    let cookie = begin(&layer, Some(FIREFOX)).await;
    let (_, text) = cookie.split_once('=').expect("a pair");
    let cookie = CookieValue::parse(text).expect("its own form");
    let sessions = layer.sessions().unwrap();
    let found = async |cookie| sessions.open_with(&cookie).await.is_some();
    assert!(!found(cookie.clone()).await);
    assert!(!found(cookie.clone().bound_to_user_agent(CURL)).await);
    let bound = cookie.bound_to_user_agent(FIREFOX_LATER);
    assert_eq!(bound.expose(), text, "the text is the same");
    assert!(found(bound).await);
}

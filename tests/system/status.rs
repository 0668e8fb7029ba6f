//! The page for operators in a browser, with nodes that are killed and stopped.
#![cfg(unix)]

mod support;

use std::time::Duration;

use axum::Router;
use fantoccini::{Client, Locator};
use tokio::{net::TcpListener, time::timeout};
use tokio_util::task::AbortOnDropHandle;
use tower_cluster_sessions::{Changes, Cluster, StatusPage, test_util::TestCluster};

use crate::support::{
    chromium::{Driver, Look, screenshot, until},
    processes::{Node, Signal, plans, start_all},
    visitor::Visitor,
};

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn page_shows_within_seconds_that_a_node_was_killed() {
    let mut nodes = start_all(plans(&["node1", "node2", "node3"])).await;
    let driver = Driver::start().await;
    let browser = open(&driver, &nodes[0], Look::DESKTOP).await;
    until_headed(&browser, "All 3 nodes hold the same 0 sessions").await;
    let killed = nodes.remove(1).kill().await;
    // What people are promised, without loading the page anew.
    let seen = timeout(Duration::from_secs(5), async {
        until("the page tells of it", || async {
            state_of(&browser, "node2")
                .await
                .is_some_and(|state| state != "up")
        })
        .await;
    });
    seen.await.expect("within five seconds");
    until_headed(&browser, "node2 is down").await;
    screenshot(&browser, "one-dead-desktop-light").await;
    let back = Node::start(killed).await;
    until_headed(&browser, "All 3 nodes hold the same 0 sessions").await;
    drop(back);
    browser.close().await.expect("it runs");
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn page_shows_that_a_node_lags_and_that_its_own_does_not_answer() {
    let nodes = start_all(plans(&["node1", "node2"])).await;
    let driver = Driver::start().await;
    let browser = open(&driver, &nodes[0], Look::DESKTOP).await;
    nodes[1].signal(Signal::Stop);
    // A change that it does not acknowledge.
    Visitor::new().hit(nodes[0].http()).await;
    until("node2 is shown as lagging", || async {
        state_of(&browser, "node2").await.as_deref() == Some("lagging")
    })
    .await;
    nodes[1].signal(Signal::Continue);
    until("node2 is shown as up", || async {
        state_of(&browser, "node2").await.as_deref() == Some("up")
    })
    .await;
    nodes[0].signal(Signal::Stop);
    until("the page says that its node does not answer", || async {
        let told = text_of(&browser, "#beat").await;
        told.is_some_and(|told| told.starts_with("no answer for"))
    })
    .await;
    nodes[0].signal(Signal::Continue);
    until("it is live again", || async {
        text_of(&browser, "#beat").await.as_deref() == Some("live,")
    })
    .await;
    browser.close().await.expect("it runs");
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn page_without_scripts_shows_a_change_as_well() {
    let mut nodes = start_all(plans(&["node1", "node2"])).await;
    let driver = Driver::start().await;
    let browser = open(&driver, &nodes[0], Look::PHONE.without_scripts()).await;
    until_headed(&browser, "Both nodes hold the same 0 sessions").await;
    nodes.remove(1).kill().await;
    until_headed(&browser, "node2 is down").await;
    browser.close().await.expect("it runs");
}

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn session_is_found_and_ended_in_the_browser() {
    let nodes = start_all(plans(&["node1", "node2"])).await;
    let mut visitors = [Visitor::new(), Visitor::new()];
    for visitor in &mut visitors {
        visitor.hit(nodes[0].http()).await;
    }
    let id = visitors[0].id().to_owned();
    let driver = Driver::start().await;
    // The page of the other node.
    let browser = open(&driver, &nodes[1], Look::PHONE).await;
    click(&browser, "nav a:nth-of-type(2)").await;
    until_headed(&browser, "2 sessions").await;
    let field = browser.find(Locator::Css("input[name=value]")).await;
    let field = field.expect("there is a search");
    field.send_keys(&id).await.expect("it takes text");
    click(&browser, ".search button").await;
    until_headed(&browser, "1 session found").await;
    click(&browser, "a.id").await;
    until_headed(&browser, &id).await;
    screenshot(&browser, "session-phone-light").await;
    click(&browser, "button.danger").await;
    until("the page says that it has ended", || async {
        let told = text_of(&browser, ".told").await;
        told.is_some_and(|told| told.starts_with(&format!("The session {id} has ended.")))
    })
    .await;
    until_headed(&browser, "1 session").await;
    for node in &nodes {
        node.until("without it", |status| status["sessions"] == 1)
            .await;
    }
    browser.close().await.expect("it runs");
}

/// What people see in each case. With `SCREENSHOTS` there is a picture of each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs chromium and chromedriver"]
async fn pages_fit_desktop_and_phone_in_light_and_dark() {
    let driver = Driver::start().await;
    let browser = driver.open(Look::DESKTOP).await;

    let alone = TestCluster::start(1).await;
    let (page, _server) = serve(alone.cluster(0)).await;
    look_at(&browser, &page, "empty").await;
    look_at(&browser, &format!("{page}/sessions"), "empty-sessions").await;

    let many = TestCluster::start(13).await;
    let (page, _server) = serve(many.cluster(0)).await;
    fill(many.cluster(1), 1000).await;
    many.converged().await;
    browser.goto(&page).await.expect("it answers");
    until("all twelve members are shown, with curves", || async {
        let rows = count(&browser, ".members tbody tr").await;
        (rows, count(&browser, ".members .line").await) == (13, 12)
    })
    .await;
    look_at(&browser, &page, "twelve-members").await;
    look_at(&browser, &format!("{page}/sessions"), "thousand-sessions").await;
    let found = many.cluster(0).sessions("").page(None, 1).await.sessions;
    let id = found.first().expect("there are a thousand").id.clone();
    for (path, name) in [
        (format!("sessions/{id}"), "values"),
        (format!("sessions?value={id}"), "found"),
        ("sessions?value=nobody".to_owned(), "not-found"),
        (format!("sessions?ended={id}"), "ended"),
        ("sessions/nobody".to_owned(), "no-session"),
        ("nowhere".to_owned(), "no-page"),
    ] {
        look_at(&browser, &format!("{page}/{path}"), name).await;
    }

    let mut three = TestCluster::start(3).await;
    let (page, _server) = serve(three.cluster(0)).await;
    fill(three.cluster(0), 3).await;
    three.kill(2);
    browser.goto(&page).await.expect("it answers");
    until("one is shown as down", || async {
        count(&browser, ".state.down").await == 1
    })
    .await;
    look_at(&browser, &page, "one-dead").await;

    let nodes = start_all(plans(&["node1", "node2"])).await;
    Visitor::new().hit(nodes[0].http()).await;
    nodes[1].signal(Signal::Stop);
    Visitor::new().hit(nodes[0].http()).await;
    let page = format!("http://{}/status", nodes[0].http());
    browser.goto(&page).await.expect("it answers");
    until("the other one is no more up", || async {
        count(&browser, ".state.up").await == 1
    })
    .await;
    look_at(&browser, &page, "one-stopped").await;
    nodes[1].signal(Signal::Continue);
    browser.close().await.expect("it runs");
}

/// Opens the page of a node.
async fn open(driver: &Driver, node: &Node, look: Look) -> Client {
    let browser = driver.open(look).await;
    let page = format!("http://{}/status", node.http());
    browser.goto(&page).await.expect("it answers");
    browser
}

async fn until_headed(browser: &Client, title: &str) {
    until(title, || async {
        text_of(browser, "h1").await.as_deref() == Some(title)
    })
    .await;
}

/// Returns the state that the page shows of a node.
async fn state_of(browser: &Client, node: &str) -> Option<String> {
    let rows = browser.find_all(Locator::Css(".members tbody tr")).await;
    for row in rows.ok()? {
        // Parts are replaced at any time.
        let name = row.find(Locator::Css(".name")).await.ok()?;
        if name.text().await.ok()? == node {
            let state = row.find(Locator::Css(".state")).await.ok()?;
            return state.text().await.ok();
        }
    }
    None
}

async fn text_of(browser: &Client, selector: &str) -> Option<String> {
    let found = browser.find(Locator::Css(selector)).await.ok()?;
    found.text().await.ok()
}

/// Serves the page of a node until what is returned is dropped.
async fn serve(cluster: &Cluster) -> (String, AbortOnDropHandle<()>) {
    let app: Router =
        Router::new().nest("/status", StatusPage::new(cluster).reveal_values().router());
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port is free");
    let at = listener.local_addr().expect("it is bound");
    let server = tokio::spawn(async move {
        axum::serve(listener, app).await.expect("it serves");
    });
    (
        format!("http://{at}/status"),
        AbortOnDropHandle::new(server),
    )
}

async fn fill(cluster: &Cluster, sessions: usize) {
    let of_app = cluster.sessions("");
    for at in 0..sessions {
        let mut changes = Changes::new();
        changes.insert("user", format!("user-{at}")).expect("JSON");
        changes
            .insert("cart", vec!["apples"; at % 40])
            .expect("JSON");
        of_app.create(&changes).expect("there is room");
    }
}

/// Looks at a page in all ways. Nothing may stick out of it.
async fn look_at(browser: &Client, page: &str, name: &str) {
    for (width, look) in [("desktop", Look::DESKTOP), ("phone", Look::PHONE)] {
        for (scheme, look) in [("light", look), ("dark", look.dark())] {
            look.apply(browser).await;
            browser.goto(page).await.expect("it answers");
            let script = "return document.documentElement.scrollWidth";
            let wide = browser.execute(script, Vec::new()).await;
            let wide = wide.expect("it runs").as_u64().expect("a number");
            assert_eq!(wide, u64::from(look.width), "{name} {width}");
            screenshot(browser, &format!("{name}-{width}-{scheme}")).await;
        }
    }
    Look::DESKTOP.apply(browser).await;
}

async fn click(browser: &Client, selector: &str) {
    let found = browser.wait().for_element(Locator::Css(selector)).await;
    found
        .expect("it is there")
        .click()
        .await
        .expect("it takes clicks");
}

async fn count(browser: &Client, selector: &str) -> usize {
    let found = browser.find_all(Locator::Css(selector)).await;
    found.map_or(0, |found| found.len())
}

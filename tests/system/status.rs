//! The page for operators in a browser, with nodes that are killed and stopped.
#![cfg(unix)]

mod support;

use std::time::Duration;

use fantoccini::{Client, Locator};
use tokio::time::timeout;

use crate::support::{
    chromium::{Driver, Look, screenshot, until},
    processes::{Node, Signal, plans, start_all},
};

#[tokio::test]
#[ignore = "needs chromium and chromedriver"]
async fn page_shows_within_seconds_that_a_node_was_killed() {
    let mut nodes = start_all(plans(&["node1", "node2", "node3"])).await;
    let driver = Driver::start().await;
    let browser = open(&driver, &nodes[0], Look::DESKTOP).await;
    until_headed(&browser, "All 3 nodes hold the same 0\u{a0}sessions").await;
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
    until_headed(&browser, "All 3 nodes hold the same 0\u{a0}sessions").await;
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
    support::visitor::Visitor::new().hit(nodes[0].http()).await;
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
    until_headed(&browser, "Both nodes hold the same 0\u{a0}sessions").await;
    nodes.remove(1).kill().await;
    until_headed(&browser, "node2 is down").await;
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

//! The app in headless Chromium, on two nodes as real processes.

mod support;

use fantoccini::{Client, Locator};

use crate::support::{
    chromium::{Driver, Look, screenshot, until},
    nodes::Nodes,
};

/// Logs in by the form.
async fn log_in(browser: &Client, nodes: &Nodes, node: usize, (name, password): (&str, &str)) {
    open(browser, nodes, node, "/login").await;
    fill(browser, "[name=name]", name).await;
    fill(browser, "[name=password]", password).await;
    press(browser, "main form button").await;
    until_shows(browser, &format!("Hello, {name}.")).await;
}

async fn open(browser: &Client, nodes: &Nodes, node: usize, path: &str) {
    let opened = browser.goto(&nodes.url(node, path)).await;
    opened.expect("a node that runs answers");
}

async fn fill(browser: &Client, field: &str, text: &str) {
    let found = browser.find(Locator::Css(field)).await;
    let typed = found.expect("it is on the page").send_keys(text).await;
    typed.expect("it can be filled");
}

async fn press(browser: &Client, button: &str) {
    let found = browser.find(Locator::Css(button)).await;
    let pressed = found.expect("it is on the page").click().await;
    pressed.expect("it can be pressed");
}

/// The text that a user sees.
async fn text(browser: &Client) -> String {
    let Ok(body) = browser.find(Locator::Css("body")).await else {
        return String::new();
    };
    // The page may go while it is read.
    body.text().await.unwrap_or_default()
}

async fn until_shows(browser: &Client, wanted: &str) {
    until(wanted, async || text(browser).await.contains(wanted)).await;
}

async fn shows(browser: &Client, wanted: &str) -> bool {
    text(browser).await.contains(wanted)
}

const ALICE: (&str, &str) = ("alice", "down the rabbit hole");
const BOB: (&str, &str) = ("bob", "can we fix it");

/// The page is as wide as the window, so nothing is cut off or has to be scrolled sideways.
async fn fits(browser: &Client) -> bool {
    let script = "return document.documentElement.scrollWidth <= window.innerWidth";
    let fits = browser.execute(script, Vec::new()).await;
    fits.expect("it can be asked") == true
}

#[tokio::test]
#[ignore = "needs Chromium and its driver"]
async fn user_is_still_logged_in_when_the_node_of_the_login_is_killed() {
    let driver = Driver::start().await;
    for door in ["store", "layer"] {
        let mut nodes = Nodes::start(door).await;
        let browser = driver.open(Look::DESKTOP).await;
        log_in(&browser, &nodes, 0, ALICE).await;
        nodes.kill(0).await;
        open(&browser, &nodes, 1, "/").await;
        assert!(shows(&browser, "Hello, alice.").await, "{door}");
        browser.close().await.expect("it runs");
    }
}

#[tokio::test]
#[ignore = "needs Chromium and its driver"]
async fn permission_is_checked_and_messages_are_shown_once_over_both_nodes() {
    let driver = Driver::start().await;
    for door in ["store", "layer"] {
        let nodes = Nodes::start(door).await;
        let browser = driver.open(Look::DESKTOP).await;
        open(&browser, &nodes, 0, "/login").await;
        fill(&browser, "[name=name]", "bob").await;
        fill(&browser, "[name=password]", "wrong").await;
        press(&browser, "main form button").await;
        until_shows(&browser, "do not go together").await;
        open(&browser, &nodes, 1, "/login").await;
        assert!(!shows(&browser, "do not go together").await, "{door}");

        for (user, text) in [(BOB, "Not for you"), (ALICE, "All users")] {
            log_in(&browser, &nodes, 0, user).await;
            for node in [1, 0] {
                open(&browser, &nodes, node, "/users").await;
                assert!(shows(&browser, text).await, "{door} {user:?}");
            }
            open(&browser, &nodes, 1, "/").await;
            press(&browser, "header form button").await;
            until_shows(&browser, "You are logged out.").await;
        }
        browser.close().await.expect("it runs");
    }
}

#[tokio::test]
#[ignore = "needs Chromium and its driver"]
async fn logout_everywhere_ends_the_other_browser_and_closes_its_websocket() {
    let driver = Driver::start().await;
    for door in ["store", "layer"] {
        let nodes = Nodes::start(door).await;
        let (one, other) = (
            driver.open(Look::DESKTOP).await,
            driver.open(Look::PHONE).await,
        );
        log_in(&one, &nodes, 0, ALICE).await;
        log_in(&other, &nodes, 1, ALICE).await;
        until_shows(&other, "to node2").await;
        open(&one, &nodes, 0, "/devices").await;
        press(&one, "[action='/devices/end-all'] button").await;
        until_shows(&one, "You are logged out on all your devices.").await;
        // Without a request of its own.
        until_shows(&other, "This session has ended").await;
        screenshot(&other, &format!("ended-{door}")).await;
        open(&other, &nodes, 1, "/").await;
        assert!(!shows(&other, "Hello").await, "{door}");
        for browser in [one, other] {
            browser.close().await.expect("it runs");
        }
    }
}

#[tokio::test]
#[ignore = "needs Chromium and its driver"]
async fn devices_are_listed_and_one_is_ended_from_another() {
    let driver = Driver::start().await;
    let nodes = Nodes::start("layer").await;
    let (one, other) = (
        driver.open(Look::DESKTOP).await,
        driver.open(Look::PHONE).await,
    );
    log_in(&one, &nodes, 0, ALICE).await;
    log_in(&other, &nodes, 1, ALICE).await;
    open(&one, &nodes, 0, "/devices").await;
    let devices = one.find_all(Locator::Css(".devices li")).await;
    let devices = devices.expect("there is a list");
    assert_eq!(devices.len(), 2);
    let this = devices[0].text().await.expect("it is shown");
    assert!(this.contains("This device"), "{this}");
    press(&one, ".devices li:nth-child(2) button").await;
    until_shows(&one, "Chrome on Linux is logged out.").await;
    until_shows(&other, "This session has ended").await;
    assert!(shows(&one, "This device").await);
    for browser in [one, other] {
        browser.close().await.expect("it runs");
    }
}

#[tokio::test]
#[ignore = "needs Chromium and its driver"]
async fn websocket_comes_back_when_its_node_does_and_ends_with_the_logout() {
    let driver = Driver::start().await;
    let mut nodes = Nodes::start("layer").await;
    let browser = driver.open(Look::DESKTOP).await;
    log_in(&browser, &nodes, 0, ALICE).await;
    until_shows(&browser, "to node1").await;
    nodes.kill(0).await;
    until_shows(&browser, "lost, connecting again").await;
    nodes.restart(0).await;
    until_shows(&browser, "to node1").await;
    // In another tab.
    let script = "fetch('/logout', { method: 'POST' })";
    browser.execute(script, Vec::new()).await.expect("it runs");
    until_shows(&browser, "This session has ended").await;
    press(&browser, "#ended a").await;
    until_shows(&browser, "Remember me in this browser").await;
    browser.close().await.expect("it runs");
}

#[tokio::test]
#[ignore = "needs Chromium and its driver"]
async fn all_but_the_live_connection_works_without_scripts() {
    let driver = Driver::start().await;
    let nodes = Nodes::start("layer").await;
    let browser = driver.open(Look::PHONE.without_scripts()).await;
    log_in(&browser, &nodes, 0, ALICE).await;
    assert!(shows(&browser, "none, it needs JavaScript").await);
    open(&browser, &nodes, 1, "/password").await;
    fill(&browser, "[name=old]", ALICE.1).await;
    fill(&browser, "[name=new]", "through the looking glass").await;
    press(&browser, "main form button").await;
    until_shows(&browser, "The password is changed.").await;
    press(&browser, "nav a[href='/devices']").await;
    until_shows(&browser, "This device").await;
    press(&browser, "[action='/devices/end-all'] button").await;
    until_shows(&browser, "You are logged out on all your devices.").await;
    browser.close().await.expect("it runs");
}

/// Their pictures are for the eye, see `SCREENSHOTS` in `chromium.rs`.
#[tokio::test]
#[ignore = "needs Chromium and its driver"]
async fn pages_fit_desktops_and_phones_in_light_and_dark() {
    let driver = Driver::start().await;
    let nodes = Nodes::start("layer").await;
    for (look, name) in [
        (Look::DESKTOP, "desktop-light"),
        (Look::DESKTOP.dark(), "desktop-dark"),
        (Look::PHONE, "phone-light"),
        (Look::PHONE.dark(), "phone-dark"),
    ] {
        let browser = driver.open(look).await;
        open(&browser, &nodes, 0, "/login").await;
        assert!(fits(&browser).await, "login {name}");
        screenshot(&browser, &format!("login-{name}")).await;
        fill(&browser, "[name=name]", ALICE.0).await;
        fill(&browser, "[name=password]", "wrong").await;
        press(&browser, "main form button").await;
        until_shows(&browser, "do not go together").await;
        assert!(fits(&browser).await, "refused {name}");
        screenshot(&browser, &format!("refused-{name}")).await;
        press(&browser, "[name=remember]").await;
        fill(&browser, "[name=name]", ALICE.0).await;
        fill(&browser, "[name=password]", ALICE.1).await;
        press(&browser, "main form button").await;
        until_shows(&browser, "to node1").await;
        for (path, page) in [
            ("/", "home"),
            ("/devices", "devices"),
            ("/password", "password"),
            ("/users", "users"),
            ("/nowhere", "nowhere"),
        ] {
            if page != "home" {
                open(&browser, &nodes, 0, path).await;
            }
            assert!(fits(&browser).await, "{page} {name}");
            screenshot(&browser, &format!("{page}-{name}")).await;
        }
        browser.close().await.expect("it runs");
    }
}

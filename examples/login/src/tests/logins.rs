//! Logging in and out on two nodes by turns.

use super::*;

#[tokio::test(start_paused = true)]
async fn user_is_logged_in_on_both_nodes_until_the_logout_on_one() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut browser = site.browser(FIREFOX);
        let page = browser.get(&site, 0, "/devices").await;
        let to_login = Some("/login?next=%2Fdevices");
        assert_eq!(page.location.as_deref(), to_login, "{door:?}");
        let page = browser.log_in(&site, 0, "alice", Tick::Nothing).await;
        assert_eq!(page.location.as_deref(), Some("/"), "{door:?}");
        for node in [1, 0] {
            assert_eq!(browser.user(&site, node).await, "alice", "{door:?}");
        }
        let kept = browser.clone();
        let page = browser.post(&site, 1, "/logout", &[]).await;
        assert_eq!(page.location.as_deref(), Some("/login"), "{door:?}");
        for node in [0, 1] {
            assert_eq!(kept.clone().user(&site, node).await, "", "{door:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn login_survives_its_node() {
    for door in DOORS {
        let mut site = Site::start(door).await;
        let mut browser = site.browser(FIREFOX);
        browser.log_in(&site, 0, "alice", Tick::Nothing).await;
        site.cluster.kill(0);
        assert_eq!(browser.user(&site, 1).await, "alice", "{door:?}");
        site.cluster.restart(0).await;
        site.cluster.kill(1);
        assert_eq!(browser.user(&site, 0).await, "alice", "{door:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_password_and_unknown_name_are_told_alike() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut browser = site.browser(FIREFOX);
        for (name, password) in [("alice", "wrong"), ("eve", "wrong")] {
            let form = [("name", name), ("password", password), ("next", "/devices")];
            let page = browser.post(&site, 0, "/login", &form).await;
            let again = Some("/login?next=%2Fdevices");
            assert_eq!(page.location.as_deref(), again, "{door:?}");
            let page = browser.visit(&site, 1, "/login").await;
            assert!(page.shows("do not go together"), "{door:?} {page:?}");
            let page = browser.visit(&site, 0, "/login").await;
            assert!(!page.shows("do not go together"), "{door:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn permission_is_asked_for_on_both_nodes() {
    for door in DOORS {
        let site = Site::start(door).await;
        for (user, status, text) in [
            ("alice", StatusCode::OK, "All users"),
            ("bob", StatusCode::FORBIDDEN, "Not for you"),
        ] {
            let mut browser = site.browser(FIREFOX);
            browser.log_in(&site, 0, user, Tick::Nothing).await;
            for node in [1, 0] {
                let page = browser.get(&site, node, "/users").await;
                assert_eq!(page.status, status, "{door:?} {user}");
                assert!(page.shows(text), "{door:?} {user}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn login_leads_to_no_other_site() {
    let site = Site::start(DoorKind::Layer).await;
    for (next, location) in [
        ("/devices", "/devices"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example/", "/"),
    ] {
        let form = [
            ("name", "bob"),
            ("password", password_of("bob")),
            ("next", next),
        ];
        let page = site.browser(FIREFOX).post(&site, 0, "/login", &form).await;
        assert_eq!(page.location.as_deref(), Some(location));
    }
}

#[tokio::test(start_paused = true)]
async fn another_user_in_the_same_browser_gets_a_session_of_his_own() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut browser = site.browser(FIREFOX);
        browser.log_in(&site, 0, "alice", Tick::Nothing).await;
        let of_alice = browser.clone();
        browser.log_in(&site, 1, "bob", Tick::Nothing).await;
        assert_eq!(browser.user(&site, 0).await, "bob", "{door:?}");
        assert_eq!(of_alice.clone().user(&site, 0).await, "", "{door:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn form_of_another_site_is_refused() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut browser = site.browser(FIREFOX);
        browser.log_in(&site, 0, "alice", Tick::Nothing).await;
        for (field, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
        ] {
            let request = Request::post("/logout").header("host", "login.example");
            let request = request.header(field, value);
            let page = browser.send(&site, 0, request, String::new()).await;
            assert_eq!(page.status, StatusCode::FORBIDDEN, "{door:?} {field}");
        }
        assert_eq!(browser.user(&site, 1).await, "alice", "{door:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pages_are_kept_nowhere_and_load_nothing_of_others() {
    let site = Site::start(DoorKind::Layer).await;
    for (path, kept) in [("/login", "no-store"), ("/static/style.css", "public")] {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = site
            .router(0)
            .oneshot(request)
            .await
            .expect("it cannot fail");
        let header = |name: &str| response.headers()[name].to_str().expect("it is text");
        assert!(header("cache-control").contains(kept), "{path}");
        assert!(header("content-security-policy").starts_with("default-src 'none';"));
        assert_eq!(header("x-content-type-options"), "nosniff");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_or_not_allowed_is_a_page_too() {
    let site = Site::start(DoorKind::Layer).await;
    let mut browser = site.browser(FIREFOX);
    let page = browser.get(&site, 0, "/nowhere").await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    assert!(page.shows("There is no page of this address."));
    let page = browser.post(&site, 0, "/devices/end-all", &[]).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    assert!(page.shows("You are not logged in"));
}

#[tokio::test(start_paused = true)]
async fn login_ends_when_it_is_not_used() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut browser = site.browser(FIREFOX);
        browser.log_in(&site, 0, "alice", Tick::Nothing).await;
        // A session that nobody comes back to is kept for minutes.
        assert_eq!(browser.user(&site, 1).await, "alice", "{door:?}");
        for node in [1, 0, 1] {
            pass(20 * MINUTE).await;
            assert_eq!(browser.user(&site, node).await, "alice", "{door:?}");
        }
        pass(31 * MINUTE).await;
        assert_eq!(browser.user(&site, 0).await, "", "{door:?}");
    }
}

/// It has a WebSocket, which opens the session as this does.
#[tokio::test(start_paused = true)]
async fn page_that_is_left_open_does_not_keep_its_login() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut browser = site.browser(FIREFOX);
        browser.log_in(&site, 0, "alice", Tick::Nothing).await;
        assert_eq!(browser.user(&site, 1).await, "alice", "{door:?}");
        let sessions = site.cluster.cluster(1).sessions("");
        let found = sessions.find("user", &1).await.expect("it is indexed");
        let session = sessions.open(&found[0].id).await.expect("it lives");
        pass(33 * MINUTE).await;
        session.ended().await;
    }
}

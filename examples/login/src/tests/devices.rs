//! The list of devices, and what ends one or all.

use super::*;

#[tokio::test(start_paused = true)]
async fn devices_of_a_user_are_listed_on_both_nodes_and_those_of_others_are_not() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut firefox = site.browser(FIREFOX);
        firefox.log_in(&site, 0, "alice", Tick::Nothing).await;
        pass(2 * MINUTE).await;
        let mut safari = site.browser(SAFARI);
        safari.log_in(&site, 1, "alice", Tick::Remember).await;
        site.browser(EDGE)
            .log_in(&site, 0, "bob", Tick::Remember)
            .await;
        for node in [0, 1] {
            let page = safari.visit(&site, node, "/devices").await;
            assert_eq!(page.devices().len(), 2, "{door:?}");
            for text in [
                "Firefox on Linux",
                "Safari on iPhone",
                "Logged in 2 minutes ago",
                "Logged in a moment ago, last used a moment ago",
                "This device",
                "Remembered",
            ] {
                assert!(page.shows(text), "{door:?} {text}: {page:?}");
            }
            assert!(!page.shows("Edge"), "{door:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn remembered_browser_with_several_sessions_is_one_device() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut browser = site.browser(FIREFOX);
        browser.log_in(&site, 0, "alice", Tick::Remember).await;
        browser.restart();
        let mut other_tab = browser.clone();
        tokio::join!(browser.user(&site, 0), other_tab.user(&site, 1));
        let page = browser.visit(&site, 0, "/devices").await;
        assert_eq!(page.devices().len(), 1, "{door:?} {page:?}");
        let device = page.devices().remove(0);
        browser
            .post(&site, 1, "/devices/end", &[("device", &device)])
            .await;
        for browser in [&mut browser, &mut other_tab] {
            assert_eq!(browser.user(&site, 0).await, "", "{door:?}");
            browser.restart();
            assert_eq!(browser.user(&site, 1).await, "", "{door:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_device_is_ended_from_another() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut firefox = site.browser(FIREFOX);
        firefox.log_in(&site, 0, "alice", Tick::Nothing).await;
        let mut safari = site.browser(SAFARI);
        safari.log_in(&site, 1, "alice", Tick::Nothing).await;
        let devices = safari.visit(&site, 1, "/devices").await.devices();
        // The first one is this one.
        let other = [("device", &*devices[1])];
        safari.post(&site, 1, "/devices/end", &other).await;
        let page = safari.visit(&site, 0, "/devices").await;
        assert!(
            page.shows("Firefox on Linux is logged out."),
            "{door:?} {page:?}"
        );
        assert_eq!(page.devices(), devices[..1], "{door:?}");
        assert_eq!(firefox.user(&site, 0).await, "", "{door:?}");
        safari.post(&site, 0, "/devices/end", &other).await;
        let page = safari.visit(&site, 1, "/devices").await;
        assert!(page.shows("was logged out already"), "{door:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_ends_a_device_of_somebody_else() {
    for door in DOORS {
        let site = Site::start(door).await;
        for box_of in [Tick::Nothing, Tick::Remember] {
            let mut of_alice = site.browser(FIREFOX);
            of_alice.log_in(&site, 0, "alice", box_of).await;
            let page = of_alice.visit(&site, 0, "/devices").await;
            let mut of_bob = site.browser(EDGE);
            of_bob.log_in(&site, 1, "bob", Tick::Nothing).await;
            for device in page.devices() {
                of_bob
                    .post(&site, 1, "/devices/end", &[("device", &device)])
                    .await;
                let page = of_bob.visit(&site, 1, "/devices").await;
                assert!(page.shows("was logged out already"), "{door:?}");
            }
            assert_eq!(of_alice.user(&site, 0).await, "alice", "{door:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn all_other_devices_are_ended_and_this_one_stays_remembered() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut firefox = site.browser(FIREFOX);
        firefox.log_in(&site, 0, "alice", Tick::Remember).await;
        let mut safari = site.browser(SAFARI);
        safari.log_in(&site, 1, "alice", Tick::Remember).await;
        safari.post(&site, 0, "/devices/end-others", &[]).await;
        assert_eq!(safari.user(&site, 1).await, "alice", "{door:?}");
        assert_eq!(firefox.user(&site, 1).await, "", "{door:?}");
        for (browser, user) in [(&mut safari, "alice"), (&mut firefox, "")] {
            browser.restart();
            assert_eq!(browser.user(&site, 0).await, user, "{door:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn logout_everywhere_ends_all_devices_of_the_user_and_nobody_elses() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut firefox = site.browser(FIREFOX);
        firefox.log_in(&site, 0, "alice", Tick::Remember).await;
        let mut safari = site.browser(SAFARI);
        safari.log_in(&site, 1, "alice", Tick::Nothing).await;
        let mut of_bob = site.browser(EDGE);
        of_bob.log_in(&site, 0, "bob", Tick::Nothing).await;
        safari.post(&site, 1, "/devices/end-all", &[]).await;
        let page = safari.visit(&site, 0, "/login").await;
        assert!(
            page.shows("logged out on all your devices"),
            "{door:?} {page:?}"
        );
        for node in [0, 1] {
            assert_eq!(firefox.user(&site, node).await, "", "{door:?}");
            assert_eq!(safari.user(&site, node).await, "", "{door:?}");
            assert_eq!(of_bob.user(&site, node).await, "bob", "{door:?}");
        }
    }
}

//! What a change of the password ends.

use super::*;

const NEW: &str = "through the looking glass";

async fn change(browser: &mut Browser, site: &Site, node: usize) -> Page {
    let form = [("old", password_of("alice")), ("new", NEW)];
    browser.post(site, node, "/password", &form).await
}

#[tokio::test(start_paused = true)]
async fn change_of_the_password_ends_other_sessions_and_remembered_logins() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut here = site.browser(FIREFOX);
        here.log_in(&site, 0, "alice", Tick::Nothing).await;
        let mut there = site.browser(SAFARI);
        there.log_in(&site, 1, "alice", Tick::Remember).await;
        let mut of_bob = site.browser(EDGE);
        of_bob.log_in(&site, 1, "bob", Tick::Remember).await;

        change(&mut here, &site, 1).await;
        let page = here.visit(&site, 0, "/password").await;
        let told = "The password is changed. One other device is logged out.";
        assert!(page.shows(told), "{door:?} {page:?}");
        for node in [0, 1] {
            assert_eq!(here.user(&site, node).await, "alice", "{door:?}");
            assert_eq!(there.user(&site, node).await, "", "{door:?}");
        }
        there.restart();
        assert_eq!(there.user(&site, 0).await, "", "{door:?}");
        assert_eq!(of_bob.user(&site, 0).await, "bob", "{door:?}");
        // Nobody logs in by the old one, everybody by the new one.
        there.log_in(&site, 0, "alice", Tick::Nothing).await;
        assert_eq!(there.user(&site, 0).await, "", "{door:?}");
        let form = [("name", "alice"), ("password", NEW)];
        there.post(&site, 1, "/login", &form).await;
        assert_eq!(there.user(&site, 0).await, "alice", "{door:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn change_of_the_password_locks_out_whoever_has_a_copy_of_the_cookie() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut browser = site.browser(FIREFOX);
        browser.log_in(&site, 0, "alice", Tick::Remember).await;
        let mut copy = browser.clone();
        change(&mut browser, &site, 1).await;
        assert_eq!(copy.user(&site, 0).await, "", "{door:?}");
        copy.restart();
        assert_eq!(copy.user(&site, 1).await, "", "{door:?}");
        // This one is remembered anew.
        browser.restart();
        assert_eq!(browser.user(&site, 1).await, "alice", "{door:?}");
    }
}

/// A node that knows of the new password and not of the end of the others: it died right after.
#[tokio::test(start_paused = true)]
async fn what_the_old_password_began_is_worth_nothing_where_nobody_has_ended_it() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut session = site.browser(FIREFOX);
        session.log_in(&site, 0, "alice", Tick::Nothing).await;
        let mut remembered = site.browser(SAFARI);
        remembered.log_in(&site, 0, "alice", Tick::Remember).await;
        remembered.restart();
        let alice = site.users.all().await.expect("they can be read").remove(0);
        let changed = site.users.change_password(&alice, NEW.into()).await;
        assert!(changed.expect("it can be written").is_some());
        assert_eq!(session.user(&site, 1).await, "", "{door:?}");
        assert_eq!(remembered.user(&site, 1).await, "", "{door:?}");
        assert_eq!(remembered.remembered(), None, "{door:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn password_is_changed_by_whoever_knows_the_old_one_to_one_that_is_long_enough() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut browser = site.browser(FIREFOX);
        browser.log_in(&site, 0, "alice", Tick::Nothing).await;
        for (old, new, told) in [
            ("wrong", NEW, "The old password is another one."),
            (password_of("alice"), "too short", "12 characters or more"),
        ] {
            let form = [("old", old), ("new", new)];
            browser.post(&site, 1, "/password", &form).await;
            let page = browser.visit(&site, 0, "/password").await;
            assert!(page.shows(told), "{door:?} {page:?}");
        }
        let mut again = site.browser(SAFARI);
        again.log_in(&site, 1, "alice", Tick::Nothing).await;
        assert_eq!(again.user(&site, 0).await, "alice", "{door:?}");
    }
}

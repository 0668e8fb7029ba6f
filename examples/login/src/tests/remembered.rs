//! Logins that are remembered: tokens that go from hand to hand.

use super::*;

/// A browser that is remembered, and was closed since.
async fn remembered(site: &Site, name: &'static str) -> Browser {
    let mut browser = site.browser(name);
    browser.log_in(site, 0, "alice", Tick::Remember).await;
    browser.restart();
    browser
}

#[tokio::test(start_paused = true)]
async fn remembered_browser_is_logged_in_by_a_token_that_is_used_once() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut browser = remembered(&site, FIREFOX).await;
        let mut tokens = vec![browser.remembered()];
        for node in [1, 0, 1] {
            // Longer than a session lives, and than one is kept that nobody was seen to use.
            pass(20 * DAY).await;
            assert_eq!(browser.user(&site, node).await, "alice", "{door:?}");
            assert!(!tokens.contains(&browser.remembered()), "{door:?}");
            tokens.push(browser.remembered());
            // The session serves what follows.
            assert_eq!(browser.user(&site, 1 - node).await, "alice", "{door:?}");
            assert_eq!(tokens.last(), Some(&browser.remembered()), "{door:?}");
            browser.restart();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn browser_that_was_not_to_be_remembered_is_not() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut browser = site.browser(FIREFOX);
        browser.log_in(&site, 0, "alice", Tick::Nothing).await;
        browser.restart();
        assert_eq!(browser.user(&site, 1).await, "", "{door:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn remembered_browser_is_forgotten_after_a_month_without_a_visit() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut browser = remembered(&site, FIREFOX).await;
        pass(31 * DAY).await;
        assert_eq!(browser.user(&site, 1).await, "", "{door:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn remembered_login_survives_its_node() {
    for door in DOORS {
        let mut site = Site::start(door).await;
        let mut browser = remembered(&site, FIREFOX).await;
        site.cluster.kill(0);
        assert_eq!(browser.user(&site, 1).await, "alice", "{door:?}");
        site.cluster.restart(0).await;
        site.cluster.kill(1);
        browser.restart();
        assert_eq!(browser.user(&site, 0).await, "alice", "{door:?}");
    }
}

/// A browser opens again with all its tabs. Each presents the same token, and the cookie of the
/// response that comes last stays.
#[tokio::test(start_paused = true)]
async fn tabs_that_open_at_once_on_both_nodes_are_all_logged_in_and_no_theft() {
    for door in DOORS {
        for last in 0..4 {
            let site = Site::start(door).await;
            let browser = remembered(&site, FIREFOX).await;
            let mut tabs = [0; 4].map(|_| browser.clone());
            let [one, two, three, four] = &mut tabs;
            let users = tokio::join!(
                one.user(&site, 0),
                two.user(&site, 1),
                three.user(&site, 0),
                four.user(&site, 1),
            );
            assert_eq!(users, ("alice", "alice", "alice", "alice"), "{door:?}");
            let mut kept = tabs[last].clone();
            for node in [last % 2, 1, 0] {
                pass(HOUR).await;
                kept.restart();
                assert_eq!(kept.user(&site, node).await, "alice", "{door:?} {last}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn response_that_is_lost_is_no_theft_and_locks_nobody_out() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut browser = remembered(&site, FIREFOX).await;
        for node in [0, 1, 1, 0] {
            // It was logged in, and the successor of the token never arrived.
            let mut lost = browser.clone();
            assert_eq!(lost.user(&site, node).await, "alice", "{door:?}");
            pass(DAY).await;
        }
        assert_eq!(browser.user(&site, 1).await, "alice", "{door:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn request_that_was_overtaken_logs_nobody_in_and_is_no_theft() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut browser = remembered(&site, FIREFOX).await;
        let mut overtaken = browser.clone();
        for _ in 0..2 {
            assert_eq!(browser.user(&site, 0).await, "alice", "{door:?}");
            browser.restart();
        }
        assert_eq!(overtaken.user(&site, 1).await, "", "{door:?}");
        assert_eq!(browser.user(&site, 1).await, "alice", "{door:?}");
    }
}

/// The owner and a thief present the same token, on one node or on two, one after the other or at
/// once. Whoever comes second with what he was given is noticed.
#[tokio::test(start_paused = true)]
async fn theft_is_noticed_and_ends_all_that_the_user_has() {
    for door in DOORS {
        for (nodes, order) in [([0, 0], "owner"), ([0, 1], "owner"), ([1, 0], "thief")] {
            let site = Site::start(door).await;
            let mut elsewhere = site.browser(SAFARI);
            elsewhere.log_in(&site, 1, "alice", Tick::Nothing).await;
            let mut of_bob = site.browser(EDGE);
            of_bob.log_in(&site, 1, "bob", Tick::Remember).await;

            let mut owner = remembered(&site, FIREFOX).await;
            let mut thief = owner.clone();
            let both = tokio::join!(owner.user(&site, nodes[0]), thief.user(&site, nodes[1]));
            assert_eq!(both, ("alice", "alice"), "{door:?}");
            let (first, second) = match order {
                "owner" => (&mut owner, &mut thief),
                _ => (&mut thief, &mut owner),
            };
            first.restart();
            assert_eq!(first.user(&site, nodes[1]).await, "alice", "{door:?}");
            pass(MINUTE).await;
            second.restart();
            let page = second.visit(&site, nodes[0], "/").await;
            assert!(
                page.shows("Somebody else has used a login"),
                "{door:?} {page:?}"
            );

            site.cluster.converged().await;
            for browser in [first, second, &mut elsewhere] {
                for node in [0, 1] {
                    assert_eq!(browser.user(&site, node).await, "", "{door:?}");
                }
            }
            assert_eq!(of_bob.user(&site, 0).await, "bob", "{door:?}");
            // It is told to whoever knows the password, once.
            elsewhere.log_in(&site, 0, "alice", Tick::Nothing).await;
            let page = elsewhere.visit(&site, 1, "/").await;
            assert!(page.shows("Somebody else has used a login"), "{door:?}");
            elsewhere.log_in(&site, 0, "alice", Tick::Nothing).await;
            let page = elsewhere.visit(&site, 1, "/").await;
            assert!(!page.shows("Somebody else has used a login"), "{door:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn old_token_on_two_nodes_at_once_ends_all_once() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut owner = remembered(&site, FIREFOX).await;
        let old = owner.clone();
        for _ in 0..2 {
            assert_eq!(owner.user(&site, 0).await, "alice", "{door:?}");
            owner.restart();
        }
        pass(MINUTE).await;
        let (mut one, mut two) = (old.clone(), old);
        let both = tokio::join!(one.user(&site, 0), two.user(&site, 1));
        assert_eq!(both, ("", ""), "{door:?}");
        site.cluster.converged().await;
        assert_eq!(owner.user(&site, 0).await, "", "{door:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn cookie_that_was_made_up_is_worth_nothing_and_ends_nothing() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut owner = remembered(&site, FIREFOX).await;
        let value = owner.remembered().expect("it is there");
        let (token, series) = value.split_once('~').expect("it has two parts");
        // Whoever knows the public id of a series can make up the rest.
        let (public, secret) = series.split_at(22);
        let other = secret.replace(|letter: char| letter.is_ascii_alphanumeric(), "A");
        for made_up in [
            String::new(),
            "~".to_owned(),
            token.to_owned(),
            format!("{token}~{public}{other}"),
            format!("{token}~{public}"),
        ] {
            let mut stranger = site.browser(SAFARI);
            stranger.cookies.insert("remember".to_owned(), made_up);
            assert_eq!(stranger.user(&site, 1).await, "", "{door:?}");
        }
        assert_eq!(owner.user(&site, 1).await, "alice", "{door:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn logout_forgets_this_browser_and_no_other() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut other = remembered(&site, SAFARI).await;
        let mut browser = remembered(&site, FIREFOX).await;
        assert_eq!(browser.user(&site, 1).await, "alice", "{door:?}");
        let mut kept = browser.clone();
        browser.post(&site, 0, "/logout", &[]).await;
        assert_eq!(browser.remembered(), None, "{door:?}");
        kept.restart();
        assert_eq!(kept.user(&site, 1).await, "", "{door:?}");
        assert_eq!(other.user(&site, 1).await, "alice", "{door:?}");
    }
}

/// A request that was about to begin a session may write it after all were ended.
#[tokio::test(start_paused = true)]
async fn session_ends_with_its_series_whoever_writes_last() {
    for door in DOORS {
        let site = Site::start(door).await;
        let mut browser = remembered(&site, FIREFOX).await;
        assert_eq!(browser.user(&site, 0).await, "alice", "{door:?}");
        let remembered = site.cluster.cluster(1).sessions("remember");
        let series = remembered.find("user", &1).await.expect("it is indexed");
        let series = remembered.open(&series[0].id).await.expect("it lives");
        series.destroy().expect("it lives");
        site.cluster.converged().await;
        assert_eq!(browser.user(&site, 0).await, "", "{door:?}");
    }
}

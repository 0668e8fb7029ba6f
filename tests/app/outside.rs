//! Sessions outside requests: jobs, admin pages and stores open, write and create them.

use std::time::Duration;

use tower_cluster_sessions::{
    Ack, Changes, ClusterSessionLayer, CookieValue, Expiry, Session, SessionError, Sessions,
    test_util::TestCluster,
};

use crate::http_support::{
    cookie, minutes, pass, request, sealed_in_all_ways, slot, start, value, visit,
};
use crate::{app_support::layer_on, http_support::layer};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Changes that set `a`.
fn set(value: u64) -> Changes {
    let mut changes = Changes::new();
    changes.insert("a", value).expect("a number");
    changes
}

async fn open(sessions: &Sessions, id: &str) -> Session {
    sessions.open(id).await.expect("it lives")
}

#[tokio::test(start_paused = true)]
async fn job_reads_and_writes_the_session_of_a_request_on_any_node() {
    let cluster = TestCluster::start(2).await;
    let layers = [0, 1].map(|node| layer_on(&cluster, node));
    let (cookie, id) = start(&layers[0], "a", 1).await;
    for node in [0, 1, 0] {
        let session = open(&cluster.cluster(node).sessions(""), &id).await;
        assert_eq!(session.id().as_deref(), Some(&*id));
        assert!(!session.is_new());
        let read = session.get::<u64>("a").expect("a number");
        session
            .update("a", |a: Option<u64>| a.unwrap_or(0) + 1)
            .expect("it lives");
        assert_eq!(session.acknowledged(Ack::All).await, 1);
        for layer in &layers {
            assert_eq!(value(layer, &cookie, "a").await, read.map(|read| read + 1));
        }
    }
    assert_eq!(value(&layers[1], &cookie, "a").await, Some(4));
}

#[tokio::test(start_paused = true)]
async fn unknown_foreign_and_malformed_ids_open_nothing() {
    let cluster = TestCluster::start(2).await;
    let (_, id) = start(&layer_on(&cluster, 0).with_context("shop"), "a", 1).await;
    let cluster = cluster.cluster(1);
    assert!(cluster.sessions("shop").open(&id).await.is_some());
    assert!(cluster.sessions("").open(&id).await.is_none());
    let shop = cluster.sessions("shop");
    for id in ["", "x", "zVgsCmrkLjvtoeYNl05I7A", &format!("{id}A")] {
        assert!(shop.open(id).await.is_none(), "{id}");
    }
    let unknown = CookieValue::new([1; 16], [2; 16]);
    assert!(shop.open_with(&unknown).await.is_none());
    assert_eq!(cluster.session_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn cookie_value_opens_its_session_until_the_id_is_replaced() {
    let layer = layer().await;
    for layer in sealed_in_all_ways(&layer) {
        let sessions = layer.sessions().expect("a valid layer");
        let (pair, id) = start(&layer, "a", 1).await;
        let (_, text) = pair.split_once('=').expect("name and value");
        let cookie = sessions.parse_cookie(text).expect("this layer's form");
        let session = sessions.open_with(&cookie).await.expect("it lives");
        assert_eq!(session.id().as_deref(), Some(&*id));

        let written = sessions.format_cookie(&cookie);
        assert_eq!(
            value(&layer, &format!("__Host-id={written}"), "a").await,
            Some(1)
        );
        visit(&layer, &pair, async |session| {
            session.cycle_id().expect("it lives")
        })
        .await;
        assert!(sessions.open_with(&cookie).await.is_none());
        assert_eq!(session.get::<u64>("a").expect("it lives"), Some(1));
    }
    let sealed = &sealed_in_all_ways(&layer)[1];
    let (pair, _) = start(sealed, "a", 1).await;
    let (_, text) = pair.split_once('=').expect("name and value");
    assert!(layer.cluster().sessions("").parse_cookie(text).is_none());
}

#[tokio::test(start_paused = true)]
async fn created_session_is_that_of_whoever_gets_its_cookie() {
    let cluster = TestCluster::start(2).await;
    let sessions = cluster.cluster(0).sessions("");
    let (session, cookie) = sessions.create(&set(7)).expect("there is room");
    assert_eq!(session.acknowledged(Ack::All).await, 1);
    assert!(session.is_new());
    let pair = format!("__Host-id={}", cookie.expose());
    assert_eq!(value(&layer_on(&cluster, 1), &pair, "a").await, Some(7));
    assert!(!format!("{session:?} {cookie:?} {:?}", set(7)).contains(&cookie.expose()));
}

#[tokio::test(start_paused = true)]
async fn created_session_is_unconfirmed_until_it_is_touched() {
    let cluster = TestCluster::start(2).await;
    let sessions = [0, 1].map(|node| cluster.cluster(node).sessions(""));
    let ids = [false, true].map(|is_touched| {
        let (session, _) = sessions[0].create(&set(7)).expect("there is room");
        if is_touched {
            session.touch().expect("it lives");
        }
        session.id().expect("it lives")
    });
    pass(seconds(200)).await;
    for sessions in &sessions {
        assert!(sessions.open(&ids[0]).await.is_none());
        assert!(sessions.open(&ids[1]).await.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn session_that_begins_with_a_login_is_confirmed() {
    let cluster = TestCluster::start(2).await;
    let layer = layer_on(&cluster, 0);
    for (logs_in, is_kept) in [(false, false), (true, true)] {
        let response = visit(&layer, (), async |session| {
            if logs_in {
                session.cycle_id().expect("it is possible");
            }
            session.insert("user", "alice").expect("there is room");
            session.id().expect("it lives")
        });
        let id = response.await.into_body();
        pass(seconds(200)).await;
        for node in [0, 1] {
            let found = cluster.cluster(node).sessions("").open(&id).await;
            assert_eq!(found.is_some(), is_kept, "node {node}, login {logs_in}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn given_id_is_taken_as_long_as_a_session_or_its_tombstone_is_there() {
    let cluster = TestCluster::start(2).await;
    let [one, two] = [0, 1].map(|node| cluster.cluster(node).sessions(""));
    let given = CookieValue::new([3; 16], [4; 16]);
    let session = one.create_with(&given, &set(1)).await.expect("it is free");
    session.acknowledged(Ack::All).await;
    for sessions in [&one, &two] {
        let again = sessions.create_with(&given, &set(2)).await;
        assert!(matches!(again, Err(SessionError::Taken)), "{again:?}");
    }
    // Another secret, and another context, find the same session.
    let other = CookieValue::new([3; 16], [5; 16]);
    let shop = cluster.cluster(0).sessions("shop");
    for taken in [
        one.create_with(&other, &set(2)).await,
        shop.create_with(&given, &set(2)).await,
    ] {
        assert!(matches!(taken, Err(SessionError::Taken)), "{taken:?}");
    }
    let session = two.open_with(&given).await.expect("it lives");
    assert_eq!(session.get::<u64>("a").expect("a number"), Some(1));

    session.destroy().expect("it lives");
    session.acknowledged(Ack::All).await;
    for sessions in [&one, &two] {
        assert!(sessions.open_with(&given).await.is_none());
        let again = sessions.create_with(&given, &set(2)).await;
        assert!(matches!(again, Err(SessionError::Taken)), "{again:?}");
    }
    assert_eq!(cluster.cluster(0).session_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn id_of_an_expired_session_is_free_again() {
    let layer = layer().await;
    let sessions = layer.cluster().sessions("");
    let given = CookieValue::new([3; 16], [4; 16]);
    let mut short = set(1);
    short.set_expiry(Expiry::idle(seconds(1))).expect("no zero");
    sessions
        .create_with(&given, &short)
        .await
        .expect("it is free");
    pass(seconds(5)).await;
    let session = sessions
        .create_with(&given, &set(2))
        .await
        .expect("it is free");
    assert_eq!(session.get::<u64>("a").expect("a number"), Some(2));
}

#[tokio::test(start_paused = true)]
async fn several_changes_are_one() {
    let cluster = TestCluster::start(2).await;
    let layers = [0, 1].map(|node| layer_on(&cluster, node));
    let (cookie, id) = start(&layers[0], "a", 1).await;
    let session = open(&cluster.cluster(0).sessions(""), &id).await;
    let mut changes = Changes::new();
    changes.insert("a", "replaced").expect("text");
    changes.remove("a");
    changes.insert("b", 2).expect("a number");
    changes
        .insert_json("c", r#"{"d": [3, 0.25, null]}"#)
        .expect("JSON");
    changes.increment("n", 2).expect("a name");
    changes.increment("n", 3).expect("a name");
    let hour = Expiry::idle(minutes(60));
    changes.set_expiry(hour).expect("no zero");
    session.change(&changes).expect("it fits");
    session.acknowledged(Ack::All).await;
    visit(&layers[1], &cookie, async |session| {
        assert_eq!(session.keys().unwrap(), ["b", "c", "n"]);
        assert_eq!(session.get::<u64>("b").unwrap(), Some(2));
        assert_eq!(session.counter("n").unwrap(), 5);
        assert_eq!(session.expiry().unwrap(), hour);
    })
    .await;

    let mut changes = Changes::new();
    changes.insert("e", 5).expect("a number");
    changes.clear();
    session.change(&changes).expect("it fits");
    assert_eq!(session.keys().expect("it lives"), ["e"]);
}

#[tokio::test(start_paused = true)]
async fn changes_of_which_one_fails_change_nothing() {
    let cluster = TestCluster::start_with(2, |config| config.max_session_bytes(1000)).await;
    let (_, id) = start(&layer_on(&cluster, 0), "a", 1).await;
    let session = open(&cluster.cluster(0).sessions(""), &id).await;
    session.increment("n", 1).expect("it fits");
    session.acknowledged(Ack::All).await;
    let before = session.snapshot().expect("it lives");
    let mut events = cluster.cluster(0).events();

    let mut too_large = Changes::new();
    too_large.remove("a");
    too_large.insert("b", 1).expect("a number");
    too_large.insert("c", "x".repeat(1000)).expect("text");
    let mut wrong_kind = Changes::new();
    wrong_kind.insert("b", 1).expect("a number");
    wrong_kind.insert("n", 1).expect("a number");
    for changes in [&too_large, &wrong_kind] {
        session.change(changes).expect_err("one of them fails");
        assert_eq!(session.snapshot().expect("it lives"), before);
    }
    assert_eq!(session.acknowledged(Ack::All).await, 1);
    cluster.converged().await;
    let elsewhere = open(&cluster.cluster(1).sessions(""), &id).await;
    assert_eq!(elsewhere.snapshot().expect("it lives"), before);
    session.insert("last", 1).expect("it fits");
    let told = events.recv().await;
    assert!(format!("{told:?}").contains("last"), "{told:?}");

    // What is removed makes room.
    let mut swapped = Changes::new();
    session.insert("a", "x".repeat(500)).expect("it fits");
    swapped.remove("a");
    swapped.insert("b", "x".repeat(500)).expect("text");
    session.change(&swapped).expect("it fits");

    let sessions = cluster.cluster(0).sessions("");
    let count = cluster.cluster(0).session_count();
    sessions.create(&too_large).expect_err("it does not fit");
    assert_eq!(cluster.cluster(0).session_count(), count);
}

#[tokio::test(start_paused = true)]
async fn request_makes_several_changes_as_one_too() {
    let layer = layer().await;
    let changed = visit(&layer, (), async |session| {
        let mut limits = Changes::new();
        limits.set_expiry(Expiry::idle(minutes(5))).unwrap();
        limits.remove("a");
        session.change(&limits).unwrap();
        assert_eq!(session.id(), None, "nothing is written");
        session.change(&set(1)).unwrap();
        session.expiry().unwrap()
    })
    .await;
    assert_eq!(*changed.body(), Expiry::idle(minutes(5)));
    let cookie = cookie(&changed).expect("a new session");
    assert_eq!(value(&layer, &cookie, "a").await, Some(1));
    let mut too_large = Changes::new();
    too_large.insert("a", "x".repeat(1 << 20)).expect("text");
    let refused = visit(&layer, (), async |session| session.change(&too_large)).await;
    assert!(matches!(refused.body(), Err(SessionError::TooLarge { .. })));
    assert_eq!(layer.cluster().session_count(), 1);
}

#[tokio::test(start_paused = true)]
async fn handle_outside_a_request_is_no_use_unless_it_says_so() {
    let cluster = TestCluster::start(2).await;
    let layer = layer_on(&cluster, 0).with_expiry(Expiry::idle(seconds(30)));
    let ids = [start(&layer, "a", 1).await.1, start(&layer, "a", 1).await.1];
    let sessions = cluster.cluster(0).sessions("");
    let [quiet, used] = [
        open(&sessions, &ids[0]).await,
        open(&sessions, &ids[1]).await,
    ];
    pass(seconds(20)).await;
    for session in [&quiet, &used] {
        let info = session.info().expect("it lives").expect("a session");
        assert!(info.idle >= seconds(20), "{info:?}");
        assert!(info.remaining <= Some(seconds(10)), "{info:?}");
        session.get::<u64>("a").expect("it lives");
        session.insert("b", 1).expect("it lives");
    }
    used.touch().expect("it lives");
    let info = used.info().expect("it lives").expect("a session");
    assert!(info.idle < seconds(1), "{info:?}");
    pass(seconds(20)).await;
    assert!(matches!(
        quiet.get::<u64>("a"),
        Err(SessionError::Destroyed)
    ));
    assert!(matches!(quiet.touch(), Err(SessionError::Destroyed)));
    assert_eq!(used.get::<u64>("a").expect("it lives"), Some(1));
    // Peers were told of the use.
    let sessions = cluster.cluster(1).sessions("");
    assert!(sessions.open(&ids[0]).await.is_none());
    assert!(sessions.open(&ids[1]).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn dropped_handle_outside_a_request_lets_go_of_nobodys_session() {
    let layer = layer().await.with_expiry(Expiry::idle(seconds(30)));
    let (cookie, id) = start(&layer, "a", 1).await;
    let sessions = layer.cluster().sessions("");
    visit(&layer, &cookie, async |session| {
        drop(open(&sessions, &id).await);
        pass(seconds(60)).await;
        assert_eq!(
            session.get::<u64>("a").unwrap(),
            Some(1),
            "the request uses it"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn age_remaining_time_and_names_are_told() {
    let cluster = TestCluster::start(2).await;
    let layer = layer_on(&cluster, 0)
        .with_context("shop")
        .with_expiry(Expiry::idle(seconds(30)).or_absolute(seconds(60)));
    let (cookie, id) = start(&layer, "a", 1).await;
    pass(seconds(20)).await;
    let session = open(&cluster.cluster(1).sessions("shop"), &id).await;
    let info = session.info().expect("it lives").expect("a session");
    assert_eq!((&*info.id, &*info.context), (&*id, "shop"));
    assert_eq!(info.attributes, ["a"]);
    assert_eq!(
        info.expiry,
        Expiry::idle(seconds(30)).or_absolute(seconds(60))
    );
    let two = seconds(2);
    let near = |time: Duration, expected: Duration| time.abs_diff(expected) < two;
    assert!(near(info.age, seconds(20)), "{info:?}");
    assert!(near(info.idle, seconds(20)), "{info:?}");
    assert!(
        info.remaining.is_some_and(|left| near(left, seconds(10))),
        "{info:?}"
    );
    visit(&layer, &cookie, async |_| ()).await;
    pass(seconds(25)).await;
    let info = session.info().expect("it lives").expect("a session");
    assert!(
        info.remaining.is_some_and(|left| near(left, seconds(5))),
        "by idleness: {info:?}"
    );
    visit(&layer, &cookie, async |session| {
        pass(seconds(1)).await;
        let age = session.age().unwrap().expect("a session");
        assert!(near(age, seconds(45)), "{age:?}");
    })
    .await;
    let info = session.info().expect("it lives").expect("a session");
    assert!(
        info.remaining.is_some_and(|left| near(left, seconds(15))),
        "by age: {info:?}"
    );
    visit(&layer, (), async |session| {
        assert_eq!(session.age().unwrap(), None)
    })
    .await;
    session.set_expiry(Expiry::never()).expect("it lives");
    assert_eq!(
        session
            .info()
            .expect("it lives")
            .expect("a session")
            .remaining,
        None
    );
}

#[tokio::test(start_paused = true)]
async fn raw_json_comes_back_as_it_was_written() {
    let layer = layer().await;
    let (session, _) = layer
        .cluster()
        .sessions("")
        .create(&set(1))
        .expect("there is room");
    let json = r#"{"b": [1.5e300, null, "ü"]}"#;
    session.insert_json("json", json).expect("JSON");
    session.increment("count", 3).expect("it fits");
    assert_eq!(
        session.get_json("json").expect("it lives").as_deref(),
        Some(json)
    );
    assert_eq!(session.get_json("none").expect("it lives"), None);
    assert!(matches!(
        session.get_json("count"),
        Err(SessionError::WrongKind { .. })
    ));
    let snapshot = session.snapshot().expect("it lives");
    let expected = [("a", "1"), ("count", "3"), ("json", json)];
    assert!(
        snapshot
            .iter()
            .map(|(name, json)| (&**name, &**json))
            .eq(expected)
    );
    let too_deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
    for wrong in ["", "dark", "[1", "1 2", "NaN", "1e999", &too_deep] {
        let refused = session.insert_json("json", wrong);
        assert!(
            matches!(refused, Err(SessionError::Encode { .. })),
            "{wrong}"
        );
    }
    assert_eq!(session.snapshot().expect("it lives"), snapshot);
}

#[tokio::test(start_paused = true)]
async fn outside_a_request_sessions_are_created_by_create_alone() {
    let layer = layer().await;
    let (_, id) = start(&layer, "a", 1).await;
    let session = open(&layer.cluster().sessions(""), &id).await;
    assert!(matches!(session.cycle_id(), Err(SessionError::HeadersSent)));
    assert!(matches!(
        session.set_persistent(true),
        Err(SessionError::HeadersSent)
    ));
    session.destroy().expect("it lives");
    assert!(matches!(
        session.insert("a", 1),
        Err(SessionError::HeadersSent)
    ));
    assert_eq!(session.id(), None);
    assert_eq!(layer.cluster().session_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn job_and_requests_of_a_session_at_once_lose_nothing() {
    let cluster = TestCluster::start(2).await;
    let layers = [0, 1].map(|node| layer_on(&cluster, node));
    let (cookie, id) = start(&layers[0], "a", 1).await;
    let job = open(&cluster.cluster(1).sessions(""), &id).await;
    for round in 0..50_u64 {
        let requests = layers.iter().map(|layer: &ClusterSessionLayer| {
            visit(layer, &cookie, async |session| {
                session.increment("hits", 1).unwrap();
            })
        });
        let name = format!("job {round}");
        let at_once = async {
            job.increment("hits", 1).expect("it lives");
            job.insert(&name, round).expect("it fits");
        };
        futures_util::join!(futures_util::future::join_all(requests), at_once);
    }
    job.acknowledged(Ack::All).await;
    cluster.converged().await;
    for node in [0, 1] {
        let session = open(&cluster.cluster(node).sessions(""), &id).await;
        assert_eq!(session.counter("hits").expect("it lives"), 150);
        assert_eq!(session.keys().expect("it lives").len(), 52);
    }
}

#[tokio::test(start_paused = true)]
async fn logout_elsewhere_ends_the_handle_of_a_job() {
    let cluster = TestCluster::start(2).await;
    let layers = [0, 1].map(|node| layer_on(&cluster, node));
    let (cookie, id) = start(&layers[0], "a", 1).await;
    let job = open(&cluster.cluster(1).sessions(""), &id).await;
    visit(&layers[0], &cookie, async |session| {
        session.destroy().unwrap()
    })
    .await;
    job.ended().await;
    assert!(matches!(job.insert("a", 2), Err(SessionError::Destroyed)));
    assert!(matches!(job.change(&set(2)), Err(SessionError::Destroyed)));
    assert_eq!(cluster.cluster(0).session_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn node_that_leaves_creates_nothing_outside_requests_either() {
    let layer = layer().await;
    let sessions = layer.cluster().sessions("");
    layer.cluster().leave().await;
    assert!(matches!(
        sessions.create(&set(1)),
        Err(SessionError::Leaving)
    ));
}

#[tokio::test(start_paused = true)]
async fn slot_tells_what_the_client_presents_without_a_look_up() {
    use tower::{Layer as _, ServiceExt as _, service_fn};

    let layer = layer().await;
    let (cookie, id) = start(&layer, "a", 1).await;
    let forged = CookieValue::new([1; 16], [2; 16]);
    let cases = [
        (String::new(), false, None),
        ("other=1".to_owned(), false, None),
        ("__Host-id=malformed".to_owned(), true, None),
        (
            format!("__Host-id={}", forged.expose()),
            true,
            Some("AQEBAQEBAQEBAQEBAQEBAQ"),
        ),
        (format!("__Host-id=malformed; {cookie}"), true, Some(&*id)),
    ];
    for (cookies, sent, presented) in cases {
        let service = service_fn(async |request: http::Request<()>| {
            let slot = slot(&request);
            let told = (slot.presents_cookie(), slot.presented_id());
            Ok::<_, std::convert::Infallible>(http::Response::new(told))
        });
        let answer = layer.layer(service).oneshot(request(&cookies)).await;
        let told = answer.expect("it cannot fail").into_body();
        assert_eq!(told, (sent, presented.map(str::to_owned)), "{cookies}");
    }
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "context \"a b\" must be 1 to 64")]
async fn context_that_no_layer_can_have_is_refused() {
    let _ = layer().await.cluster().sessions("a b");
}

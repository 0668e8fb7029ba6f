//! What an app is told of sessions, on the node that changed them and on the others.

use std::sync::Arc;

use tower_cluster_sessions::{
    Event, Events, Expiry, SessionEvent, SessionEventKind, test_util::TestCluster,
};

use crate::{
    app_support::{in_time, layer_on},
    http_support::{cookie, minutes, pass, start, visit},
};

#[tokio::test(start_paused = true)]
async fn session_events_are_told_where_the_change_was_made_and_elsewhere_when_asked_for() {
    let cluster =
        TestCluster::start_with(2, |config| config.notify_listeners_on_replication(true)).await;
    let mut here = cluster.cluster(0).events();
    let mut there = cluster.cluster(1).events();
    let id = live_and_die(&cluster).await;
    let local = session_events(&mut here, &id).await;
    let replicated = session_events(&mut there, &id).await;
    let kinds = |events: &[SessionEvent]| -> Vec<_> {
        events.iter().map(|event| event.kind.clone()).collect()
    };
    assert_eq!(kinds(&local), kinds(&replicated));
    assert!(matches!(
        &kinds(&local)[..],
        [
            SessionEventKind::Created,
            SessionEventKind::AttributeChanged { name, .. },
            SessionEventKind::IdCycled,
            SessionEventKind::Destroyed,
        ] if **name == *"a"
    ));
    assert!(local.iter().all(|event| !event.replicated));
    assert!(replicated.iter().all(|event| event.replicated));
}

#[tokio::test(start_paused = true)]
async fn other_nodes_are_not_told_of_session_events_by_default() {
    let cluster = TestCluster::start(2).await;
    let mut there = cluster.cluster(1).events();
    live_and_die(&cluster).await;
    let layer = layer_on(&cluster, 1);
    // The first event there is that of its own session.
    let (_, own) = start(&layer, "b", 1).await;
    let event = next_session_event(&mut there).await;
    assert_eq!((event.id, event.replicated), (own, false));
}

#[tokio::test(start_paused = true)]
async fn each_node_tells_of_the_sessions_that_expire_on_it() {
    let cluster = TestCluster::start(2).await;
    let one_minute = Expiry::idle(minutes(1));
    let (_, id) = start(&layer_on(&cluster, 0).with_expiry(one_minute), "a", 1).await;
    let events = [cluster.cluster(0).events(), cluster.cluster(1).events()];
    pass(minutes(2)).await;
    for mut events in events {
        let event = next_session_event(&mut events).await;
        assert_eq!((&event.id, event.replicated), (&id, false));
        assert_eq!(event.kind, SessionEventKind::Expired);
    }
}

#[tokio::test(start_paused = true)]
async fn events_tell_the_context() {
    let cluster = TestCluster::start(1).await;
    let mut events = cluster.cluster(0).events();
    start(&layer_on(&cluster, 0).with_context("shop"), "a", 1).await;
    let event = next_session_event(&mut events).await;
    assert_eq!(event.context, Arc::from("shop"));
}

/// All that can happen to a session, request by request, on the first node. Its id.
async fn live_and_die(cluster: &TestCluster) -> String {
    let layer = layer_on(cluster, 0);
    let (first, id) = start(&layer, "a", 1).await;
    let cycled = visit(&layer, &first, async |session| session.cycle_id()).await;
    let cookie = cookie(&cycled).expect("another id");
    let destroyed = visit(&layer, &cookie, async |session| session.destroy()).await;
    destroyed.into_body().expect("it lives");
    id
}

/// The events up to the session's destruction.
async fn session_events(events: &mut Events, id: &str) -> Vec<SessionEvent> {
    let mut seen = Vec::new();
    loop {
        let event = next_session_event(events).await;
        assert_eq!(event.id, id);
        let over = event.kind == SessionEventKind::Destroyed;
        seen.push(event);
        if over {
            return seen;
        }
    }
}

async fn next_session_event(events: &mut Events) -> SessionEvent {
    in_time("a session event comes", async {
        loop {
            if let Event::Session(event) = events.recv().await.expect("the cluster runs") {
                return event;
            }
        }
    })
    .await
}

//! Sessions outside requests on a node that has just started.

use super::*;
use crate::Changes;

#[tokio::test(start_paused = true)]
async fn session_outside_a_request_is_asked_for_while_the_state_transfer_is_under_way() {
    let network = MemoryNetwork::default();
    let one = node(&network, 1, 2);
    one.cluster().ready().await;
    let sessions = one.cluster().sessions("");
    let mut changes = Changes::new();
    changes.insert("a", 1).expect("a number");
    let mut ids = Vec::new();
    // Enough sessions for a transfer of many frames.
    for _ in 0..5000 {
        let (session, cookie) = sessions.create(&changes).expect("there is room");
        ids.push((session.id().expect("it lives"), cookie));
    }
    let two = node(&network, 2, 1);
    let elsewhere = two.cluster().sessions("");
    let is_linked = || {
        let members = two.cluster().members();
        members.iter().any(|member| member.name.is_some())
    };
    while !is_linked() {
        tokio::task::yield_now().await;
    }
    for (id, cookie) in &ids {
        let found = two.cluster().stats().lookups;
        if found >= 2 || !two.cluster().node().awaits_transfer() {
            break;
        }
        let session = match found {
            0 => elsewhere.open(id).await,
            _ => elsewhere.open_with(cookie).await,
        };
        let session = session.expect("a peer has it");
        assert_eq!(session.get::<u64>("a").expect("a number"), Some(1));
        drop(session);
    }
    assert_eq!(two.cluster().stats().lookups, 2);
}

#[tokio::test(start_paused = true)]
async fn id_that_a_peer_has_is_taken_on_a_node_that_has_just_started() {
    let network = MemoryNetwork::default();
    let one = node(&network, 1, 2);
    // What is destroyed before anybody was met is not remembered.
    let met = node(&network, 3, 1);
    wait_until(|| {
        met.cluster()
            .members()
            .iter()
            .any(|member| member.state == MemberState::Up)
    })
    .await;
    let sessions = one.cluster().sessions("");
    let changes = Changes::new();
    let (_, living) = sessions.create(&changes).expect("there is room");
    let (destroyed, dead) = sessions.create(&changes).expect("there is room");
    destroyed.destroy().expect("it lives");

    let two = node(&network, 2, 1);
    let elsewhere = two.cluster().sessions("");
    for cookie in [living, dead] {
        assert!(two.cluster().node().awaits_transfer());
        let created = elsewhere.create_with(&cookie, &changes).await;
        assert!(matches!(created, Err(SessionError::Taken)), "{created:?}");
    }
}

//! What every node is to destroy, and what is spared.

use super::*;
use crate::{
    node::{Env, SystemTime},
    session::Changes,
};

/// A time of day that stands still.
#[derive(Debug)]
struct Stopped {
    unix_ms: u64,
}

impl SystemTime for Stopped {
    fn unix_ms(&self) -> u64 {
        self.unix_ms
    }
}

#[tokio::test(start_paused = true)]
async fn login_after_a_user_was_logged_out_everywhere_is_spared_whatever_the_clocks_say() {
    const NOON_MS: u64 = 1_800_000_000_000;
    let network = MemoryNetwork::default();
    let nodes = [(1, [2, 3]), (2, [1, 3]), (3, [1, 2])].map(|(port, peers)| {
        let mut env = Env::of(Arc::new(network.transport(port)));
        // The clock of the node that is asked is an hour ahead.
        let unix_ms = NOON_MS + if port == 1 { 3_600_000 } else { 0 };
        env.system = Arc::new(Stopped { unix_ms });
        Cluster::start_in(&config(&format!("n{port}"), port, &peers), env).expect("a free port")
    });
    let [asked, behind, away] = &nodes;
    for (node, peer) in [(asked, "n2"), (behind, "n3"), (away, "n1")] {
        until_seen(node, peer, MemberState::Up).await;
    }
    network.cut_between(1, 3);
    network.cut_between(2, 3);
    until_seen(asked, "n3", MemberState::Down).await;
    until_seen(behind, "n3", MemberState::Down).await;
    let login = |node: &Cluster| {
        let mut changes = Changes::new();
        changes.insert("user", 7).expect("a number");
        let (session, _) = node.sessions("").create(&changes).expect("there is room");
        let id = session.id().expect("it lives");
        SessionKey::from_public_id(&id).expect("an id")
    };
    let before = login(away);
    let search = asked.sessions("").destroy_where("user", &7).await;
    assert_eq!(search.expect("a number").answered, ["n2"]);
    let after = [login(asked), login(behind)];
    network.heal_between(1, 3);
    network.heal_between(2, 3);
    for node in &nodes {
        wait_until("the login before ends", || !holds(node, &before)).await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    for node in &nodes {
        assert_eq!(after.map(|key| holds(node, &key)), [true; 2], "{node:?}");
    }
}

//! Whole nodes in one process, over an in-memory network that encodes and can be cut. Time is
//! tokio's and paused, so it passes only when nobody has anything to do.

mod discovery;
#[cfg(feature = "durable")]
mod disk;
mod floods;
mod healing;
mod joining;
mod leaving;
mod links;
mod logging;
mod members;
mod names;
mod orders;
mod security;
mod stalls;
mod waiting;

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{
    Cluster, Event, Events, MemberEvent, MemberEventKind, MemberState, Node,
    net::transport::MemoryNetwork,
};
use crate::{
    cluster::Readiness,
    config::{Ack, ClusterConfig, Expiry},
    replica::Replicate,
    session::{SessionKey, SessionMeta},
    wire::Position,
};

fn config(name: &str, port: u16, peers: &[u16]) -> ClusterConfig {
    ClusterConfig::new(name)
        .listen(address(port))
        .peers(peers.iter().map(|port| address(*port)))
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn start(network: &MemoryNetwork, name: &str, port: u16, peers: &[u16]) -> Cluster {
    start_with(network, port, &config(name, port, peers))
}

fn start_with(network: &MemoryNetwork, port: u16, config: &ClusterConfig) -> Cluster {
    let transport = Arc::new(network.transport(port));
    Cluster::start_with(config, transport).expect("the port is free")
}

/// Two nodes that have each other on their lists, linked and ready.
async fn pair(network: &MemoryNetwork) -> (Cluster, Cluster) {
    let one = start(network, "n1", 1, &[2]);
    let mut events = one.events();
    let two = start(network, "n2", 2, &[1]);
    until(&mut events, |event| is_member(event, MemberEventKind::Up)).await;
    one.ready().await;
    two.ready().await;
    until_seen(&one, "n2", MemberState::Up).await;
    until_seen(&two, "n1", MemberState::Up).await;
    (one, two)
}

/// Waits for the first event for which `wanted` holds.
fn is_member(event: &Event, kind: MemberEventKind) -> bool {
    matches!(event, Event::Member(member) if member.kind == kind)
}

async fn until(events: &mut Events, wanted: impl Fn(&Event) -> bool) -> Event {
    let found = async {
        loop {
            let event = events.recv().await.expect("the cluster runs");
            if wanted(&event) {
                return event;
            }
        }
    };
    timeout(PATIENCE, found).await.expect("it happens in time")
}

/// Waits until something that no event tells of holds.
async fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain: {what}");
}

async fn until_seen(cluster: &Cluster, name: &str, state: MemberState) {
    let what = format!("{cluster:?} sees {name} {state:?}");
    wait_until(&what, || state_of(cluster, name) == Some(state)).await;
}

fn state_of(cluster: &Cluster, name: &str) -> Option<MemberState> {
    let members = cluster.members();
    let found = members.iter().find(|m| m.name.as_deref() == Some(name));
    found.map(|member| member.state)
}

fn create(node: &Arc<Node>) -> SessionKey {
    create_in(node, "", &serde_json::json!(1))
}

fn create_with(node: &Arc<Node>, expiry: Expiry) -> SessionKey {
    let meta = SessionMeta {
        context: "".into(),
        route: None,
        expiry,
    };
    create_of(node, &Arc::new(meta), &serde_json::json!(1))
}

/// Creates a session with the attribute `user`, committed.
fn create_in(node: &Arc<Node>, context: &str, user: &serde_json::Value) -> SessionKey {
    let meta = SessionMeta {
        context: context.into(),
        route: None,
        expiry: Expiry::default(),
    };
    create_of(node, &Arc::new(meta), user)
}

fn create_of(node: &Arc<Node>, meta: &Arc<SessionMeta>, user: &serde_json::Value) -> SessionKey {
    let cookie = node.fresh_id();
    node.create(meta, &cookie, 0).expect("there is room");
    let key = cookie.key;
    set(node, &key, "user", user);
    node.release(&key, Replicate::Now);
    key
}

/// Writes an attribute and commits. Returns the position to wait for.
fn set(
    node: &Arc<Node>,
    key: &SessionKey,
    name: &str,
    value: &serde_json::Value,
) -> Option<Position> {
    let json = value.to_string().into_bytes();
    node.write(key, Replicate::Now, u64::MAX, |writer| {
        writer.set(name, json.into())
    })
    .expect("the session lives");
    node.commit(key)
}

fn get(node: &Arc<Node>, key: &SessionKey, name: &str) -> Option<serde_json::Value> {
    node.read(key, |state| {
        let json = state.json(name).expect("no counter")?;
        Some(serde_json::from_slice(json).expect("json"))
    })
    .ok()?
}

fn holds(cluster: &Cluster, key: &SessionKey) -> bool {
    cluster.node().read(key, |_| ()).is_ok()
}

/// Virtual time, longer than anything a node waits for.
const PATIENCE: Duration = Duration::from_secs(120);

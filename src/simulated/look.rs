//! What the test sees in a node, which no peer and no client can.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    node::Node,
    session::{Register, SecretHash, SessionKey, Vector},
};

/// Vector, registers, and the secrets with whether they are dead.
type Contents = (Vector, Vec<(Arc<str>, Register)>, Vec<(SecretHash, bool)>);

/// Every session, as it must be the same on all nodes.
pub(super) fn contents(node: &Node) -> BTreeMap<SessionKey, Contents> {
    let replica = node.replica();
    let keys = replica.select(|_| true);
    let read = |key: SessionKey| {
        let state = replica.read(&key, |state| {
            let secrets = state.secrets().states().iter();
            let secrets = secrets.map(|s| (s.hash, s.dead_at_ms.is_some())).collect();
            (state.vector().clone(), state.registers().to_vec(), secrets)
        });
        Some((key, state.ok()?))
    };
    keys.into_iter().filter_map(read).collect()
}

/// Whether a node holds what a request wrote.
pub(super) fn has_write(node: &Node, key: &SessionKey, op: u32) -> bool {
    let name = write_name(op);
    let found = node.read(key, |state| state.register(&name).is_some());
    found.is_ok_and(|found| found)
}

/// Whether a node knows that a session was destroyed.
pub(super) fn is_deleted(node: &Node, key: &SessionKey) -> bool {
    node.replica().is_destroyed(key)
}

/// The attribute by which a write is known for ever: each has one of its own.
pub(super) fn write_name(op: u32) -> String {
    format!("w{op}")
}

pub(super) fn written(name: &str) -> Option<u32> {
    name.strip_prefix('w')?.parse().ok()
}

//! Whatever a peer says once it is let in, the node lives, holds no more than its limits, and says
//! only what an honest peer understands.

use tower_cluster_sessions::internals::{Peer, Words};

/// Messages, each behind its length in two bytes.
pub(crate) fn check(data: &[u8]) {
    let mut node = Peer::small();
    for message in messages(data) {
        if !node.hear(message) {
            return;
        }
        node.wait(100);
        for message in node.say() {
            assert!(message.len() <= Words::max_length());
            assert!(Words::decode(&message).is_some(), "{message:02x?}");
        }
        let entries = node.entries();
        assert!(entries <= MAX_ENTRIES, "{entries} entries");
    }
}

fn messages(mut data: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (message, rest) = rest.split_at(length);
        messages.push(message);
        data = rest;
    }
    messages
}

/// Of a node that takes 16 sessions and remembers four times as many: twice all of them.
const MAX_ENTRIES: usize = 2 * (16 + 4 * 16);

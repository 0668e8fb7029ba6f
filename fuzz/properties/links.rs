//! Whatever a peer says once it is let in, the node lives, holds no more than its limits, and says
//! only what an honest peer understands.

use tower_cluster_sessions::internals::untrusted::{Conversation, Received};

/// Messages, each behind its length in two bytes.
pub(crate) fn check(data: &[u8]) {
    let mut conversation = Conversation::new();
    for message in messages(data) {
        let Some(said) = conversation.hear(message) else {
            return;
        };
        for message in said {
            assert!(message.len() <= Received::max_length());
            assert!(Received::decode(&message).is_some(), "{message:02x?}");
        }
        let entries = conversation.entries();
        assert!(entries <= Conversation::max_entries(), "{entries} entries");
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

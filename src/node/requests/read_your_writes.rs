//! Requests that wait for what their client has written on another node.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::timeout;

use crate::node::{
    Node,
    fetch::{FetchReason, Provenance},
};
use crate::{
    replica::Missing,
    session::{SessionKey, Tag, Token},
    wire::Message,
};

impl Node {
    /// From now on requests may call [`Node::catch_up`].
    pub(crate) fn enable_read_your_writes(&self) {
        self.fetches.watches_merges.store(true, Ordering::Relaxed);
    }

    /// What the copy held here lacks of a client's writes.
    pub(crate) fn missing(&self, key: &SessionKey, token: &Token) -> Missing {
        self.replica.missing(key, token)
    }

    /// Waits until the writes in `token` are here: first for the stream that brings them, then for
    /// peers that are asked for the session. Returns as soon as they are here or nobody has them,
    /// at the latest after `read_your_writes_timeout`. Dropping it is harmless.
    pub(crate) async fn await_writes(&self, key: SessionKey, token: &Token) {
        let Some(waiting) = self.fetches.enter(key, FetchReason::Token, Provenance::Yes) else {
            return;
        };
        let is_there = || self.missing(&key, token) == Missing::Nothing;
        let catching_up = async {
            if self.is_streamed(&self.missing(&key, token)) {
                // What has not come by then may have been overtaken by a skip or refused.
                let _ = timeout(STREAM, waiting.until(is_there)).await;
            }
            self.ask_until(&waiting, is_there).await;
        };
        let in_time = timeout(self.settings.read_your_writes_timeout, catching_up).await;
        let is_stale = match self.missing(&key, token) {
            Missing::Nothing => false,
            Missing::Writes(_) => true,
            // That nobody has it any more is no news that was missed.
            Missing::Session => in_time.is_err(),
        };
        if is_stale {
            self.counters.stale_reads.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What is left of a token when writes go that can come from nobody any more: they are not here,
    /// and their node has restarted or is no member. Without it, their client would ask for them with
    /// each request.
    pub(crate) fn without_lost_writes(&self, key: &SessionKey, mut token: Token) -> Token {
        if let Missing::Writes(missing) = self.missing(key, &token) {
            let members = self.members();
            let is_lost =
                |tag: &Tag| missing.tags().contains(tag) && !members.knows(tag.origin.boot);
            token.retain(|tag| !is_lost(tag));
        }
        token
    }

    /// The sessions that a message brings something of, if anybody may wait for it: to be passed to
    /// [`Node::tell_merged`] once it is merged.
    pub(in crate::node) fn keys_to_tell(&self, message: &Message) -> Vec<SessionKey> {
        if self.fetches.watches_merges.load(Ordering::Relaxed) {
            message.keys().collect()
        } else {
            Vec::new()
        }
    }

    pub(in crate::node) fn tell_merged(&self, keys: &[SessionKey]) {
        if !keys.is_empty() {
            self.fetches.merged(keys);
        }
    }

    /// Whether a live link brings some of what is lacking without being asked. For a whole session
    /// it is quicker to ask.
    fn is_streamed(&self, missing: &Missing) -> bool {
        let Missing::Writes(missing) = missing else {
            return false;
        };
        let links = self.live_links();
        let mut writers = missing.tags().iter().map(|tag| tag.origin.boot);
        writers.any(|writer| links.iter().any(|link| link.boot == writer))
    }
}

/// Longer than a change is under way between healthy nodes.
const STREAM: Duration = Duration::from_millis(5);

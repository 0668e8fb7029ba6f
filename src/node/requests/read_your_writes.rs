//! Requests that wait for what their client has written on another node.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::timeout;

use crate::node::Node;
use crate::{
    cluster::{FetchReason, Provenance},
    replica::Missing,
    session::{SessionKey, Tag, Token},
    wire::Message,
};

impl Node {
    /// Lets requests call [`Node::await_writes`] from now on.
    pub(crate) fn enable_read_your_writes(&self) {
        self.requests.fetches.watch_merges();
    }

    /// Returns what the copy held here lacks of a client's writes.
    pub(crate) fn missing(&self, key: &SessionKey, token: &Token) -> Missing {
        self.replica.missing(key, token)
    }

    /// Waits until the writes in `token` are here: first for the stream that brings them, then for
    /// peers that are asked for the session. Returns as soon as they are here or nobody has them,
    /// at the latest after `read_your_writes_timeout`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops waiting.
    pub(crate) async fn await_writes(&self, key: SessionKey, token: &Token) {
        let fetches = &self.requests.fetches;
        let Some(mut waiter) = fetches.enter(key, FetchReason::Token, Provenance::Known) else {
            return;
        };
        let is_there = || self.missing(&key, token) == Missing::Nothing;
        let arrival = async {
            if self.is_streamed(&self.missing(&key, token)) {
                // What has not come by then may have been overtaken by a skip or refused.
                let _ = timeout(STREAM, waiter.until(is_there)).await;
            }
            self.ask_until(&mut waiter, is_there).await;
        };
        let in_time = timeout(self.settings.read_your_writes_timeout, arrival).await;
        let is_stale = match self.missing(&key, token) {
            Missing::Nothing => false,
            Missing::Writes(_) => true,
            // That nobody has it any more is no news that was missed.
            Missing::Session => in_time.is_err(),
        };
        if is_stale {
            self.monitor
                .counters
                .stale_reads
                .fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes writes out of a token that can come from nobody any more: they are not here, and their
    /// node has restarted or is no member. Otherwise their client would ask for them with each
    /// request.
    pub(crate) fn without_lost_writes(&self, key: &SessionKey, mut token: Token) -> Token {
        if let Missing::Writes(missing) = self.missing(key, &token) {
            let members = self.peers.table();
            let is_lost =
                |tag: &Tag| missing.tags().contains(tag) && !members.knows(tag.origin.boot);
            token.retain(|tag| !is_lost(tag));
        }
        token
    }

    /// Returns the sessions that a message brings something of, if anybody may wait for it: to be
    /// passed to [`Node::tell_merged`] once it is merged.
    pub(crate) fn keys_to_tell(&self, message: &Message) -> Vec<SessionKey> {
        if self.requests.fetches.watches_merges() {
            message.keys().collect()
        } else {
            Vec::new()
        }
    }

    /// Tells those who wait that something of these sessions is merged.
    pub(crate) fn tell_merged(&self, keys: &[SessionKey]) {
        if !keys.is_empty() {
            self.requests.fetches.merged(keys);
        }
    }

    /// Returns whether a live link brings some of what is lacking without being asked. For a whole
    /// session it is quicker to ask.
    fn is_streamed(&self, missing: &Missing) -> bool {
        let Missing::Writes(missing) = missing else {
            return false;
        };
        let links = self.peers.live();
        let mut writers = missing.tags().iter().map(|tag| tag.origin.boot);
        writers.any(|writer| links.iter().any(|link| link.identity.boot == writer))
    }
}

/// Longer than a change is under way between healthy nodes.
const STREAM: Duration = Duration::from_millis(5);

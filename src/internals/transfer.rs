//! What a node gets when it joins: all sessions of another one, through the links' decisions and
//! bytes, without sockets.

use bytes::BytesMut;

use super::{FullStore, NOW, READER};
use crate::{
    config::{Limits, Shape},
    replica::{Link, LinkOptions, Replica},
    session::{BootId, Now},
    wire::{DecodeLimits, FrameCodec, Message},
};

/// A node full of sessions, and one that joins it.
#[derive(Debug)]
pub struct Transfer {
    donor: End,
    joiner: End,
}

#[derive(Debug)]
struct End {
    replica: Replica,
    link: Link,
    frames: FrameCodec,
    message: BytesMut,
}

impl Transfer {
    /// To an empty node, from a full one.
    #[must_use]
    pub fn from(donor: FullStore) -> Self {
        let joiner = Replica::new(READER.boot, Limits::default(), &Shape::default(), NOW);
        let (to, from) = (joiner.boot(), donor.replica.boot());
        Self {
            donor: End::new(donor.replica, to),
            joiner: End::new(joiner, from),
        }
    }

    /// Brings all sessions over. Returns their number and how many bytes the donor sent.
    pub fn run(&mut self) -> (usize, usize) {
        self.joiner.link.begin_round();
        let mut sent = 0;
        while !self.joiner.link.is_synced() {
            let there = self.donor.say();
            sent += there.len();
            self.joiner.hear(there);
            let back = self.joiner.say();
            self.donor.hear(back);
        }
        (self.joiner.replica.store().sessions(), sent)
    }

    /// What an idle node does in so many tenths of a second.
    pub fn idle(&self, ticks: u64) {
        for tick in 0..ticks {
            self.joiner.replica.sweep(later(60_000 + 100 * tick), false);
        }
    }

    /// Lets the sessions of both nodes expire. Returns how many are left.
    pub fn expire(&self) -> usize {
        let ends = [&self.donor, &self.joiner].map(|end| {
            end.replica.sweep(later(24 * 60 * 60 * 1000), false);
            end.replica.store().sessions()
        });
        ends.iter().sum()
    }
}

fn later(ms: u64) -> Now {
    Now {
        mono_ms: NOW.mono_ms + ms,
        ..NOW
    }
}

impl End {
    fn new(replica: Replica, peer: BootId) -> Self {
        let options = LinkOptions {
            heartbeat_ms: 500,
            ack_timeout_ms: 3_000,
            collect: false,
        };
        let link = Link::new(&replica, peer, options, NOW);
        Self {
            replica,
            link,
            frames: FrameCodec::established(Message::max_length(&limits())),
            message: BytesMut::new(),
        }
    }

    /// About as much as a link's writer sends at once.
    fn say(&mut self) -> BytesMut {
        let mut out = BytesMut::new();
        while out.len() < 64 * 1024
            && let Some(message) = self.link.poll(&self.replica, NOW)
        {
            self.message.clear();
            message.encode(NOW.mono_ms, &mut self.message);
            let framed = self.frames.encode_message(&self.message, &mut out);
            framed.expect("messages are below the limits");
            self.link.sent(&message, self.message.len());
        }
        out
    }

    fn hear(&mut self, mut bytes: BytesMut) {
        let limits = limits();
        while let Some(bytes_of_one) = self.frames.decode(&mut bytes).expect("whole frames") {
            let message = Message::decode(&bytes_of_one, NOW.mono_ms, &limits);
            let message = message.expect("the other end is honest");
            let handled = self
                .link
                .handle(&self.replica, message, bytes_of_one.len(), NOW);
            handled.expect("the other end is honest");
        }
    }
}

fn limits() -> DecodeLimits {
    DecodeLimits {
        max_session_bytes: 256 * 1024,
        max_names: 1024,
        max_entries: 8_000_000,
        digest_shards: 4096,
    }
}

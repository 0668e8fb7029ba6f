//! How sessions are named and dated where they outlive the process: in a node's directory.

use super::{Now, OrderId, SessionKey};

/// What a record of a directory is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SavedKey {
    /// The node itself.
    Facts,
    /// A session, or what is left of a destroyed one.
    Session(SessionKey),
    /// An order, of a day at most. Its id is chosen by peers, so it must not be taken for a key.
    Order(OrderId),
}

impl SavedKey {
    /// Returns the bytes by which a directory finds the record. Facts sort before all others.
    pub(crate) fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        let (kind, id) = match &self {
            Self::Facts => (FACTS, &[0; 16]),
            Self::Session(key) => (SESSION, key.bytes()),
            Self::Order(id) => (ORDER, id.bytes()),
        };
        bytes[0] = kind;
        bytes[1..].copy_from_slice(id);
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) returned, `None` for anything else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, id) = bytes.split_first()?;
        let id: [u8; 16] = id.try_into().ok()?;
        match *kind {
            FACTS if id == [0; 16] => Some(Self::Facts),
            SESSION => Some(Self::Session(SessionKey::from_bytes(id))),
            ORDER => Some(Self::Order(OrderId::from_bytes(id))),
            _ => None,
        }
    }

    const LENGTH: usize = 17;
}

/// The time of a directory, which goes on from one process to the next.
///
/// It tells two times. *Lived* time is that of everybody: while no process runs it goes on as the
/// time of day does, but never back. *Ran* time stands still meanwhile. Within a process both go on
/// with its monotonic clock, so a time of day that is set anew changes neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SavedClock {
    /// What lived time has in advance of the process's monotonic time. It may be less than nothing.
    ahead_ms: i64,
    /// For how long no process has run, in all.
    down_ms: u64,
}

impl SavedClock {
    /// That of a new directory.
    pub(crate) const NEW: Self = Self {
        ahead_ms: 0,
        down_ms: 0,
    };

    /// Goes on where another process stopped at `lived_ms`, so long ago.
    pub(crate) const fn resume(lived_ms: u64, down_ms: u64, stopped_for_ms: u64, now: Now) -> Self {
        let lived_ms = lived_ms.saturating_add(stopped_for_ms);
        Self {
            ahead_ms: lived_ms.wrapping_sub(now.mono_ms).cast_signed(),
            down_ms: down_ms.saturating_add(stopped_for_ms),
        }
    }

    pub(crate) const fn lived_ms(self, mono_ms: u64) -> u64 {
        mono_ms.saturating_add_signed(self.ahead_ms)
    }

    pub(crate) const fn ran_ms(self, mono_ms: u64) -> u64 {
        self.lived_ms(mono_ms).saturating_sub(self.down_ms)
    }

    /// Returns the process's instant at which it was so late by lived time, none that is to come.
    pub(crate) const fn of_lived(self, lived_ms: u64, now: Now) -> u64 {
        let age_ms = self.lived_ms(now.mono_ms).saturating_sub(lived_ms);
        now.mono_ms.saturating_sub(age_ms)
    }

    /// Returns the process's instant at which it was so late by ran time.
    pub(crate) const fn of_ran(self, ran_ms: u64, now: Now) -> u64 {
        let age_ms = self.ran_ms(now.mono_ms).saturating_sub(ran_ms);
        now.mono_ms.saturating_sub(age_ms)
    }

    pub(crate) const fn down_ms(self) -> u64 {
        self.down_ms
    }
}

const FACTS: u8 = b'a';
const SESSION: u8 = b's';
const ORDER: u8 = b'o';

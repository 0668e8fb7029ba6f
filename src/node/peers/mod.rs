//! The other nodes: the table of members, their links, and what becomes of these.

mod contacts;
mod ended;
mod exchange;
pub(super) mod lifecycle;
pub(super) mod link;
pub(super) mod link_task;
mod spans;
mod transfer;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::DropGuard;

use self::{contacts::Contacts, link::PeerLink};
use crate::{
    cluster::{AckTracker, LinkId, MemberTable, PeerExchange, Source, millis},
    config::Settings,
    session::{BootId, Now},
};

/// The members, their links, and what they have acknowledged.
#[derive(Debug)]
pub(super) struct Peers {
    pub(super) acks: Arc<AckTracker>,
    /// Taken after the join's lock, before any link's own lock.
    table: Mutex<MemberTable<Arc<PeerLink>>>,
    /// Taken before the table's lock.
    exchange: Mutex<PeerExchange<DropGuard>>,
    /// Of whom others are told. Taken before a link's lock.
    contacts: Mutex<Contacts>,
    /// The live links of `table`, for the path of every commit.
    live: RwLock<Arc<[Arc<PeerLink>]>>,
    next_link: AtomicU64,
    /// When a request began to wait for acknowledgements last, in monotonic milliseconds.
    waited_ms: AtomicU64,
}

impl Peers {
    pub(super) fn new(boot: BootId, settings: &Settings) -> Self {
        let silent_after = MIN_SILENCE.max(2 * settings.heartbeat_interval);
        let forget_after = settings.forget_after;
        let mut table = MemberTable::new(boot, millis(silent_after), millis(forget_after));
        for peer in &settings.peers {
            table.add(&Source::Listed(peer.clone()));
        }
        Self {
            acks: Arc::default(),
            table: Mutex::new(table),
            exchange: Mutex::default(),
            contacts: Mutex::default(),
            live: RwLock::new(Arc::new([])),
            next_link: AtomicU64::new(0),
            waited_ms: AtomicU64::new(0),
        }
    }

    pub(super) fn table(&self) -> MutexGuard<'_, MemberTable<Arc<PeerLink>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn live(&self) -> Arc<[Arc<PeerLink>]> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps the live links in step with the table. Call it with the table locked.
    pub(super) fn refresh(&self, table: &MemberTable<Arc<PeerLink>>) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = table.links().into();
    }

    pub(super) fn wake_writers(&self) {
        let links = self.live.read().unwrap_or_else(PoisonError::into_inner);
        for link in links.iter() {
            link.wake_writer();
        }
    }

    /// Notes that a request waits for acknowledgements. Peers that need not send them at once are told
    /// to.
    pub(super) fn expect_acks(&self, now: Now) {
        let quiet_ms = |before_ms| now.mono_ms.saturating_sub(before_ms);
        // All requests read this, so that few of them write it.
        if quiet_ms(self.waited_ms.load(Ordering::Relaxed)) < EXPECT_ACKS_MS / 4 {
            return;
        }
        let before_ms = self.waited_ms.swap(now.mono_ms, Ordering::Relaxed);
        if quiet_ms(before_ms) < EXPECT_ACKS_MS / 2 {
            return;
        }
        for link in self.live().iter() {
            link.update(&self.acks, |machine| machine.expect_acks(true));
            link.wake_writer();
        }
    }

    /// Returns whether requests wait for acknowledgements, or have a moment ago. Ask it under a link's
    /// lock.
    pub(super) fn expects_acks(&self, now: Now) -> bool {
        let waited_ms = self.waited_ms.load(Ordering::Relaxed);
        now.mono_ms.saturating_sub(waited_ms) < EXPECT_ACKS_MS
    }

    pub(super) fn new_id(&self) -> LinkId {
        LinkId(self.next_link.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns the number that the next link will have.
    pub(super) fn next_id(&self) -> LinkId {
        LinkId(self.next_link.load(Ordering::Relaxed))
    }
}

/// For so long after a request has waited for acknowledgements they come at once.
const EXPECT_ACKS_MS: u64 = 2_000;
/// The least silence after which a link may be replaced.
const MIN_SILENCE: Duration = Duration::from_secs(1);

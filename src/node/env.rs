//! What a node takes from its environment, in one place: the network, the time of day, and bytes
//! nobody can guess. A test can replace all of it. With tokio's paused clock a run then repeats
//! exactly.

use std::{fmt, sync::Arc, time::Duration};

use rustls::pki_types::UnixTime;

#[cfg(feature = "durable")]
use super::disk::{JournalStorage, Storage};
use super::{
    clock::{OsTime, SystemTime},
    net::transport::{TcpTransport, Transport},
};

/// The environment of a node.
#[derive(Clone, Debug)]
pub(crate) struct Env {
    /// Where streams and addresses come from.
    pub(crate) transport: Arc<dyn Transport>,
    /// The time of day, of which only stamps are made, and how long the machine slept. Ages are
    /// tokio's time and that of sleep.
    pub(crate) system: Arc<dyn SystemTime>,
    /// Boot ids, session keys, secrets and the jitter of pauses.
    pub(crate) random: Arc<dyn Random>,
    /// What keeps sessions on disk.
    #[cfg(feature = "durable")]
    pub(crate) storage: Arc<dyn Storage>,
}

impl Env {
    /// Takes a network, and the operating system's time and randomness.
    pub(crate) fn of(transport: Arc<dyn Transport>) -> Self {
        Self {
            transport,
            system: Arc::new(OsTime::new()),
            random: Arc::new(SystemRandom),
            #[cfg(feature = "durable")]
            storage: Arc::<JournalStorage>::default(),
        }
    }

    /// Returns the time that certificates are compared with.
    pub(crate) fn unix_time(&self) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_millis(self.system.unix_ms()))
    }

    /// Returns fresh random bytes.
    pub(super) fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes);
        bytes
    }
}

/// The operating system's network, time and randomness.
impl Default for Env {
    fn default() -> Self {
        Self::of(Arc::new(TcpTransport))
    }
}

/// Where randomness comes from.
pub(crate) trait Random: fmt::Debug + Send + Sync + 'static {
    /// Fills `bytes` with what nobody can guess.
    fn fill(&self, bytes: &mut [u8]);
}

#[derive(Debug)]
struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}

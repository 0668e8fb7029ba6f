//! How links come to be: listening, dialling, the handshake, and who is let in.

pub(super) mod accept;
mod admission;
mod allowlist;
mod dial;
mod dials;
pub(super) mod discover;
pub(super) mod handshake;
pub(super) mod resolve;
#[cfg(feature = "srv")]
mod srv;
pub(super) mod tls;
pub(crate) mod transport;

use std::{net::SocketAddr, sync::Arc};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{admission::Admission, allowlist::Allowlist, tls::LinkSecurity};
use crate::wire::Hello;

/// One node's side of the network: who it says it is, whom it lets in, and the tasks that end when
/// it leaves.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) hello: Hello,
    pub(super) security: LinkSecurity,
    pub(super) admission: Arc<Admission>,
    pub(super) allowlist: Allowlist,
    pub(super) local_address: Option<SocketAddr>,
    /// Ends listener, dialling and links.
    pub(super) shutdown: CancellationToken,
    /// All tasks that end with `shutdown`.
    pub(super) tasks: TaskTracker,
}

impl Network {
    pub(super) fn new(
        hello: Hello,
        security: LinkSecurity,
        local_address: Option<SocketAddr>,
    ) -> Self {
        Self {
            hello,
            security,
            admission: Arc::default(),
            allowlist: Allowlist::default(),
            local_address,
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Ends all of it at once, without a goodbye.
    pub(super) fn stop(&self) {
        self.shutdown.cancel();
    }

    /// Waits until all tasks have ended.
    pub(super) async fn stopped(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

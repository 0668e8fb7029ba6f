//! Files that are replaced while the node runs.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use crate::log::{info, warn};
use rustls::pki_types::UnixTime;
use tokio::{task::spawn_blocking, time::sleep};

use super::{
    LinkSecurity, Loaded, Protection,
    certificates::{Expiration, PemFiles},
    read,
};
use crate::{
    cluster::millis,
    config::StartError,
    node::{Node, log_throttle::LogThrottle},
};

/// Looks at the files of certificates every ten seconds, until the node leaves or its handle is
/// gone. Returns at once if there are none.
pub(crate) async fn watch(node: Arc<Node>) {
    if matches!(node.net.security.0, Protection::Certificates { .. }) {
        tokio::select! {
            biased;
            () = node.net.shutdown.cancelled() => {}
            () = keep_watching(&node) => {}
        }
    }
}

async fn keep_watching(node: &Arc<Node>) {
    while node.guarded("certificates", keep(node)).await.is_none() {
        sleep(INTERVAL).await;
    }
}

async fn keep(node: &Arc<Node>) {
    let nearly_over = LogThrottle::every(DAY);
    let over = LogThrottle::every(HOUR);
    let unusable = LogThrottle::every(HOUR);
    loop {
        warn_of_expiration(node, &nearly_over, &over);
        sleep(INTERVAL).await;
        let reading = {
            let node = Arc::clone(node);
            // Files may lie on a network.
            spawn_blocking(move || node.net.security.reload(node.env.unix_time()))
        };
        match reading.await {
            Ok(Ok(Some(change))) => {
                info!(
                    node = %node.settings.node,
                    "certificates have changed: links are made anew with the new ones"
                );
                let now = node.now();
                node.renew_links(match change {
                    Change::Authorities => now.mono_ms.saturating_add(millis(MINUTE)),
                    Change::Own => u64::MAX,
                });
            }
            Ok(Err(error)) if unusable.may_log(node.now()) => warn!(
                node = %node.settings.node,
                "certificates have changed but cannot be used; the old ones stay in use: {error}"
            ),
            Ok(Ok(None) | Err(_)) => {}
            Err(error) if error.is_panic() => node.note_panic("certificates"),
            // The runtime shuts down.
            Err(_) => return,
        }
    }
}

fn warn_of_expiration(node: &Node, nearly_over: &LogThrottle, over: &LogThrottle) {
    let Protection::Certificates { given, current } = &node.net.security.0 else {
        return;
    };
    let (name, cert) = (&node.settings.node, given.files.cert.display());
    match read(current).expiration(node.env.unix_time()) {
        Expiration::Over if over.may_log(node.now()) => warn!(
            node = %name,
            "the certificate in {cert} has expired, so there are no new links: renew it, the file \
             is read again"
        ),
        Expiration::Near { days } if nearly_over.may_log(node.now()) => warn!(
            node = %name,
            days,
            "the certificate in {cert} ends in less than {} days: renew it, the file is read again",
            days + 1
        ),
        Expiration::Far | Expiration::Near { .. } | Expiration::Over => {}
    }
}

impl LinkSecurity {
    /// Takes changed files in if they are usable. Returns what has changed.
    pub(super) fn reload(&self, now: UnixTime) -> Result<Option<Change>, StartError> {
        let Protection::Certificates { given, current } = &self.0 else {
            return Ok(None);
        };
        let before = read(current).digests;
        if PemFiles::read(&given.files)?.digests() == before {
            return Ok(None);
        }
        let loaded = Arc::new(Loaded::read(given, now)?);
        let change = match loaded.digests[2] == before[2] {
            true => Change::Own,
            false => Change::Authorities,
        };
        *current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(Some(change))
    }
}

/// What has changed in the files of certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// What this node proves itself with.
    Own,
    /// By what the others prove themselves, and perhaps the own, too.
    Authorities,
}

const INTERVAL: Duration = Duration::from_secs(10);
/// For so long links stay whose peer has proven itself by authorities that may be gone.
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

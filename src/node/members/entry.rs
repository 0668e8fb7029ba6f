//! One member in the table.

use std::sync::Arc;

use crate::{
    config::PeerAddress,
    node::peers::link::{LinkId, PeerLink},
    session::BootId,
};

#[derive(Debug)]
pub(super) struct MemberEntry {
    pub(super) configured: Option<PeerAddress>,
    pub(super) address: Arc<str>,
    pub(super) name: Option<Arc<str>>,
    pub(super) boot: Option<BootId>,
    pub(super) standing: MemberStatus,
    pub(super) link: Option<Arc<PeerLink>>,
    /// One full dial is over, whatever came of it.
    pub(super) tried: bool,
    /// Bytes of links that are gone.
    pub(super) sent: u64,
    pub(super) received: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) enum MemberStatus {
    /// Never reached.
    Unreached,
    Up,
    Suspect {
        heard_ms: u64,
    },
    Down,
    Left,
    /// A configured address that turned out to be this node.
    Myself,
}

/// A member, by name and address, for log lines and events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) struct MemberLabel {
    pub(in crate::node) name: Arc<str>,
    pub(in crate::node) address: Arc<str>,
}

/// A member as it stands, for figures to be added.
#[derive(Debug)]
pub(in crate::node) struct MemberRow {
    pub(in crate::node) name: Option<Arc<str>>,
    pub(in crate::node) address: Arc<str>,
    pub(in crate::node) standing: MemberStatus,
    pub(in crate::node) link: Option<Arc<PeerLink>>,
    pub(in crate::node) sent: u64,
    pub(in crate::node) received: u64,
}

impl MemberEntry {
    pub(super) fn new(
        configured: Option<PeerAddress>,
        address: Arc<str>,
        standing: MemberStatus,
    ) -> Self {
        Self {
            configured,
            address,
            name: None,
            boot: None,
            standing,
            link: None,
            tried: false,
            sent: 0,
            received: 0,
        }
    }

    pub(super) fn live(&self) -> Option<&Arc<PeerLink>> {
        self.link.as_ref().filter(|link| !link.is_closed())
    }

    pub(super) fn has(&self, link: LinkId) -> bool {
        self.link.as_ref().is_some_and(|own| own.id == link)
    }

    pub(super) fn drop_link(&mut self) -> Option<Arc<PeerLink>> {
        let link = self.link.take()?;
        self.sent = self.sent.saturating_add(link.sent());
        self.received = self.received.saturating_add(link.received());
        Some(link)
    }

    pub(super) fn label(&self) -> Option<MemberLabel> {
        Some(MemberLabel {
            name: Arc::clone(self.name.as_ref()?),
            address: Arc::clone(&self.address),
        })
    }

    pub(super) fn row(&self) -> MemberRow {
        let link = self.live();
        MemberRow {
            name: self.name.clone(),
            address: Arc::clone(&self.address),
            standing: self.standing,
            sent: link.map_or(0, |l| l.sent()).saturating_add(self.sent),
            received: link
                .map_or(0, |l| l.received())
                .saturating_add(self.received),
            link: link.cloned(),
        }
    }
}

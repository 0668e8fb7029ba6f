//! One member in the table.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    cluster::link::{LinkId, MemberLink, Traffic},
    config::PeerAddress,
    session::BootId,
};

/// What is known of one member.
#[derive(Debug)]
pub(super) struct MemberEntry<L> {
    pub(super) configured: Option<PeerAddress>,
    /// Which address of the configured peer this is, once they are looked up. A name may have several
    /// and stand for several members.
    pub(super) at: Option<SocketAddr>,
    /// As it is shown.
    pub(super) address: Arc<str>,
    pub(super) name: Option<Arc<str>>,
    pub(super) boot: Option<BootId>,
    pub(super) status: MemberStatus,
    pub(super) link: Option<L>,
    /// What came of the last full dial, if no link did.
    pub(super) reach: Reach,
    /// What went over links that are gone.
    pub(super) traffic: Traffic,
}

/// What a full dial of a configured peer has found where no link came of it. The later ones are
/// better reasons to believe that a member may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// Nobody listens there.
    Unreachable,
    /// Something listens there, and no member has spoken.
    Mute,
    /// A member is there, and it or this node refuses the other.
    Refused,
    /// A member is there whose link to another node of this node's name lives.
    Replaced,
    /// No dial is over.
    Untried,
}

/// How a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberStatus {
    /// Never reached.
    Unreached,
    Up,
    Suspect {
        heard_ms: u64,
    },
    Down,
    Left,
    /// A member is at that address, and it or this node refuses the other.
    Refused,
    /// A configured address that turned out to be this node.
    Myself,
}

/// A member, by name and address, for log lines and events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberLabel {
    pub(crate) name: Arc<str>,
    pub(crate) address: Arc<str>,
}

/// A member as it stands, for figures to be added.
#[derive(Debug)]
pub(crate) struct MemberRow<L> {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) address: Arc<str>,
    pub(crate) status: MemberStatus,
    pub(crate) link: Option<L>,
    pub(crate) traffic: Traffic,
}

impl<L: MemberLink> MemberEntry<L> {
    pub(super) fn new(
        configured: Option<PeerAddress>,
        address: Arc<str>,
        status: MemberStatus,
    ) -> Self {
        Self {
            configured,
            at: None,
            address,
            name: None,
            boot: None,
            status,
            link: None,
            reach: Reach::Untried,
            traffic: Traffic::default(),
        }
    }

    pub(super) fn live(&self) -> Option<&L> {
        self.link.as_ref().filter(|link| !link.is_closed())
    }

    pub(super) fn is_of(&self, peer: &PeerAddress) -> bool {
        self.configured.as_ref() == Some(peer)
    }

    /// Returns whether no link is here, and none is about to come back.
    pub(super) fn is_gone(&self) -> bool {
        let may_be_back = matches!(self.status, MemberStatus::Up | MemberStatus::Suspect { .. });
        self.live().is_none() && !may_be_back
    }

    pub(super) fn has(&self, link: LinkId) -> bool {
        self.link
            .as_ref()
            .is_some_and(|own| own.identity().id == link)
    }

    pub(super) fn drop_link(&mut self) -> Option<L> {
        let link = self.link.take()?;
        self.traffic = self.traffic.plus(link.traffic());
        Some(link)
    }

    pub(super) fn label(&self) -> Option<MemberLabel> {
        Some(MemberLabel {
            name: Arc::clone(self.name.as_ref()?),
            address: Arc::clone(&self.address),
        })
    }

    pub(super) fn row(&self) -> MemberRow<L> {
        let link = self.live();
        MemberRow {
            name: self.name.clone(),
            address: Arc::clone(&self.address),
            status: match (self.status, self.reach) {
                (
                    MemberStatus::Unreached | MemberStatus::Suspect { .. } | MemberStatus::Down,
                    Reach::Refused | Reach::Replaced,
                ) => MemberStatus::Refused,
                (status, _) => status,
            },
            traffic: link.map_or(self.traffic, |link| link.traffic().plus(self.traffic)),
            link: link.cloned(),
        }
    }
}

//! One member in the table.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    cluster::{
        link::{LinkId, MemberLink, Traffic},
        source::Source,
    },
    config::PeerAddress,
    session::BootId,
    wire::Refusal,
};

/// What is known of one member.
#[derive(Debug)]
pub(super) struct MemberEntry<L> {
    /// What this node dials it for, if it does.
    pub(super) source: Option<Source>,
    /// Which address of the source this is, once they are known. A name may have several and stand
    /// for several members.
    pub(super) at: Option<SocketAddr>,
    /// Where others can dial it, as far as it is known.
    pub(super) contact: Option<PeerAddress>,
    /// As it is shown.
    pub(super) address: Arc<str>,
    pub(super) name: Option<Arc<str>>,
    pub(super) boot: Option<BootId>,
    pub(super) status: MemberStatus,
    pub(super) link: Option<L>,
    /// When it was heard last over a link that is gone, in monotonic milliseconds.
    pub(super) lost_ms: Option<u64>,
    /// What came of the last full dial, if no link did.
    pub(super) reach: Reach,
    /// What went over links that are gone.
    pub(super) traffic: Traffic,
}

/// What a full dial of a configured peer has found where no link came of it. The later ones are
/// better reasons to believe that a member may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// A node of another cluster is there, which a discovery has found as well.
    Foreign,
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

impl Reach {
    /// Returns what a refusal tells of an address that was dialled for `source`. A discovery may find
    /// the nodes of several clusters. Whom the operator has listed should be of this one.
    pub(crate) const fn of_refusal(refusal: &Refusal, source: &Source) -> Self {
        match refusal {
            Refusal::NameTaken { .. } => Self::Replaced,
            Refusal::NotAHello => Self::Mute,
            Refusal::WrongCluster { .. } if !source.is_listed() => Self::Foreign,
            _ => Self::Refused,
        }
    }
}

/// How it stands with an address that another member has told of. The later ones count, of several
/// addresses of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    /// No member was met there.
    Nobody,
    /// One was, and is gone for as long as it is looked for.
    Gone,
    /// It is this node, or one of another cluster.
    Wrong,
    /// A member is there, or may be back.
    Here,
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
    pub(super) fn new(source: Option<Source>, address: Arc<str>) -> Self {
        Self {
            source,
            at: None,
            contact: None,
            address,
            name: None,
            boot: None,
            status: MemberStatus::Unreached,
            link: None,
            lost_ms: None,
            reach: Reach::Untried,
            traffic: Traffic::default(),
        }
    }

    pub(super) fn live(&self) -> Option<&L> {
        self.link.as_ref().filter(|link| !link.is_closed())
    }

    pub(super) fn is_of(&self, source: &Source) -> bool {
        self.source.as_ref() == Some(source)
    }

    /// Returns whether the operator expects a member here.
    pub(super) fn is_configured(&self) -> bool {
        self.source.as_ref().is_some_and(Source::is_configured)
    }

    /// Returns whether nobody but another member says that somebody is here.
    pub(super) fn is_hearsay(&self) -> bool {
        self.boot.is_none() && matches!(self.source, Some(Source::Told(_)))
    }

    /// Returns whether no link is here, and none is about to come back.
    pub(super) fn is_gone(&self) -> bool {
        let may_be_back = matches!(self.status, MemberStatus::Up | MemberStatus::Suspect { .. });
        self.live().is_none() && !may_be_back
    }

    /// Returns whether a member that was here is gone for as long as it is looked for.
    pub(super) fn is_forgotten(&self, forget_after_ms: u64, mono_ms: u64) -> bool {
        let has_passed = |lost_ms: u64| lost_ms.saturating_add(forget_after_ms) <= mono_ms;
        self.is_gone() && self.lost_ms.is_some_and(has_passed)
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

//! Leaving: what living peers lack of what this node has is handed over before the goodbye.
//!
//! A node that leaves may be the only one that has something: what a peer missed that lagged or was
//! stopped, what another one has yet to get that joins, what a third one wrote that is gone. So every
//! peer acknowledges all changes, and compares all it has in a complete round. One that joins does
//! that itself.
//!
//! The node looks at its links until nobody lacks anything, or `leave_timeout` is over.

use std::{collections::BTreeSet, fmt};

use super::link::LinkId;
use crate::{
    replica::{Arrears, PeersTransfer},
    session::Mutant,
    wire::Position,
};

/// The state of one node's leave.
#[derive(Debug)]
pub(crate) struct Handover {
    upto: Option<Position>,
    /// Whether this node may have what peers lack besides its own changes: not while it joins.
    compares: bool,
    /// The links on which a round was asked for.
    compared: BTreeSet<LinkId>,
}

/// Something that a peer lacks, or may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outstanding {
    /// It had a link a moment ago, or one that it has yet to speak on.
    Link,
    /// It has not acknowledged so many changes.
    Changes(u64),
    /// It joins, and has yet to get all sessions.
    Transfer,
    /// It has not merged what a comparison has found, or none is over.
    Repair,
}

impl Handover {
    /// Begins to hand over all changes up to a position.
    pub(crate) const fn new(upto: Option<Position>, compares: bool) -> Self {
        Self {
            upto,
            compares,
            compared: BTreeSet::new(),
        }
    }

    pub(crate) const fn upto(&self) -> Option<Position> {
        self.upto
    }

    /// Returns whether a complete round is to be asked for on a link now. It is, once.
    pub(crate) fn begin_round(&mut self, link: LinkId, arrears: &Arrears) -> bool {
        let is_ready = arrears.transfer == PeersTransfer::Over;
        self.compares && is_ready && self.compared.insert(link)
    }

    /// Returns what the peer at the other end of a link lacks.
    pub(crate) fn outstanding(&self, link: LinkId, arrears: &Arrears) -> Option<Outstanding> {
        let is_compared = self.compared.contains(&link) && arrears.is_compared;
        if Mutant::LeaveBehind.is_on() {
            return (arrears.changes > 0 && !arrears.is_lagging).then_some(Outstanding::Link);
        }
        if !arrears.is_open {
            Some(Outstanding::Link)
        } else if arrears.changes > 0 {
            Some(Outstanding::Changes(arrears.changes))
        } else if arrears.has_repairs {
            Some(Outstanding::Repair)
        } else if !self.compares || is_compared {
            None
        } else if arrears.transfer == PeersTransfer::Over {
            Some(Outstanding::Repair)
        } else {
            (!arrears.is_equal && !Mutant::LeaveJoiners.is_on()).then_some(Outstanding::Transfer)
        }
    }
}

impl fmt::Display for Outstanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link => f.write_str("has no link"),
            Self::Changes(changes) => write!(f, "has not acknowledged [{changes}] changes"),
            Self::Transfer => f.write_str("is still joining"),
            Self::Repair => f.write_str("is still being repaired"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkId = LinkId(1);

    const NOTHING: Arrears = Arrears {
        is_open: true,
        is_lagging: false,
        changes: 0,
        has_repairs: false,
        is_compared: false,
        is_equal: false,
        transfer: PeersTransfer::Over,
    };

    fn handover() -> Handover {
        Handover::new(Position::new(9), true)
    }

    #[test]
    fn ready_peer_has_everything_after_one_complete_round() {
        let mut handover = handover();
        // The round of a join may have ended before.
        let compared = Arrears {
            is_compared: true,
            ..NOTHING
        };
        assert_eq!(
            handover.outstanding(LINK, &compared),
            Some(Outstanding::Repair)
        );
        assert!(handover.begin_round(LINK, &compared));
        assert!(!handover.begin_round(LINK, &NOTHING), "once");
        assert_eq!(
            handover.outstanding(LINK, &NOTHING),
            Some(Outstanding::Repair)
        );
        assert_eq!(handover.outstanding(LINK, &compared), None);
        // Another link of the same peer is compared anew.
        assert!(handover.begin_round(LinkId(2), &NOTHING));
    }

    #[test]
    fn what_is_on_its_way_is_waited_for() {
        let mut handover = handover();
        handover.begin_round(LINK, &NOTHING);
        let done = Arrears {
            is_compared: true,
            ..NOTHING
        };
        let lagging = Arrears {
            changes: 3,
            is_lagging: true,
            ..done
        };
        assert_eq!(
            handover.outstanding(LINK, &lagging),
            Some(Outstanding::Changes(3))
        );
        let supplied = Arrears {
            has_repairs: true,
            ..done
        };
        assert_eq!(
            handover.outstanding(LINK, &supplied),
            Some(Outstanding::Repair)
        );
        let mute = Arrears {
            is_open: false,
            ..done
        };
        assert_eq!(handover.outstanding(LINK, &mute), Some(Outstanding::Link));
    }

    #[test]
    fn joining_peer_has_everything_when_it_is_equal_or_ready_and_compared() {
        let mut handover = handover();
        let joining = Arrears {
            transfer: PeersTransfer::UnderWay { settled_hops: 0 },
            ..NOTHING
        };
        assert!(!handover.begin_round(LINK, &joining), "it compares itself");
        assert_eq!(
            handover.outstanding(LINK, &joining),
            Some(Outstanding::Transfer)
        );
        let equal = Arrears {
            is_equal: true,
            ..joining
        };
        assert_eq!(handover.outstanding(LINK, &equal), None);
        assert!(handover.begin_round(LINK, &NOTHING));
    }

    #[test]
    fn node_that_joins_itself_has_nothing_but_its_changes() {
        let mut handover = Handover::new(Position::new(9), false);
        assert!(!handover.begin_round(LINK, &NOTHING));
        assert_eq!(handover.outstanding(LINK, &NOTHING), None);
        let behind = Arrears {
            changes: 1,
            ..NOTHING
        };
        assert_eq!(
            handover.outstanding(LINK, &behind),
            Some(Outstanding::Changes(1))
        );
    }
}

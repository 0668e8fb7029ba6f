//! Which of two links stays.

use std::cmp::Ordering;

use super::link::Dialler;
use crate::session::Mutant;

/// The link that a pair of boots has when a second one comes up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Existing {
    pub(super) dialler: Dialler,
    /// Nothing was heard on it for longer than an honest peer is silent, or it is nearly as old as it
    /// may be.
    pub(super) may_go: bool,
}

/// Returns whether the existing link stays and the new one goes. `own` is how this node's boot id
/// compares with the peer's.
///
/// Both ends must come to the same answer when they dial each other at once, so the one dialled by
/// the lower boot id stays. Otherwise the two ends know different things. Who dials has no live link
/// as far as it knows, so an existing one that it dialled earlier is dead. Who finds at the end of
/// its own dial that there is a link gives way.
pub(super) fn stays(existing: Existing, new: Dialler, own: Ordering) -> bool {
    if existing.may_go {
        return false;
    }
    match (existing.dialler, new) {
        (Dialler::Us | Dialler::Them, Dialler::Us) => true,
        (Dialler::Them, Dialler::Them) => false,
        (Dialler::Us, Dialler::Them) => own.is_lt() || Mutant::KeepOwnDial.is_on(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn alive(dialler: Dialler) -> Existing {
        Existing {
            dialler,
            may_go: false,
        }
    }

    #[test]
    fn of_two_crossing_dials_the_lower_boots_stays_at_both_ends() {
        let at_the_lower_end = stays(alive(Dialler::Us), Dialler::Them, Ordering::Less);
        let at_the_higher_end = stays(alive(Dialler::Us), Dialler::Them, Ordering::Greater);
        assert!(at_the_lower_end && !at_the_higher_end);
    }

    #[test]
    fn peer_that_dials_again_has_lost_its_earlier_link() {
        for own in [Ordering::Less, Ordering::Greater] {
            assert!(!stays(alive(Dialler::Them), Dialler::Them, own));
        }
    }

    #[test]
    fn own_dial_gives_way_to_a_link_that_lives() {
        for existing in [Dialler::Us, Dialler::Them] {
            for own in [Ordering::Less, Ordering::Greater] {
                assert!(stays(alive(existing), Dialler::Us, own));
            }
        }
    }

    #[test]
    fn link_that_is_silent_or_too_old_never_stays() {
        for dialler in [Dialler::Us, Dialler::Them] {
            for new in [Dialler::Us, Dialler::Them] {
                let existing = Existing {
                    dialler,
                    may_go: true,
                };
                assert!(!stays(existing, new, Ordering::Less));
            }
        }
    }
}

//! Which of two links stays.

use crate::node::peers::link::Dialler;

/// Which of two links between the same two boots stays. Both ends must come to the same answer when
/// they dial each other at once, so the one dialled by the lower boot id stays. Otherwise the two
/// ends know different things: who dials has no live link as far as it knows, so an existing one
/// that it dialled earlier is dead; and who finds at the end of its own dial that there is a link
/// gives way.
pub(super) fn stays(
    existing: Dialler,
    new: Dialler,
    we_are_lower: bool,
    existing_is_silent: bool,
) -> bool {
    if existing_is_silent {
        return false;
    }
    match (existing, new) {
        (Dialler::Us | Dialler::Them, Dialler::Us) => true,
        (Dialler::Them, Dialler::Them) => false,
        (Dialler::Us, Dialler::Them) => we_are_lower,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_crossing_dials_the_lower_boots_stays_at_both_ends() {
        let at_the_lower_end = stays(Dialler::Us, Dialler::Them, true, false);
        let at_the_higher_end = stays(Dialler::Us, Dialler::Them, false, false);
        assert!(at_the_lower_end && !at_the_higher_end);
    }

    #[test]
    fn peer_that_dials_again_has_lost_its_earlier_link() {
        assert!(!stays(Dialler::Them, Dialler::Them, true, false));
        assert!(!stays(Dialler::Them, Dialler::Them, false, false));
    }

    #[test]
    fn own_dial_gives_way_to_a_link_that_lives() {
        for existing in [Dialler::Us, Dialler::Them] {
            for lower in [true, false] {
                assert!(stays(existing, Dialler::Us, lower, false));
            }
        }
    }

    #[test]
    fn silent_link_never_stays() {
        for existing in [Dialler::Us, Dialler::Them] {
            for new in [Dialler::Us, Dialler::Them] {
                assert!(!stays(existing, new, true, true));
            }
        }
    }
}

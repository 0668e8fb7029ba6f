//! The secrets a session has had: which one opens it, and which ones are burnt.

use super::{Mutant, Now, Origin, SecretHash, Stamp, Tag};

/// A grow-only set of secret hashes, each alive or dead; dead absorbs. Sorted by hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SecretSet(Vec<SecretState>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SecretState {
    pub(crate) hash: SecretHash,
    /// The write that made it what it is: its creation while alive, its death when dead.
    pub(crate) tag: Tag,
    /// Monotonic milliseconds of its death on this node.
    pub(crate) dead_at_ms: Option<u64>,
}

/// The worth of a secret that a client presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It opens the session.
    Alive,
    /// `cycle_id` replaced it less than a minute ago: a straggler.
    Superseded,
    /// `cycle_id` replaced it before that. Its client has long got another one.
    Replaced,
    /// There is such a session, and it has never had this secret, or has forgotten it.
    Forged,
    /// There is no such session.
    Unknown,
}

/// Dead secrets a session remembers at most.
pub(crate) const MAX_DEAD: usize = 64;

/// The time for which the holder of a replaced secret counts as a straggler.
const STRAGGLER_MS: u64 = 60_000;

impl SecretSet {
    pub(crate) fn new(hash: SecretHash, tag: Tag) -> Self {
        Self(vec![SecretState {
            hash,
            tag,
            dead_at_ms: None,
        }])
    }

    /// Returns a set from the wire, `None` unless it is sorted by hash without repetition.
    pub(crate) fn from_sorted(states: Vec<SecretState>) -> Option<Self> {
        let ordered = states.windows(2).all(|pair| pair[0].hash < pair[1].hash);
        ordered.then_some(Self(states))
    }

    pub(crate) fn states(&self) -> &[SecretState] {
        &self.0
    }

    /// Returns what a presented secret is worth. It looks at every one whatever it finds, so that
    /// the time taken tells nothing.
    pub(crate) fn presented(&self, hash: &SecretHash, now: Now) -> Access {
        self.0
            .iter()
            .filter(|state| state.hash.is(hash))
            .fold(Access::Forged, |_, state| match state.dead_at_ms {
                None => Access::Alive,
                Some(at) if now.mono_ms.saturating_sub(at) < STRAGGLER_MS => Access::Superseded,
                Some(_) => Access::Replaced,
            })
    }

    /// Replaces every living secret by `hash`.
    pub(super) fn cycle(&mut self, hash: SecretHash, tag: Tag, now: Now) {
        for state in self.0.iter_mut().filter(|state| state.dead_at_ms.is_none()) {
            state.tag = tag;
            state.dead_at_ms = Some(now.mono_ms);
        }
        let alive = SecretState {
            hash,
            tag,
            dead_at_ms: None,
        };
        self.merge_state(alive, tag.origin);
    }

    #[cfg(any(test, feature = "durable"))]
    pub(super) fn end_deaths_by(&mut self, latest_ms: u64) {
        for state in &mut self.0 {
            state.dead_at_ms = state.dead_at_ms.map(|at_ms| at_ms.min(latest_ms));
        }
    }

    /// Merges another copy's secrets. Returns the latest of `own`'s stamps that the other copy's
    /// writes have beaten, zero when none was.
    pub(super) fn merge(&mut self, incoming: &Self, own: Origin) -> Stamp {
        incoming
            .0
            .iter()
            .map(|state| self.merge_state(*state, own))
            .max()
            .unwrap_or(Stamp::ZERO)
    }

    fn merge_state(&mut self, incoming: SecretState, own: Origin) -> Stamp {
        let at = match self
            .0
            .binary_search_by_key(&incoming.hash, |state| state.hash)
        {
            Ok(at) => at,
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, incoming);
                return Stamp::ZERO;
            }
        };
        let held = &mut self.0[at];
        let before = held.tag;
        match (held.dead_at_ms, incoming.dead_at_ms) {
            (_, None) if Mutant::ReviveSecrets.is_on() => *held = incoming,
            (_, None) => {}
            (None, Some(_)) => *held = incoming,
            // The same death reported twice keeps its age, two deaths at once the later tag.
            (Some(ours), Some(theirs)) => {
                held.dead_at_ms = Some(ours.min(theirs));
                held.tag = held.tag.max(incoming.tag);
            }
        }
        if before.origin == own && held.tag != before {
            before.stamp
        } else {
            Stamp::ZERO
        }
    }

    /// Forgets the dead that were killed before, and the longest dead beyond [`MAX_DEAD`]. Returns
    /// the latest of `own`'s stamps among them.
    pub(super) fn forget(&mut self, before: Stamp, own: Origin) -> Stamp {
        let mut lost = Stamp::ZERO;
        let mut dead: Vec<Tag> = self.dead().map(|state| state.tag).collect();
        if dead.is_empty() {
            return lost;
        }
        dead.sort_unstable();
        let surplus = dead.len().saturating_sub(MAX_DEAD);
        let oldest_kept = dead.get(surplus).copied().unwrap_or(Tag::BOTTOM);
        self.0.retain(|state| {
            let old = state.tag.stamp < before || state.tag < oldest_kept;
            let forgotten = state.dead_at_ms.is_some() && old;
            if forgotten && state.tag.origin == own {
                lost = lost.max(state.tag.stamp);
            }
            !forgotten
        });
        lost
    }

    /// Drops the secrets that another copy has `seen` and does not have: it has forgotten their
    /// death, and a living one must not come back. Returns the latest of `own`'s stamps among them.
    pub(super) fn drop_forgotten(
        &mut self,
        other: &Self,
        seen: impl Fn(Tag) -> bool,
        own: Origin,
    ) -> Stamp {
        let mut lost = Stamp::ZERO;
        self.0.retain(|state| {
            let known = other.0.iter().any(|held| held.hash == state.hash);
            let forgotten = !known && seen(state.tag);
            if forgotten && state.tag.origin == own {
                lost = lost.max(state.tag.stamp);
            }
            !forgotten
        });
        lost
    }

    fn dead(&self) -> impl Iterator<Item = &SecretState> {
        self.0.iter().filter(|state| state.dead_at_ms.is_some())
    }

    pub(super) fn written_by(&self, origin: Origin, since: Stamp) -> Self {
        let written = |state: &&SecretState| state.tag.origin == origin && state.tag.stamp > since;
        Self(self.0.iter().filter(written).copied().collect())
    }
}

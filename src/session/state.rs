//! A session as one node holds it: mergeable state and the local instants beside it.

use std::sync::Arc;

use super::{
    Content, Counter, CreatedMs, GcHorizon, KEPT_ORIGINS, Now, Origin, Register, Route, SecretHash,
    SecretSet, SessionKey, Stamp, Tag, Tombstone, Vector, WrongKind,
};
use crate::config::Expiry;

/// What is fixed when a session is created, the same in every copy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionMeta {
    /// Which app's session it is; contexts never mix.
    pub(crate) context: Arc<str>,
    pub(crate) route: Option<Route>,
    /// The limits of the layer that created it, until `set_expiry`.
    pub(crate) expiry: Expiry,
}

impl SessionMeta {
    /// How long an origin that writes no more is remembered: as long as a tombstone of a session
    /// with these limits. Fixed at birth, so that all nodes reckon alike.
    pub(crate) fn memory_ms(&self) -> u64 {
        Tombstone::new(self.expiry, 0).keep_ms
    }
}

/// Bytes of a context's name at most.
pub(crate) const MAX_CONTEXT_LENGTH: usize = 64;

/// A live session. Instants are monotonic milliseconds of this node; they travel as ages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionState {
    pub(super) birth: Arc<SessionMeta>,
    pub(super) created_ms: u64,
    pub(super) vector: Vector,
    /// Last access: the stamp of whoever touched, merged by max. The instant beside it is set only
    /// when the stamp advances.
    pub(super) access: Stamp,
    pub(super) accessed_ms: u64,
    /// Sorted by name.
    pub(super) slots: Vec<(Arc<str>, Register)>,
    pub(super) secrets: SecretSet,
    pub(super) expiry: Option<(Tag, Expiry)>,
}

/// What a session arrives as.
#[derive(Debug)]
pub(crate) struct SessionParts {
    pub(crate) birth: Arc<SessionMeta>,
    pub(crate) created: CreatedMs,
    pub(crate) vector: Vector,
    pub(crate) access: Stamp,
    pub(crate) accessed_ms: u64,
    /// Sorted by name.
    pub(crate) slots: Vec<(Arc<str>, Register)>,
    pub(crate) secrets: SecretSet,
    pub(crate) expiry: Option<(Tag, Expiry)>,
}

/// Bytes a name or value costs beside itself, for the size limit.
pub(crate) const REGISTER_OVERHEAD: usize = 64;

impl SessionState {
    pub(crate) fn new(birth: Arc<SessionMeta>, secret: SecretHash, tag: Tag, now: Now) -> Self {
        let mut vector = Vector::default();
        vector.raise(tag.origin, tag.stamp);
        Self {
            birth,
            created_ms: now.mono_ms,
            vector,
            access: tag.stamp,
            accessed_ms: now.mono_ms,
            slots: Vec::new(),
            secrets: SecretSet::new(secret, tag),
            expiry: None,
        }
    }

    pub(crate) fn from_parts(parts: SessionParts) -> Self {
        Self {
            birth: parts.birth,
            created_ms: parts.created.0,
            vector: parts.vector,
            access: parts.access,
            accessed_ms: parts.accessed_ms,
            slots: parts.slots,
            secrets: parts.secrets,
            expiry: parts.expiry,
        }
    }

    #[cfg(test)]
    pub(crate) fn into_parts(self) -> SessionParts {
        SessionParts {
            birth: self.birth,
            created: CreatedMs(self.created_ms),
            vector: self.vector,
            access: self.access,
            accessed_ms: self.accessed_ms,
            slots: self.slots,
            secrets: self.secrets,
            expiry: self.expiry,
        }
    }

    /// Shares the birth with other sessions of the same app.
    pub(crate) fn set_birth(&mut self, birth: Arc<SessionMeta>) {
        self.birth = birth;
    }

    pub(crate) fn slots(&self) -> &[(Arc<str>, Register)] {
        &self.slots
    }

    pub(crate) const fn expiry_register(&self) -> Option<(Tag, Expiry)> {
        self.expiry
    }

    pub(crate) const fn birth(&self) -> &Arc<SessionMeta> {
        &self.birth
    }

    pub(crate) const fn vector(&self) -> &Vector {
        &self.vector
    }

    pub(crate) const fn secrets(&self) -> &SecretSet {
        &self.secrets
    }

    pub(crate) const fn created_ms(&self) -> u64 {
        self.created_ms
    }

    pub(crate) const fn access(&self) -> Stamp {
        self.access
    }

    pub(crate) const fn accessed_ms(&self) -> u64 {
        self.accessed_ms
    }

    pub(crate) fn expiry(&self) -> Expiry {
        self.expiry.map_or(self.birth.expiry, |(_, expiry)| expiry)
    }

    pub(crate) fn public_id(&self, key: &SessionKey) -> String {
        key.public_id(self.birth.route.as_ref())
    }

    pub(crate) fn slot(&self, name: &str) -> Option<&Register> {
        self.position(name).ok().map(|at| &self.slots[at].1)
    }

    pub(crate) fn json(&self, name: &str) -> Result<Option<&Arc<[u8]>>, WrongKind> {
        self.slot(name).map_or(Ok(None), Register::json)
    }

    pub(crate) fn count(&self, name: &str) -> Result<i64, WrongKind> {
        self.slot(name).map_or(Ok(0), Register::count)
    }

    /// Names of attributes and counters that are there, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.slots
            .iter()
            .filter(|(_, slot)| slot.is_live())
            .map(|(name, _)| name)
    }

    /// Names including removed ones that are still remembered.
    pub(crate) fn remembered_names(&self) -> usize {
        self.slots.len()
    }

    /// What the session counts against its size limit.
    pub(crate) fn weight(&self) -> usize {
        self.slots
            .iter()
            .map(|(name, slot)| name.len() + slot.weight() + REGISTER_OVERHEAD)
            .sum()
    }

    /// The stamp of the next write, `None` when they are used up.
    pub(crate) fn next_stamp(&self, now: Now) -> Option<Stamp> {
        self.vector.max_stamp().next(now)
    }

    pub(crate) fn set(&mut self, name: &str, value: Arc<[u8]>, tag: Tag) {
        self.put(name, tag, Content::Json(value));
    }

    pub(crate) fn remove(&mut self, name: &str, tag: Tag) {
        self.put(name, tag, Content::Removed);
    }

    pub(crate) fn add(&mut self, name: &str, by: i64, origin: Origin, stamp: Stamp) {
        let at = match self.position(name) {
            Ok(at) => at,
            Err(at) => {
                let content = Content::Counter(Counter::default());
                let tag = Tag::BOTTOM;
                self.slots
                    .insert(at, (name.into(), Register { tag, content }));
                at
            }
        };
        let content = &mut self.slots[at].1.content;
        if *content == Content::Removed {
            *content = Content::Counter(Counter::default());
        }
        if let Content::Counter(counter) = content {
            counter.add(origin, stamp, by);
            self.vector.raise(origin, stamp);
        }
    }

    pub(crate) fn set_expiry(&mut self, expiry: Expiry, tag: Tag) {
        self.expiry = Some((tag, expiry));
        self.vector.raise(tag.origin, tag.stamp);
    }

    /// Replaces the secret that opens the session.
    pub(crate) fn cycle(&mut self, secret: SecretHash, tag: Tag, now: Now) {
        self.secrets.cycle(secret, tag, now);
        self.vector.raise(tag.origin, tag.stamp);
    }

    /// Records use, so that every node keeps the session.
    pub(crate) fn touch(&mut self, now: Now) {
        if let Some(stamp) = self.access.next(now) {
            self.access = stamp;
        }
        self.accessed_ms = now.mono_ms;
    }

    /// No write that shows in the session has an older stamp, nor has its last use.
    pub(crate) fn oldest_stamp(&self) -> Stamp {
        let entries = self.vector.entries().iter().map(|entry| entry.1);
        let slots = self.slots.iter().map(|(_, slot)| slot.oldest_stamp());
        let secrets = self.secrets.states().iter().map(|state| state.tag.stamp);
        let expiry = self.expiry.map(|(tag, _)| tag.stamp);
        let all = entries.chain(slots).chain(secrets).chain(expiry);
        all.fold(self.access, Stamp::min)
    }

    /// Whether this copy holds the write, or one that beats it.
    pub(crate) fn covers(&self, tag: Tag) -> bool {
        self.vector.covers(tag) || tag.stamp < self.floor()
    }

    fn horizon(&self) -> GcHorizon {
        self.vector.horizon(self.birth.memory_ms())
    }

    /// Writes from before are covered whoever made them.
    pub(crate) fn floor(&self) -> Stamp {
        self.vector.floor(self.birth.memory_ms())
    }

    /// Forgets what is remembered only to ward off older writes, once it is older than a tombstone
    /// would be: origins that are gone, whose counts are added up, removed names, and dead secrets.
    /// Reckoned from the vector, so that nodes with equal vectors forget alike. Returns the latest
    /// of `own`'s stamps that no longer shows.
    pub(crate) fn settle(&mut self, horizon: GcHorizon, own: Origin) -> Stamp {
        let GcHorizon { floor, before } = horizon;
        if self.vector.prune(floor) {
            let Self { vector, slots, .. } = self;
            for (_, slot) in slots {
                if let Content::Counter(counter) = &mut slot.content {
                    counter.settle(|origin| vector.of(origin) == Stamp::ZERO);
                }
            }
        }
        let mut lost = self.secrets.forget(before, own);
        self.slots.retain(|(_, slot)| {
            let forgotten = slot.content == Content::Removed && slot.tag.stamp < before;
            if forgotten {
                lost = lost.max(slot.stamp_of(own));
            }
            !forgotten
        });
        lost
    }

    /// [Settles](Self::settle) a copy that is joined with no other.
    pub(crate) fn settle_alone(&mut self, own: Origin) -> Stamp {
        if !self.remembers_the_past() {
            return Stamp::ZERO;
        }
        self.settle(self.horizon(), own)
    }

    /// Whether [`settle`](Self::settle) could find something to forget: nearly no session has it.
    fn remembers_the_past(&self) -> bool {
        self.vector.entries().len() >= KEPT_ORIGINS
            || self
                .secrets
                .states()
                .iter()
                .any(|state| state.dead_at_ms.is_some())
            || self.slots.iter().any(|(_, slot)| !slot.is_live())
    }

    pub(super) fn position(&self, name: &str) -> Result<usize, usize> {
        self.slots.binary_search_by(|(held, _)| (**held).cmp(name))
    }

    fn put(&mut self, name: &str, tag: Tag, content: Content) {
        let slot = Register { tag, content };
        match self.position(name) {
            Ok(at) => self.slots[at].1 = slot,
            Err(at) => {
                self.slots.reserve_exact(1);
                self.slots.insert(at, (name.into(), slot));
            }
        }
        self.vector.raise(tag.origin, tag.stamp);
    }
}

//! A session as one node holds it: mergeable state, and the local instants beside it.

use std::sync::Arc;

use super::{
    Content, Counter, GcHorizon, KEPT_ORIGINS, Mutant, Now, Origin, Register, Route, SecretHash,
    SecretSet, SessionKey, Stamp, Tag, Tombstone, Vector, WrongKind, register_weight,
};
use crate::config::Expiry;

/// The immutable part of a session, the same in every copy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionMeta {
    /// Which app's session it is; contexts never mix.
    pub(crate) context: Arc<str>,
    pub(crate) route: Option<Route>,
    /// The limits of the layer that created it, until `set_expiry`.
    pub(crate) expiry: Expiry,
}

impl SessionMeta {
    /// Returns how long an origin that writes no more is remembered: as long as a tombstone of a
    /// session with these limits. It is fixed at creation, so that all nodes reckon alike.
    pub(crate) fn gc_grace_ms(&self) -> u64 {
        Tombstone::new(self.expiry, 0).keep_ms
    }
}

/// Bytes of removed attributes that a session remembers at most, weighed as attributes are. Tests
/// want few.
pub(crate) const MAX_REMOVED_BYTES: usize = if cfg!(test) {
    3 * register_weight("a", 0)
} else {
    16 * 1024
};

/// A session that is not destroyed. Instants are monotonic milliseconds of this node; they travel
/// as ages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionState {
    pub(super) meta: Arc<SessionMeta>,
    pub(super) created_ms: u64,
    pub(super) vector: Vector,
    /// Last access: the stamp of whoever touched, merged by max. The instant beside it is set only
    /// when the stamp advances.
    pub(super) access: Stamp,
    pub(super) accessed_ms: u64,
    /// Sorted by name.
    pub(super) registers: Vec<(Arc<str>, Register)>,
    pub(super) secrets: SecretSet,
    pub(super) life: Option<(Tag, Life)>,
}

/// The parts of a session that arrives.
#[derive(Debug)]
pub(crate) struct SessionParts {
    pub(crate) meta: Arc<SessionMeta>,
    pub(crate) created: CreatedMs,
    pub(crate) vector: Vector,
    pub(crate) access: Stamp,
    pub(crate) accessed_ms: u64,
    /// Sorted by name.
    pub(crate) registers: Vec<(Arc<str>, Register)>,
    pub(crate) secrets: SecretSet,
    pub(crate) life: Option<(Tag, Life)>,
}

/// What the session's own setters have said of its life. It is one register, so that what belongs
/// together wins together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) expiry: Expiry,
    /// Whether the client's cookie outlives its browser; `None` as the layer says.
    pub(crate) persistent: Option<bool>,
}

/// The local instant of creation, in monotonic milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CreatedMs(pub(crate) u64);

impl SessionState {
    pub(crate) fn new(meta: Arc<SessionMeta>, secret: SecretHash, tag: Tag, now: Now) -> Self {
        let mut vector = Vector::default();
        vector.raise(tag.origin, tag.stamp);
        Self {
            meta,
            created_ms: now.mono_ms,
            vector,
            access: tag.stamp,
            accessed_ms: now.mono_ms,
            registers: Vec::new(),
            secrets: SecretSet::new(secret, tag),
            life: None,
        }
    }

    pub(crate) fn from_parts(parts: SessionParts) -> Self {
        Self {
            meta: parts.meta,
            created_ms: parts.created.0,
            vector: parts.vector,
            access: parts.access,
            accessed_ms: parts.accessed_ms,
            registers: parts.registers,
            secrets: parts.secrets,
            life: parts.life,
        }
    }

    #[cfg(test)]
    pub(crate) fn into_parts(self) -> SessionParts {
        SessionParts {
            meta: self.meta,
            created: CreatedMs(self.created_ms),
            vector: self.vector,
            access: self.access,
            accessed_ms: self.accessed_ms,
            registers: self.registers,
            secrets: self.secrets,
            life: self.life,
        }
    }

    /// Shares the immutable part with other sessions of the same app.
    pub(crate) fn set_meta(&mut self, meta: Arc<SessionMeta>) {
        self.meta = meta;
    }

    pub(crate) fn registers(&self) -> &[(Arc<str>, Register)] {
        &self.registers
    }

    pub(crate) const fn life(&self) -> Option<(Tag, Life)> {
        self.life
    }

    pub(crate) const fn meta(&self) -> &Arc<SessionMeta> {
        &self.meta
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
        self.life.map_or(self.meta.expiry, |(_, life)| life.expiry)
    }

    /// Returns whether the client's cookie outlives its browser; `None` as the layer says.
    pub(crate) fn persistent(&self) -> Option<bool> {
        self.life.and_then(|(_, life)| life.persistent)
    }

    /// Returns whether the session has reached its limit of age, from which on nobody uses it.
    pub(crate) fn is_too_old(&self, now: Now) -> bool {
        self.end_of_age_ms()
            .is_some_and(|end_ms| now.mono_ms >= end_ms)
    }

    /// Returns the instant at which the session is too old, if there is one.
    pub(crate) fn end_of_age_ms(&self) -> Option<u64> {
        let limit = self.expiry().absolute_ms()?;
        Some(self.created_ms.saturating_add(limit))
    }

    pub(crate) fn public_id(&self, key: &SessionKey) -> String {
        key.public_id(self.meta.route.as_ref())
    }

    pub(crate) fn register(&self, name: &str) -> Option<&Register> {
        self.position(name).ok().map(|at| &self.registers[at].1)
    }

    pub(crate) fn json(&self, name: &str) -> Result<Option<&Arc<[u8]>>, WrongKind> {
        self.register(name).map_or(Ok(None), Register::json)
    }

    pub(crate) fn count(&self, name: &str) -> Result<i64, WrongKind> {
        self.register(name).map_or(Ok(0), Register::count)
    }

    /// Returns the names of attributes and counters that are there, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.registers
            .iter()
            .filter(|(_, register)| register.is_present())
            .map(|(name, _)| name)
    }

    /// Returns what the session counts against its size limit.
    pub(crate) fn weight(&self) -> usize {
        self.weight_of(Register::is_present)
    }

    fn weight_of(&self, counts: impl Fn(&Register) -> bool) -> usize {
        let counted = self.registers.iter().filter(|entry| counts(&entry.1));
        counted
            .map(|(name, register)| register.weight_as(name))
            .sum()
    }

    /// Returns the stamp of the next write, `None` when they are used up.
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
                self.registers
                    .insert(at, (name.into(), Register { tag, content }));
                at
            }
        };
        let content = &mut self.registers[at].1.content;
        if *content == Content::Removed {
            *content = Content::Counter(Counter::default());
        }
        if let Content::Counter(counter) = content {
            counter.add(origin, stamp, by);
            self.vector.raise(origin, stamp);
        }
    }

    pub(crate) fn set_expiry(&mut self, expiry: Expiry, tag: Tag) {
        let persistent = self.persistent();
        self.set_life(Life { expiry, persistent }, tag);
    }

    pub(crate) fn set_persistent(&mut self, persistent: bool, tag: Tag) {
        let expiry = self.expiry();
        let persistent = Some(persistent);
        self.set_life(Life { expiry, persistent }, tag);
    }

    fn set_life(&mut self, life: Life, tag: Tag) {
        self.life = Some((tag, life));
        self.vector.raise(tag.origin, tag.stamp);
    }

    /// Replaces the secret that opens the session.
    pub(crate) fn cycle(&mut self, secret: SecretHash, tag: Tag, now: Now) {
        self.secrets.cycle(secret, tag, now);
        self.vector.raise(tag.origin, tag.stamp);
    }

    /// Lets no secret die later than at this instant.
    #[cfg(any(test, feature = "durable"))]
    pub(crate) fn end_deaths_by(&mut self, latest_ms: u64) {
        self.secrets.end_deaths_by(latest_ms);
    }

    /// Records use, so that every node keeps the session.
    pub(crate) fn touch(&mut self, now: Now) {
        self.confirm(now);
        self.accessed_ms = now.mono_ms;
    }

    /// Records that the session is one that its client comes back to.
    ///
    /// The stamp of the last access says so: that of the creation is the clock's, with a count of
    /// zero, and that of a use never is. The later one stays when copies are merged, and all that
    /// are later than the creation are of uses. So what is confirmed stays so, on all nodes.
    pub(crate) fn confirm(&mut self, now: Now) {
        if let Some(stamp) = self.access.next(now) {
            self.access = stamp.of_visit();
        }
    }

    /// Returns whether the client is known to have come back.
    pub(crate) const fn is_confirmed(&self) -> bool {
        self.access.is_of_visit()
    }

    /// Returns a stamp that is older than none of the writes that show, nor the last use.
    pub(crate) fn oldest_stamp(&self) -> Stamp {
        let entries = self.vector.entries().iter().map(|entry| entry.1);
        let registers = self
            .registers
            .iter()
            .map(|(_, register)| register.oldest_stamp());
        let secrets = self.secrets.states().iter().map(|state| state.tag.stamp);
        let life = self.life.map(|(tag, _)| tag.stamp);
        let all = entries.chain(registers).chain(secrets).chain(life);
        all.fold(self.access, Stamp::min)
    }

    /// Returns whether this copy holds the write, or one that beats it.
    pub(crate) fn covers(&self, tag: Tag) -> bool {
        self.vector.covers(tag) || tag.stamp < self.watermark()
    }

    fn gc_horizon(&self) -> GcHorizon {
        self.vector.gc_horizon(self.meta.gc_grace_ms())
    }

    /// Returns the stamp before which writes are covered whoever made them.
    pub(crate) fn watermark(&self) -> Stamp {
        self.vector.watermark(self.meta.gc_grace_ms())
    }

    /// Forgets what is remembered only to ward off older writes: origins that are gone, whose counts
    /// are added up, and dead secrets, once they are older than a tombstone would be, and the oldest
    /// removals beyond [`MAX_REMOVED_BYTES`]. The horizon comes from the vector, so that nodes with
    /// equal vectors forget alike. Returns the latest of `own`'s stamps that no longer shows.
    pub(crate) fn collect_garbage(&mut self, gc_horizon: GcHorizon, own: Origin) -> Stamp {
        let GcHorizon { watermark, before } = gc_horizon;
        let written = self.vector.of(own);
        let mut lost = Stamp::ZERO;
        if self.vector.prune(watermark) {
            let Self {
                vector, registers, ..
            } = self;
            for (_, register) in registers {
                if let Content::Counter(counter) = &mut register.content {
                    counter.fold(|origin| vector.of(origin) == Stamp::ZERO);
                }
            }
            // No delta can claim what is not in the vector any more.
            if vector.of(own) == Stamp::ZERO && !Mutant::ClaimForgottenWrites.is_on() {
                lost = written;
            }
        }
        lost = lost.max(self.secrets.forget(before, own));
        lost.max(self.forget_removals(own))
    }

    /// Forgets the oldest removals beyond [`MAX_REMOVED_BYTES`].
    ///
    /// Not those of a certain age: a clock that is days ahead would let a node forget what others
    /// still need. Two copies with equal vectors may remember other removals all the same, and so
    /// differ when an older write comes late. Their versions differ then, too, and merging removes
    /// what either of them has seen and does not have.
    pub(super) fn forget_removals(&mut self, own: Origin) -> Stamp {
        let is_removal = |register: &Register| !register.is_present();
        self.keep_newest(is_removal, MAX_REMOVED_BYTES, usize::MAX, own)
    }

    /// Drops the attributes and counters that were written longest ago, until the others weigh no
    /// more than `max_bytes` and are no more than `max_attributes`. Returns the latest of `own`'s
    /// stamps that no longer shows, `None` when nothing was dropped.
    pub(crate) fn trim(
        &mut self,
        max_bytes: usize,
        max_attributes: usize,
        own: Origin,
    ) -> Option<Stamp> {
        let before = self.registers.len();
        let lost = self.keep_newest(Register::is_present, max_bytes, max_attributes, own);
        (self.registers.len() < before).then_some(lost)
    }

    /// Drops the oldest of the registers that are `limited`, until the others weigh no more than
    /// `max_bytes` and are no more than `max_count`. What stays is the same in whatever order
    /// copies are joined. Returns the latest of `own`'s stamps that no longer shows.
    fn keep_newest(
        &mut self,
        limited: impl Fn(&Register) -> bool,
        max_bytes: usize,
        max_count: usize,
        own: Origin,
    ) -> Stamp {
        let entries = || self.registers.iter().filter(|entry| limited(&entry.1));
        if self.weight_of(&limited) <= max_bytes && entries().count() <= max_count {
            return Stamp::ZERO;
        }
        // Honest writes have tags of their own. The names order those that have not.
        let age = |(name, register): &(Arc<str>, Register)| (register.latest_tag(), name.clone());
        let mut newest_first: Vec<_> = entries()
            .map(|entry| (age(entry), entry.1.weight_as(&entry.0)))
            .collect();
        newest_first.sort_unstable_by(|one, other| other.cmp(one));
        let mut bytes = 0;
        let fitting = newest_first.iter().take(max_count).take_while(|entry| {
            bytes += entry.1;
            bytes <= max_bytes
        });
        let oldest_kept = fitting.last().map(|entry| &entry.0);
        let mut lost = Stamp::ZERO;
        self.registers.retain(|entry| {
            let register = &entry.1;
            let is_kept = |oldest: &(Tag, Arc<str>)| age(entry) >= *oldest;
            let stays = !limited(register) || oldest_kept.is_some_and(is_kept);
            if !stays {
                lost = lost.max(register.stamp_of(own));
            }
            stays
        });
        lost
    }

    /// [Collects](Self::collect_garbage) what a copy may forget that is joined with no other.
    pub(crate) fn collect_garbage_alone(&mut self, own: Origin) -> Stamp {
        if !self.may_hold_garbage() {
            return Stamp::ZERO;
        }
        self.collect_garbage(self.gc_horizon(), own)
    }

    /// Returns whether [`collect_garbage`](Self::collect_garbage) could find something: nearly no
    /// session has it.
    fn may_hold_garbage(&self) -> bool {
        self.vector.entries().len() >= KEPT_ORIGINS
            || self
                .secrets
                .states()
                .iter()
                .any(|state| state.dead_at_ms.is_some())
            || self
                .registers
                .iter()
                .any(|(_, register)| !register.is_present())
    }

    pub(super) fn position(&self, name: &str) -> Result<usize, usize> {
        self.registers
            .binary_search_by(|(held, _)| (**held).cmp(name))
    }

    fn put(&mut self, name: &str, tag: Tag, content: Content) {
        let register = Register { tag, content };
        match self.position(name) {
            Ok(at) => self.registers[at].1 = register,
            Err(at) => {
                self.registers.reserve_exact(1);
                self.registers.insert(at, (name.into(), register));
            }
        }
        self.vector.raise(tag.origin, tag.stamp);
    }
}

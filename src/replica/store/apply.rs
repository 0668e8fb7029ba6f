//! What the store takes from peers.

use std::sync::Arc;

use super::{
    Store,
    expiry::{end_ms, limits_at, stale_ms},
    quota::{self, Needs, OverLimit},
    residency::HotEntry,
    shard::Shard,
};
use crate::replica::{
    change::{Change, ChangeKind},
    mutant,
    observer::Observer,
};
use crate::{
    config::Limits,
    session::{
        Content, Delta, Item, Now, PackedSession, PackedSummary, Register, SessionKey, SessionSize,
        SessionState, Tombstone, destroyed_version, session_version,
    },
};

/// The outcome of something a peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApplyOutcome {
    /// It is part of this replica now, or nothing new.
    Done,
    /// It builds on writes that are not here: ask for the full state.
    Refused,
    /// The session was destroyed: the peer must hear of it.
    Deleted(Tombstone),
}

impl Store {
    /// Merges what a peer sent, and tells the observer what that changed.
    ///
    /// # Errors
    ///
    /// When a limit is exceeded twofold. What arrived so is not merged; of what became so when
    /// copies were joined, the attributes written longest ago are dropped.
    pub(crate) fn apply(
        &self,
        key: &SessionKey,
        item: Item,
        now: Now,
        observer: &mut Observer,
    ) -> Result<ApplyOutcome, OverLimit> {
        let mut shard = self.shard(key);
        let item = match item {
            Item::Packed(mut state) => {
                let is_new = shard.tombstone(key).is_none() && !shard.holds(key);
                match state.summary.take() {
                    Some(summary) if is_new && !observer.is_watching() => {
                        return self.apply_packed(&mut shard, key, *state, &summary, now);
                    }
                    _ => Item::Full(Box::new(state.unpack())),
                }
            }
            other => other,
        };
        let applying = Applying {
            store: self,
            key,
            now,
            observer,
        };
        match item {
            Item::Packed(_) | Item::Absent => Ok(ApplyOutcome::Done),
            Item::Destroyed(tombstone) => applying.tombstone(&mut shard, tombstone),
            Item::Delta(delta) => {
                if let Some(entry) = shard.entry(key) {
                    return applying.delta(entry, *delta);
                }
                if let Some(held) = shard.tombstone(key) {
                    return Ok(ApplyOutcome::Deleted(held.tombstone));
                }
                match SessionState::from_delta(*delta) {
                    Some(state) => applying.new_session(&mut shard, state),
                    None => {
                        // What would be asked for could not be taken.
                        self.check_quota(&shard, key, 0)?;
                        Ok(ApplyOutcome::Refused)
                    }
                }
            }
            Item::Full(state) => {
                mutant::revive_destroyed(&mut shard, key);
                if let Some(entry) = shard.entry(key) {
                    return applying.full_state(entry, *state);
                }
                if let Some(held) = shard.tombstone(key) {
                    return Ok(ApplyOutcome::Deleted(held.tombstone));
                }
                applying.new_session(&mut shard, *state)
            }
        }
    }

    fn apply_packed(
        &self,
        shard: &mut Shard,
        key: &SessionKey,
        mut state: PackedSession,
        summary: &PackedSummary,
        now: Now,
    ) -> Result<ApplyOutcome, OverLimit> {
        let head = &mut state.head;
        let limits = limits_at(summary.expiry, summary.access, self.limits.unconfirmed_ms);
        if now.mono_ms >= end_ms(limits, head.created_ms, head.accessed_ms)
            || self.is_evicted(summary.access, head.accessed_ms)
        {
            return Ok(ApplyOutcome::Done);
        }
        let check = self
            .check_quota(shard, key, state.body.len())
            .and_then(|()| quota::check_whole(&self.limits, summary.size));
        check.map_err(|over| {
            let PackedSummary {
                vector,
                access,
                attributes,
                ..
            } = summary;
            over.of(session_version(key, vector, *access, *attributes))
        })?;
        head.meta = self.shared_meta(Arc::clone(&head.meta));
        shard.insert_packed(*key, &state, summary, now);
        Ok(ApplyOutcome::Done)
    }

    /// Returns whether one more session, of so many bytes, may be taken in.
    pub(crate) fn check_quota(
        &self,
        shard: &Shard,
        key: &SessionKey,
        bytes: usize,
    ) -> Result<(), OverLimit> {
        let hard = self.limits.max_sessions.saturating_mul(Limits::HARD);
        if self.sessions() >= hard {
            return Err(OverLimit::new("sessions", Needs::Session(bytes)));
        }
        self.check_bytes(bytes, Needs::Session(bytes))?;
        self.check_listing(shard, key)
    }

    /// Returns whether sessions may take so many bytes more.
    fn check_bytes(&self, bytes: usize, needs: Needs) -> Result<(), OverLimit> {
        match self.counts.bytes().saturating_add(bytes) <= self.limits.hard_bytes() {
            true => Ok(()),
            false => Err(OverLimit::new("bytes of all sessions", needs)),
        }
    }

    /// Returns whether a session may get these attributes of this weight. What does not make it
    /// larger always may.
    fn check_growth(
        &self,
        held: &SessionState,
        arriving: &[(Arc<str>, Register)],
        weight: usize,
    ) -> Result<(), OverLimit> {
        // Nearly always there is room, and nothing to be looked at.
        let check = |bytes| self.check_bytes(bytes, Needs::Bytes(bytes));
        check(weight).or_else(|_| {
            let growth = |(name, register): &(Arc<str>, Register)| {
                let before = held.register(name).map_or(0, Register::weight);
                register.weight().saturating_sub(before)
            };
            match arriving.iter().map(growth).sum() {
                0 => Ok(()),
                growth => check(growth),
            }
        })
    }

    /// Returns whether `key` can be taken in so that its digest shard still fits a listing.
    fn check_listing(&self, shard: &Shard, key: &SessionKey) -> Result<(), OverLimit> {
        if shard.entries_beside(key) >= self.max_listed() {
            let what = "sessions whose ids are alike";
            return Err(OverLimit::new(what, Needs::Change));
        }
        Ok(())
    }
}

/// One item on its way into the store, with all that each kind of item needs.
struct Applying<'a> {
    store: &'a Store,
    key: &'a SessionKey,
    now: Now,
    observer: &'a mut Observer,
}

impl Applying<'_> {
    fn tombstone(
        self,
        shard: &mut Shard,
        mut tombstone: Tombstone,
    ) -> Result<ApplyOutcome, OverLimit> {
        let Self {
            store, key, now, ..
        } = self;
        mutant::rejuvenate_tombstone(&mut tombstone, shard, key, now);
        // A session that is here ends, however old and however many they are.
        if shard.tombstone(key).is_none() && !shard.holds(key) {
            // One past its time would live for ever if nodes handed it to each other.
            if now.mono_ms >= tombstone.ends_ms(shard.retention()) {
                return Ok(ApplyOutcome::Done);
            }
            if store.tombstones() >= store.limits.max_tombstones() {
                let over = OverLimit::new("tombstones", Needs::Tombstone);
                return Err(over.of(destroyed_version(key)));
            }
            let checked = store.check_listing(shard, key);
            checked.map_err(|over| over.of(destroyed_version(key)))?;
        }
        if let Some(meta) = shard.delete(*key, tombstone) {
            self.observer
                .tell(|| [Change::of(key, &meta, ChangeKind::Destroyed)]);
        }
        Ok(ApplyOutcome::Done)
    }

    fn new_session(
        self,
        shard: &mut Shard,
        mut state: SessionState,
    ) -> Result<ApplyOutcome, OverLimit> {
        let Self {
            store, key, now, ..
        } = self;
        if now.mono_ms >= stale_ms(&state, store.limits.unconfirmed_ms)
            || store.is_evicted(state.access(), state.accessed_ms())
        {
            return Ok(ApplyOutcome::Done);
        }
        store
            .check_quota(shard, key, state.memory())
            .and_then(|()| quota::check_whole(&store.limits, SessionSize::of_state(&state)))
            .map_err(|over| over.of(state.version(key)))?;
        state.set_meta(store.shared_meta(state.meta().clone()));
        self.observer.tell(|| {
            // A session seldom comes without attributes, and listeners must not miss the first
            // ones.
            let names = state.names().cloned().map(ChangeKind::AttributeChanged);
            let kinds = std::iter::once(ChangeKind::Created).chain(names);
            kinds.map(|kind| Change::of(key, state.meta(), kind))
        });
        shard.insert(*key, state, now);
        Ok(ApplyOutcome::Done)
    }

    fn delta(self, entry: HotEntry<'_>, delta: Delta) -> Result<ApplyOutcome, OverLimit> {
        let hot = &mut *entry.hot;
        let limits = &self.store.limits;
        let size = SessionSize::of_delta(&delta);
        let (arriving, weight) = (&delta.registers, size.weight);
        self.store.check_growth(&hot.state, arriving, weight)?;
        let written = [(delta.origin, delta.upto)];
        quota::check(limits, &hot.state, size, &written, &delta.secrets)?;
        let changes = self.observer.is_watching().then(|| {
            delta
                .registers
                .iter()
                .filter(|(name, register)| hot.state.register(name) != Some(register))
                .map(|(name, _)| ChangeKind::AttributeChanged(name.clone()))
                .chain((!delta.secrets.states().is_empty()).then_some(ChangeKind::IdCycled))
                .map(|kind| hot.change(self.key, kind))
                .collect::<Vec<_>>()
        });
        let Some(lost) = hot.state.apply(delta, hot.own) else {
            return Ok(ApplyOutcome::Refused);
        };
        hot.lost = hot.lost.max(lost);
        let trimmed = quota::trim(limits, hot);
        if entry.reindex(self.key, self.now) {
            self.observer.tell(|| changes.into_iter().flatten());
        }
        trimmed.map(|()| ApplyOutcome::Done)
    }

    fn full_state(
        self,
        entry: HotEntry<'_>,
        state: SessionState,
    ) -> Result<ApplyOutcome, OverLimit> {
        let hot = &mut *entry.hot;
        let limits = &self.store.limits;
        let size = SessionSize::of_state(&state);
        let origins = state.vector().entries();
        self.store
            .check_growth(&hot.state, state.registers(), size.weight)
            .and_then(|()| quota::check(limits, &hot.state, size, origins, state.secrets()))
            .map_err(|over| over.of(state.version(self.key)))?;
        let before = self.observer.is_watching().then(|| hot.state.clone());
        hot.lost = hot.lost.max(hot.state.merge(state, hot.own));
        let trimmed = quota::trim(limits, hot);
        if let Some(before) = before {
            self.observer.tell(|| {
                let is_id_changed = before.secrets() != hot.state.secrets();
                differing_names(&before, &hot.state)
                    .map(ChangeKind::AttributeChanged)
                    .chain(is_id_changed.then_some(ChangeKind::IdCycled))
                    .map(|kind| hot.change(self.key, kind))
                    .collect::<Vec<_>>()
            });
        }
        entry.reindex(self.key, self.now);
        trimmed.map(|()| ApplyOutcome::Done)
    }
}

/// Returns the names under which readers find something else `after` than `before`.
fn differing_names(before: &SessionState, after: &SessionState) -> impl Iterator<Item = Arc<str>> {
    let visible = |register: &Register| match &register.content {
        Content::Removed => None,
        content => Some(content.clone()),
    };
    let differs = move |(name, register): &&(Arc<str>, Register)| {
        before.register(name).and_then(visible) != visible(register)
    };
    let differing = after.registers().iter().filter(differs);
    differing.map(|(name, _)| name.clone())
}

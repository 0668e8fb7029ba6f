//! What the store gives to peers and takes from them.

use std::sync::{Arc, atomic::Ordering};

use super::{
    Store,
    expiry::{end_ms, is_stale},
    lock,
    quota::{self, Incoming},
    residency::HotEntry,
    shard::Shard,
};
use crate::replica::change::{Change, ChangeKind};
use crate::{
    config::Limits,
    session::{
        Content, Delta, Item, Mutant, Now, PackedSession, PackedSummary, Register, SessionKey,
        SessionState, Stamp, Tombstone,
    },
};

/// What became of something a peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replica) enum ApplyOutcome {
    /// It is part of this replica now, or nothing new.
    Done,
    /// It builds on writes that are not here: ask for the full state.
    Refused,
    /// The session was destroyed: the peer must hear of it.
    Deleted(Tombstone),
}

/// How a change leaves for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replica) enum ChangeForm {
    /// What this node has written since the last record, where that is all there is to tell.
    Delta,
    /// The session as it is, unless it is large.
    Full,
}

/// Replicated state beyond the hard limits; nothing was merged, and the store is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::replica) struct OverLimit(pub(in crate::replica) &'static str);

/// How two nodes' listings of one digest shard differ, from the answerer's side.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::replica) struct Difference {
    /// What the lister lacks or has otherwise.
    pub(in crate::replica) send: Vec<SessionKey>,
    /// What we lack or have otherwise.
    pub(in crate::replica) want: Vec<SessionKey>,
}

impl Store {
    /// Takes in what a peer sent. What happened is added to `changes` when there are any asked for.
    pub(in crate::replica) fn apply(
        &self,
        key: &SessionKey,
        item: Item,
        now: Now,
        changes: Option<&mut Vec<Change>>,
    ) -> Result<ApplyOutcome, OverLimit> {
        let mut shard = self.shard(key);
        let item = match item {
            Item::Packed(mut state) => {
                let is_new = shard.grave(key).is_none() && !shard.holds(key);
                match state.summary.take() {
                    Some(summary) if is_new && changes.is_none() => {
                        return self.apply_packed(&mut shard, key, *state, &summary, now);
                    }
                    _ => Item::Full(Box::new(state.unpack())),
                }
            }
            other => other,
        };
        match item {
            Item::Packed(_) | Item::Absent => Ok(ApplyOutcome::Done),
            Item::Destroyed(tombstone) => {
                self.apply_tombstone(&mut shard, key, tombstone, now, changes)
            }
            Item::Delta(delta) => {
                if let Some(entry) = shard.entry(key) {
                    return self.apply_delta(entry, key, *delta, now, changes);
                }
                if let Some(grave) = shard.grave(key) {
                    return Ok(ApplyOutcome::Deleted(grave.tombstone));
                }
                match SessionState::from_delta(*delta) {
                    Some(state) => self.apply_new(&mut shard, key, state, now, changes),
                    None => Ok(ApplyOutcome::Refused),
                }
            }
            Item::Full(state) => {
                if Mutant::LiveBeatsDestroyed.is_on() && shard.grave(key).is_some() {
                    shard.drop_tombstone(key);
                    self.tombstones.fetch_sub(1, Ordering::Relaxed);
                }
                if let Some(entry) = shard.entry(key) {
                    return self.apply_state(entry, key, *state, now, changes);
                }
                if let Some(grave) = shard.grave(key) {
                    return Ok(ApplyOutcome::Deleted(grave.tombstone));
                }
                self.apply_new(&mut shard, key, *state, now, changes)
            }
        }
    }

    fn apply_tombstone(
        &self,
        shard: &mut Shard,
        key: &SessionKey,
        tombstone: Tombstone,
        now: Now,
        changes: Option<&mut Vec<Change>>,
    ) -> Result<ApplyOutcome, OverLimit> {
        let known = shard.grave(key).is_some();
        let mut tombstone = tombstone;
        if Mutant::RejuvenateTombstones.is_on() {
            tombstone.destroyed_ms = now.mono_ms;
            if let Some(grave) = shard.tombstone_mut(key) {
                grave.tombstone.destroyed_ms = now.mono_ms;
            }
        }
        // One past its time would live for ever if nodes handed it to each other.
        if !known && now.mono_ms >= tombstone.ends_ms() {
            return Ok(ApplyOutcome::Done);
        }
        let hard = self.limits.max_tombstones().saturating_mul(Limits::HARD);
        if !known && self.tombstones.load(Ordering::Relaxed) >= hard {
            return Err(OverLimit("tombstones"));
        }
        if !known && !shard.holds(key) {
            self.check_listing(shard, key)?;
        }
        if let Some(meta) = shard.delete(*key, tombstone) {
            self.live.fetch_sub(1, Ordering::Relaxed);
            if let Some(changes) = changes {
                changes.push(Change::of(key, &meta, ChangeKind::Destroyed));
            }
        }
        if !known {
            self.tombstones.fetch_add(1, Ordering::Relaxed);
        }
        Ok(ApplyOutcome::Done)
    }

    fn apply_new(
        &self,
        shard: &mut Shard,
        key: &SessionKey,
        mut state: SessionState,
        now: Now,
        changes: Option<&mut Vec<Change>>,
    ) -> Result<ApplyOutcome, OverLimit> {
        if is_stale(&state, now) {
            return Ok(ApplyOutcome::Done);
        }
        self.check_quota(shard, key)?;
        quota::check(&self.limits, None, Incoming::of(&state))?;
        let meta = self.shared_meta(state.meta().clone());
        state.set_meta(meta);
        if let Some(changes) = changes {
            // A session seldom comes without attributes, and listeners must not miss the first ones.
            let names = state.names().cloned().map(ChangeKind::AttributeChanged);
            let news = std::iter::once(ChangeKind::Created).chain(names);
            changes.extend(news.map(|what| Change::of(key, state.meta(), what)));
        }
        shard.insert(*key, state, now);
        self.live.fetch_add(1, Ordering::Relaxed);
        Ok(ApplyOutcome::Done)
    }

    fn apply_delta(
        &self,
        entry: HotEntry<'_>,
        key: &SessionKey,
        delta: Delta,
        now: Now,
        changes: Option<&mut Vec<Change>>,
    ) -> Result<ApplyOutcome, OverLimit> {
        let live = &mut *entry.live;
        let written = [(delta.origin, delta.upto)];
        let incoming = Incoming {
            registers: &delta.registers,
            origins: &written,
            secrets: &delta.secrets,
        };
        quota::check(&self.limits, Some(&live.state), incoming)?;
        let told = changes.map(|changes| {
            let news = delta
                .registers
                .iter()
                .filter(|(name, register)| live.state.register(name) != Some(register))
                .map(|(name, _)| ChangeKind::AttributeChanged(name.clone()))
                .chain((!delta.secrets.states().is_empty()).then_some(ChangeKind::IdChanged))
                .map(|what| live.change(key, what))
                .collect::<Vec<_>>();
            (changes, news)
        });
        let Some(taken) = live.state.apply(delta, live.own) else {
            return Ok(ApplyOutcome::Refused);
        };
        live.lost = live.lost.max(taken.lost);
        if taken.changed {
            entry.reindex(key, now);
            if let Some((changes, news)) = told {
                changes.extend(news);
            }
        }
        Ok(ApplyOutcome::Done)
    }

    fn apply_state(
        &self,
        entry: HotEntry<'_>,
        key: &SessionKey,
        state: SessionState,
        now: Now,
        changes: Option<&mut Vec<Change>>,
    ) -> Result<ApplyOutcome, OverLimit> {
        let live = &mut *entry.live;
        quota::check(&self.limits, Some(&live.state), Incoming::of(&state))?;
        let before = changes.is_some().then(|| live.state.clone());
        let taken = live.state.merge(state, live.own);
        live.lost = live.lost.max(taken.lost);
        if let (Some(changes), Some(before)) = (changes, before) {
            let news = differing_names(&before, &live.state)
                .into_iter()
                .map(ChangeKind::AttributeChanged)
                .chain((before.secrets() != live.state.secrets()).then_some(ChangeKind::IdChanged))
                .map(|what| live.change(key, what));
            changes.extend(news);
        }
        if taken.changed {
            entry.reindex(key, now);
        }
        Ok(ApplyOutcome::Done)
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
        if now.mono_ms >= end_ms(summary.expiry, head.created_ms, head.accessed_ms) {
            return Ok(ApplyOutcome::Done);
        }
        self.check_quota(shard, key)?;
        quota::check_whole(&self.limits, summary.size)?;
        head.meta = self.shared_meta(Arc::clone(&head.meta));
        shard.insert_packed(*key, &state, summary, now);
        self.live.fetch_add(1, Ordering::Relaxed);
        Ok(ApplyOutcome::Done)
    }

    /// Whether there is room for one more session.
    fn check_quota(&self, shard: &Shard, key: &SessionKey) -> Result<(), OverLimit> {
        let hard = self.limits.max_sessions.saturating_mul(Limits::HARD);
        if self.live.load(Ordering::Relaxed) >= hard {
            return Err(OverLimit("sessions"));
        }
        self.check_listing(shard, key)
    }

    /// Whether `key` can be taken in so that its digest shard still fits a listing.
    fn check_listing(&self, shard: &Shard, key: &SessionKey) -> Result<(), OverLimit> {
        if shard.entries_beside(key) >= self.max_listed() {
            return Err(OverLimit("sessions whose ids are alike"));
        }
        Ok(())
    }

    /// What leaves for a session whose record has come up: everything written here since `since`,
    /// by whatever request, or the full state when another origin has beaten a part of that.
    pub(in crate::replica) fn outgoing(
        &self,
        key: &SessionKey,
        since: Stamp,
        touch: bool,
        form: ChangeForm,
    ) -> Item {
        let shard = self.shard(key);
        match shard.view(key) {
            None => match shard.grave(key) {
                Some(grave) => Item::Destroyed(grave.tombstone),
                None => Item::Absent,
            },
            Some(live)
                if live.claims_beaten_writes(since)
                    || (form == ChangeForm::Full && live.state.weight() <= SMALL_WEIGHT) =>
            {
                Item::Full(Box::new(live.into_owned().state))
            }
            Some(live) => {
                let mut delta = live.state.delta(live.own, since, touch);
                if Mutant::CarryCommittedOnly.is_on() {
                    delta
                        .registers
                        .retain(|(_, register)| register.tag.stamp <= live.logged);
                }
                Item::Delta(Box::new(delta))
            }
        }
    }

    /// All there is of a session, for a peer that asks.
    pub(in crate::replica) fn full(&self, key: &SessionKey, now: Now) -> Item {
        let shard = self.shard(key);
        if let Some(grave) = shard.grave(key) {
            return Item::Destroyed(grave.tombstone);
        }
        match shard.view(key) {
            Some(live) if !is_stale(&live.state, now) => {
                Item::Full(Box::new(live.into_owned().state))
            }
            _ => Item::Absent,
        }
    }

    /// Returns the same for a peer that will hardly use it soon. A cold session stays packed.
    pub(in crate::replica) fn full_state(&self, key: &SessionKey, now: Now) -> Item {
        let packed = self.shard(key).packed(key, now);
        packed.map_or_else(
            || self.full(key, now),
            |state| Item::Packed(Box::new(state)),
        )
    }

    /// The digests of all shards, in the order of their keys.
    pub(in crate::replica) fn digests(&self) -> Vec<u64> {
        let mut digests = Vec::with_capacity(self.shards.len() * self.digests_per_shard);
        for shard in &self.shards {
            digests.extend_from_slice(&lock(shard).digests);
        }
        digests
    }

    /// Keys and versions of one digest shard, without what is past its time and, unless
    /// `complete`, without what changed within the last second.
    pub(in crate::replica) fn listing(
        &self,
        shard: u32,
        complete: bool,
        now: Now,
    ) -> Vec<(SessionKey, u64)> {
        let mut entries = Vec::new();
        self.visit(shard, now, |key, version, changed_ms| {
            if complete || is_stable(changed_ms, now) {
                entries.push((*key, version));
            }
        });
        entries
    }

    /// How our sessions of one digest shard differ from a peer's listing of it.
    pub(in crate::replica) fn difference(
        &self,
        shard: u32,
        complete: bool,
        mut listed: Vec<(SessionKey, u64)>,
        now: Now,
    ) -> Difference {
        listed.sort_unstable();
        let mut met = vec![false; listed.len()];
        let mut difference = Difference::default();
        self.visit(shard, now, |key, version, changed_ms| {
            let theirs = listed.binary_search_by_key(key, |entry| entry.0).ok();
            if let Some(at) = theirs {
                met[at] = true;
            }
            let same = theirs.is_some_and(|at| listed[at].1 == version);
            if same || !(complete || is_stable(changed_ms, now)) {
                return;
            }
            difference.send.push(*key);
            if theirs.is_some() {
                difference.want.push(*key);
            }
        });
        let unmet = listed.iter().zip(met).filter(|(_, met)| !met);
        difference.want.extend(unmet.map(|((key, _), _)| *key));
        difference
    }

    /// Calls `each` with key, version and instant of the last change.
    fn visit(&self, shard: u32, now: Now, mut each: impl FnMut(&SessionKey, u64, u64)) {
        let number = shard as usize;
        let Some(lock_shard) = self.shards.get(number / self.digests_per_shard) else {
            return;
        };
        let digest = number % self.digests_per_shard;
        lock(lock_shard).list(digest, |key, version, changed_ms, stale_ms| {
            if now.mono_ms < stale_ms {
                each(key, version, changed_ms);
            }
        });
    }
}

/// Whether a change is old enough that its delta must have arrived.
const fn is_stable(changed_ms: u64, now: Now) -> bool {
    now.mono_ms.saturating_sub(changed_ms) >= 1000
}

fn differing_names(before: &SessionState, after: &SessionState) -> Vec<Arc<str>> {
    let visible = |register: &Register| match &register.content {
        Content::Removed => None,
        content => Some(content.clone()),
    };
    after
        .registers()
        .iter()
        .filter(|(name, register)| before.register(name).and_then(visible) != visible(register))
        .map(|(name, _)| name.clone())
        .collect()
}

/// Bytes of a session that may go whole with each of its changes.
const SMALL_WEIGHT: usize = 4096;

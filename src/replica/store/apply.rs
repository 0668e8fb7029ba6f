//! What the store takes from peers.

use super::{
    Store,
    expiry::{end_ms, is_stale},
    quota::{self, Incoming, OverLimit},
    residency::HotEntry,
    shard::Shard,
};
use crate::replica::change::{Change, ChangeKind};
use crate::{
    config::Limits,
    session::{
        Content, Delta, Item, Mutant, Now, PackedSession, Register, SessionKey, SessionState,
        Tombstone,
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
            Item::PackedSession(state) => {
                let is_new = shard.grave(key).is_none() && !shard.holds(key);
                if is_new && changes.is_none() {
                    return self.apply_packed(&mut shard, key, *state, now);
                }
                Item::Full(Box::new(state.unpack()))
            }
            other => other,
        };
        match item {
            Item::PackedSession(_) | Item::Absent => Ok(ApplyOutcome::Done),
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
        if !known && self.counts.tombstones() >= hard {
            return Err(OverLimit("tombstones"));
        }
        if !known && !shard.holds(key) {
            self.check_listing(shard, key)?;
        }
        if let Some(meta) = shard.delete(*key, tombstone) {
            if let Some(changes) = changes {
                changes.push(Change::of(key, &meta, ChangeKind::Destroyed));
            }
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
        now: Now,
    ) -> Result<ApplyOutcome, OverLimit> {
        if now.mono_ms >= end_ms(state.expiry, state.created_ms, state.accessed_ms) {
            return Ok(ApplyOutcome::Done);
        }
        self.check_quota(shard, key)?;
        quota::check_whole(&self.limits, state.extent)?;
        state.meta = self.shared_meta(state.meta);
        shard.insert_packed(*key, &state, now);
        Ok(ApplyOutcome::Done)
    }

    /// Whether there is room for one more session.
    fn check_quota(&self, shard: &Shard, key: &SessionKey) -> Result<(), OverLimit> {
        let hard = self.limits.max_sessions.saturating_mul(Limits::HARD);
        if self.counts.sessions() >= hard {
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
}

fn differing_names(before: &SessionState, after: &SessionState) -> Vec<std::sync::Arc<str>> {
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

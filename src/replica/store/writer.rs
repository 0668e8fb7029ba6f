//! A session open for writing, under its shard's lock.

use std::sync::Arc;

use super::hot::HotSession;
use crate::replica::{change::ChangeKind, observer::Observer};
use crate::{
    config::{Expiry, Limits},
    session::{
        AttributeChange, Changes, Content, Count, Now, Register, SecretHash, SessionError,
        SessionKey, SessionState, Stamp, Tag, register_weight,
    },
};

/// A session that may be changed. Each change takes a stamp of its own; limits are checked before
/// anything changes.
#[derive(Debug)]
pub(crate) struct SessionWriter<'a> {
    hot: &'a mut HotSession,
    key: &'a SessionKey,
    quota: WriteQuota<'a>,
    observer: &'a mut Observer,
    now: Now,
    written: Written,
    /// Each write has a later stamp.
    last: Stamp,
}

/// The limits of what is written.
#[derive(Debug)]
pub(crate) struct WriteQuota<'a> {
    pub(crate) limits: &'a Limits,
    /// Bytes that all sessions may take in addition.
    pub(crate) free_bytes: usize,
}

/// The urgency of what a writer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Written {
    Nothing,
    /// A change that may wait when the request is filtered.
    Deferrable,
    /// A change that even a filtered request replicates.
    Urgent,
}

impl<'a> SessionWriter<'a> {
    pub(crate) const fn new(
        hot: &'a mut HotSession,
        key: &'a SessionKey,
        quota: WriteQuota<'a>,
        observer: &'a mut Observer,
        now: Now,
    ) -> Self {
        Self {
            hot,
            key,
            quota,
            observer,
            now,
            written: Written::Nothing,
            last: Stamp::ZERO,
        }
    }

    /// Gives what is written from now on a later stamp than this one.
    pub(crate) fn come_after(&mut self, last: Stamp) {
        self.last = last;
    }

    pub(crate) fn finish(self) -> Written {
        if self.written > Written::Nothing {
            let lost = self.hot.state.collect_garbage_alone(self.hot.own);
            self.hot.lost = self.hot.lost.max(lost);
        }
        self.written
    }

    pub(crate) const fn state(&self) -> &SessionState {
        &self.hot.state
    }

    /// Returns whether anything was written so far.
    pub(crate) fn has_written(&self) -> bool {
        self.written > Written::Nothing
    }

    /// Returns the tag of a register, for compare-and-set; `None` for a name never used.
    pub(crate) fn tag(&self, name: &str) -> Option<Tag> {
        self.hot.state.register(name).map(|register| register.tag)
    }

    pub(crate) fn set(&mut self, name: &str, value: Arc<[u8]>) -> Result<(), SessionError> {
        let register = self.hot.state.register(name);
        if let Some(Err(kind)) = register.map(Register::json) {
            return Err(kind.error(name));
        }
        let max_bytes = self.quota.limits.max_session_bytes;
        let growth = self.check_quota(name, register, value.len(), max_bytes)?;
        let tag = self.next_tag()?;
        self.claim(growth)?;
        self.hot.state.set(name, value, tag);
        self.attribute_changed(name);
        Ok(())
    }

    /// Removes an attribute or counter. Returns whether it was there. Always within the limits.
    pub(crate) fn remove(&mut self, name: &str) -> Result<bool, SessionError> {
        let register = self.hot.state.register(name);
        if !register.is_some_and(Register::is_present) {
            return Ok(false);
        }
        let tag = self.next_tag()?;
        self.hot.state.remove(name, tag);
        self.attribute_changed(name);
        Ok(true)
    }

    /// Adds to a counter. Returns its new value.
    pub(crate) fn add(&mut self, name: &str, by: i64) -> Result<i64, SessionError> {
        let register = self.hot.state.register(name);
        if let Some(Err(kind)) = register.map(Register::count) {
            return Err(kind.error(name));
        }
        let share = match register.map(|register| &register.content) {
            Some(Content::Counter(counter)) if counter.is_counted_by(self.hot.own) => 0,
            _ => size_of::<Count>(),
        };
        let held = register.map_or(0, Register::weight);
        // Nodes that begin to count in a session over its limit must not fail. Each adds one share.
        let is_present = register.is_some_and(Register::is_present);
        let max_bytes = match is_present {
            true => self
                .quota
                .limits
                .max_session_bytes
                .saturating_mul(Limits::HARD),
            false => self.quota.limits.max_session_bytes,
        };
        let growth = self.check_quota(name, register, held + share, max_bytes)?;
        let tag = self.next_tag()?;
        if !is_present {
            self.claim(growth)?;
        }
        let state = &mut self.hot.state;
        state.add(name, by, tag.origin, tag.stamp);
        self.attribute_changed(name);
        let count = self.hot.state.count(name);
        count.map_err(|kind| kind.error(name))
    }

    /// Makes all changes, or none of them when one fails.
    pub(crate) fn change(&mut self, changes: &Changes) -> Result<(), SessionError> {
        let (state, written) = (self.hot.state.clone(), self.written);
        let free_bytes = self.quota.free_bytes;
        let changed = self.make(changes);
        if changed.is_err() {
            self.hot.state = state;
            self.written = written;
            self.quota.free_bytes = free_bytes;
        }
        changed
    }

    fn make(&mut self, changes: &Changes) -> Result<(), SessionError> {
        // What goes makes room for what comes.
        let names = self.hot.state.names();
        let removed: Vec<Arc<str>> = names
            .filter(|name| changes.removes(name))
            .cloned()
            .collect();
        let before = self.hot.state.weight();
        for name in &removed {
            self.remove(name)?;
        }
        let freed = before.saturating_sub(self.hot.state.weight());
        self.quota.free_bytes = self.quota.free_bytes.saturating_add(freed);
        for (name, change) in changes.attributes() {
            match change {
                AttributeChange::Set(json) => self.set(name, Arc::clone(json))?,
                AttributeChange::Add(by) => drop(self.add(name, *by)?),
                AttributeChange::Remove => {}
            }
        }
        match changes.expiry() {
            Some(expiry) => self.set_expiry(expiry),
            None => Ok(()),
        }
    }

    pub(crate) fn set_expiry(&mut self, expiry: Expiry) -> Result<(), SessionError> {
        let tag = self.next_tag()?;
        self.hot.state.set_expiry(expiry, tag);
        self.record(Written::Deferrable);
        Ok(())
    }

    pub(crate) fn set_persistent(&mut self, persistent: bool) -> Result<(), SessionError> {
        let tag = self.next_tag()?;
        self.hot.state.set_persistent(persistent, tag);
        self.record(Written::Deferrable);
        Ok(())
    }

    /// Makes `secret` the only one that opens the session.
    pub(crate) fn cycle(&mut self, secret: SecretHash) -> Result<(), SessionError> {
        let tag = self.next_tag()?;
        self.hot.state.cycle(secret, tag, self.now);
        // A login: whoever it is will be back.
        self.hot.confirm(self.now);
        self.record(Written::Urgent);
        self.tell(|| ChangeKind::IdCycled);
        Ok(())
    }

    fn next_tag(&self) -> Result<Tag, SessionError> {
        let stamp = self.hot.state.next_stamp(self.now);
        let stamp = stamp.ok_or(SessionError::Exhausted)?;
        // Where no stamp is later, who was last is lost, and not the session.
        let after_last = self.last.next(self.now);
        Ok(Tag {
            stamp: after_last.map_or(stamp, |after| after.max(stamp)),
            origin: self.hot.own,
        })
    }

    fn attribute_changed(&mut self, name: &str) {
        self.record(Written::Deferrable);
        self.tell(|| ChangeKind::AttributeChanged(name.into()));
    }

    fn record(&mut self, written: Written) {
        self.written = self.written.max(written);
    }

    fn tell(&mut self, kind: impl FnOnce() -> ChangeKind) {
        self.observer.tell(|| [self.hot.change(self.key, kind())]);
    }

    /// Takes from the room that all sessions have.
    fn claim(&mut self, growth: usize) -> Result<(), SessionError> {
        let free_bytes = self.quota.free_bytes.checked_sub(growth);
        self.quota.free_bytes = free_bytes.ok_or(SessionError::Full)?;
        Ok(())
    }

    /// Checks whether `name`, which has this register, may get a value of so many bytes. What does
    /// not make the session larger may always be written: copies that were joined may be over the
    /// limit. Returns by how much the session grows.
    fn check_quota(
        &self,
        name: &str,
        register: Option<&Register>,
        value: usize,
        max_bytes: usize,
    ) -> Result<usize, SessionError> {
        let state = &self.hot.state;
        let held = register.filter(|register| register.is_present());
        if held.is_none() {
            let attributes = state.names().count() + 1;
            let limit = self.quota.limits.max_attributes;
            SessionError::unless_within("attributes", attributes, limit)?;
        }
        let before = held.map_or(0, |register| register.weight_as(name));
        let after = register_weight(name, value);
        if after <= before {
            return Ok(0);
        }
        let would_be = state.weight() - before + after;
        SessionError::unless_within("bytes", would_be, max_bytes)?;
        Ok(after - before)
    }
}

//! A session open for writing, under its shard's lock.

use std::sync::Arc;

use super::hot::HotSession;
use crate::replica::change::ChangeKind;
use crate::{
    config::{Expiry, Limits},
    session::{
        Now, REGISTER_OVERHEAD, Register, SecretHash, SessionError, SessionState, Tag, WrongKind,
    },
};

/// Each change takes a stamp of its own; limits are checked before anything changes.
#[derive(Debug)]
pub(crate) struct SessionWriter<'a> {
    live: &'a mut HotSession,
    limits: &'a Limits,
    now: Now,
    written: Written,
    collect: bool,
}

/// What a writer did.
#[derive(Debug, Default)]
pub(in crate::replica) struct Written {
    pub(in crate::replica) any: bool,
    /// A change that even a filtered request ships.
    pub(in crate::replica) must_ship: bool,
    pub(in crate::replica) what: Vec<ChangeKind>,
}

impl<'a> SessionWriter<'a> {
    pub(in crate::replica) fn new(
        live: &'a mut HotSession,
        limits: &'a Limits,
        collect: bool,
        now: Now,
    ) -> Self {
        Self {
            live,
            limits,
            now,
            written: Written::default(),
            collect,
        }
    }

    pub(in crate::replica) fn finish(self) -> Written {
        if self.written.any {
            let lost = self.live.state.collect_garbage_alone(self.live.own);
            self.live.lost = self.live.lost.max(lost);
        }
        self.written
    }

    pub(crate) const fn state(&self) -> &SessionState {
        &self.live.state
    }

    /// Whether anything was written so far.
    pub(crate) const fn has_written(&self) -> bool {
        self.written.any
    }

    /// The tag of a register, for compare-and-set; `None` for a name never used.
    pub(crate) fn tag(&self, name: &str) -> Option<Tag> {
        self.live.state.register(name).map(|register| register.tag)
    }

    pub(crate) fn set(&mut self, name: &str, value: Arc<[u8]>) -> Result<(), SessionError> {
        let register = self.live.state.register(name);
        if let Some(Err(kind)) = register.map(Register::json) {
            return Err(wrong_kind(name, kind));
        }
        self.check_quota(name, register, value.len())?;
        let tag = self.next_tag()?;
        self.live.state.set(name, value, tag);
        self.changed(name);
        Ok(())
    }

    /// Removes an attribute or counter; whether it was there. Always within the limits.
    pub(crate) fn remove(&mut self, name: &str) -> Result<bool, SessionError> {
        if !self
            .live
            .state
            .register(name)
            .is_some_and(Register::is_live)
        {
            return Ok(false);
        }
        let tag = self.next_tag()?;
        self.live.state.remove(name, tag);
        self.changed(name);
        Ok(true)
    }

    /// The counter's new value.
    pub(crate) fn add(&mut self, name: &str, by: i64) -> Result<i64, SessionError> {
        let register = self.live.state.register(name);
        if let Some(Err(kind)) = register.map(Register::count) {
            return Err(wrong_kind(name, kind));
        }
        let held = register.map_or(0, Register::weight);
        self.check_quota(name, register, held + COUNT_WEIGHT)?;
        let tag = self.next_tag()?;
        let state = &mut self.live.state;
        state.add(name, by, tag.origin, tag.stamp);
        self.changed(name);
        let state = &self.live.state;
        state.count(name).map_err(|kind| wrong_kind(name, kind))
    }

    pub(crate) fn set_expiry(&mut self, expiry: Expiry) -> Result<(), SessionError> {
        let tag = self.next_tag()?;
        self.live.state.set_expiry(expiry, tag);
        self.written.any = true;
        Ok(())
    }

    /// Makes `secret` the only one that opens the session.
    pub(crate) fn cycle(&mut self, secret: SecretHash) -> Result<(), SessionError> {
        let tag = self.next_tag()?;
        self.live.state.cycle(secret, tag, self.now);
        self.written.any = true;
        self.written.must_ship = true;
        if self.collect {
            self.written.what.push(ChangeKind::IdChanged);
        }
        Ok(())
    }

    fn next_tag(&self) -> Result<Tag, SessionError> {
        let stamp = self.live.state.next_stamp(self.now);
        Ok(Tag {
            stamp: stamp.ok_or(SessionError::Exhausted)?,
            origin: self.live.own,
        })
    }

    fn changed(&mut self, name: &str) {
        self.written.any = true;
        if self.collect {
            self.written
                .what
                .push(ChangeKind::AttributeChanged(name.into()));
        }
    }

    /// Whether `name`, which has this slot, may weigh `weight`.
    fn check_quota(
        &self,
        name: &str,
        register: Option<&Register>,
        weight: usize,
    ) -> Result<(), SessionError> {
        let state = &self.live.state;
        if !register.is_some_and(Register::is_live) {
            within(
                "attributes",
                state.names().count() + 1,
                self.limits.max_attributes,
            )?;
        }
        if register.is_none() {
            let names = state.remembered_names() + 1;
            within("attribute names", names, self.limits.max_names())?;
        }
        let before = register.map_or(0, |register| {
            name.len() + register.weight() + REGISTER_OVERHEAD
        });
        let after = state.weight() - before + name.len() + weight + REGISTER_OVERHEAD;
        within("bytes", after, self.limits.max_session_bytes)
    }
}

fn within(what: &'static str, would_be: usize, limit: usize) -> Result<(), SessionError> {
    if would_be <= limit {
        return Ok(());
    }
    Err(SessionError::TooLarge {
        what,
        would_be,
        limit,
    })
}

fn wrong_kind(name: &str, kind: WrongKind) -> SessionError {
    SessionError::WrongKind {
        name: name.into(),
        is_counter: kind.is_counter,
    }
}

/// What one origin's share of a counter weighs.
const COUNT_WEIGHT: usize = size_of::<crate::session::Count>();

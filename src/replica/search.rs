//! Sessions by what they hold: those that have a value, and all of a context by and by.

use std::sync::Arc;

use super::{
    Replica,
    store::{hot::HotSession, index::LimitClaim},
};
use crate::{
    config::AtLimit,
    session::{
        Now, Search, SessionError, SessionInfo, SessionKey, SessionState, Stamp, Tag, ValuePath,
    },
};

/// What sessions are searched for.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    context: &'a str,
    path: ValuePath,
    json: &'a [u8],
    value: serde_json::Value,
}

impl<'a> Wanted<'a> {
    /// Returns what has a value under a name in a context, `None` for what is not JSON, which equals
    /// nothing.
    pub(crate) fn new(context: &'a str, name: &str, json: &'a [u8]) -> Option<Self> {
        Some(Self {
            context,
            path: ValuePath::parse(name),
            value: serde_json::from_slice(json).ok()?,
            json,
        })
    }

    /// Returns the tag of the write that gave the session the value, if it has it.
    fn tag_in(&self, state: &SessionState) -> Option<Tag> {
        let is_here = *state.meta().context == *self.context;
        is_here.then(|| state.tag_of_value(&self.path, &self.value))?
    }
}

impl Replica {
    /// Finds sessions by values from now on. Call it before there is a session.
    #[must_use]
    pub(crate) fn index_by(mut self, paths: &[ValuePath]) -> Self {
        self.store.index_by(paths);
        self
    }

    /// Returns the keys of the sessions that a search finds, as far as they were written up to then.
    pub(crate) fn find(&self, search: &Search, upto: Stamp) -> Vec<SessionKey> {
        let Some(wanted) = Wanted::new(&search.context, &search.name, &search.json) else {
            return Vec::new();
        };
        let is_meant = |state: &SessionState| {
            let tag = wanted.tag_in(state);
            tag.is_some_and(|tag| tag.stamp <= upto)
        };
        let mut found = match self.candidates(&wanted) {
            Some(keys) => {
                let copies = keys.into_iter().filter_map(|key| {
                    let copy = self.store.copy(&key)?;
                    Some((key, copy))
                });
                let meant = copies.filter(|(_, hot)| is_meant(&hot.state));
                meant.map(|(key, _)| key).collect()
            }
            None => self.select(is_meant),
        };
        found.retain(|key| Some(*key) != search.keep);
        found
    }

    /// Returns the keys of the sessions that may have the value by the index, `None` when there is
    /// none of its path.
    pub(crate) fn candidates(&self, wanted: &Wanted<'_>) -> Option<Vec<SessionKey>> {
        let Wanted {
            context,
            path,
            json,
            ..
        } = wanted;
        self.store.candidates(context, path, json)
    }

    /// Returns whether the index has what the sessions call for, and nothing else.
    #[cfg(test)]
    pub(crate) fn index_is_in_step(&self) -> bool {
        self.store.index_is_in_step()
    }

    /// Returns the contexts of the sessions that are held, and of some that are gone.
    pub(crate) fn contexts(&self) -> Vec<Arc<str>> {
        self.store.contexts()
    }

    /// Describes a session if it has the value.
    pub(crate) fn info_where(
        &self,
        wanted: &Wanted<'_>,
        key: &SessionKey,
        now: Now,
    ) -> Option<SessionInfo> {
        let hot = self.store.copy(key).filter(|hot| hot.is_open(now))?;
        wanted.tag_in(&hot.state)?;
        Some(hot.info(key, now))
    }

    /// Describes the next sessions of a context behind a key, in the order of keys.
    pub(crate) fn page(
        &self,
        context: &str,
        after: Option<SessionKey>,
        most: usize,
        now: Now,
    ) -> Vec<(SessionKey, SessionInfo)> {
        let copies = self.store.copies_after(context, after);
        let open = copies.filter(|(_, hot)| hot.is_open(now)).take(most);
        open.map(|(key, hot)| (key, hot.info(&key, now))).collect()
    }
}

/// How many sessions may have one value.
impl Replica {
    /// Limits how many sessions of a context may have the same value under a name.
    pub(crate) fn limit(
        &self,
        context: &Arc<str>,
        name: &str,
        most: usize,
        at_limit: AtLimit,
    ) -> LimitClaim {
        self.store
            .limit(context, &ValuePath::parse(name), most, at_limit)
    }

    /// Returns whether there may be sessions beyond a limit since the last look for them.
    pub(crate) fn is_crowded(&self) -> bool {
        self.store.is_crowded()
    }

    /// Decides whether a session may get a value, or one that is to be created. Returns the stamp
    /// that the write must come after.
    ///
    /// # Errors
    ///
    /// When as many others have it as may, and nobody gives way.
    pub(crate) fn admit_value(
        &self,
        context: &str,
        key: impl FnOnce() -> Option<SessionKey>,
        name: &str,
        json: &[u8],
        now: impl FnOnce() -> Now,
    ) -> Result<Stamp, SessionError> {
        let last = self.orders.last_meant();
        if !self.store.has_value_limits() {
            return Ok(last);
        }
        let key = key();
        let admitted = self
            .store
            .admit_value(context, key.as_ref(), name, json, now())?;
        Ok(last.max(admitted))
    }

    /// Returns the next sessions beyond the limits, which the caller destroys. Finding them all goes
    /// in steps of some tenths of a millisecond, as long as [`is_crowded`](Self::is_crowded).
    pub(crate) fn surplus(&self, now: Now) -> Vec<SessionKey> {
        self.store.surplus(now)
    }

    /// Returns the sessions that are beyond the limits since this one was written, which the caller
    /// destroys.
    pub(crate) fn surplus_beside(&self, key: &SessionKey, now: Now) -> Vec<SessionKey> {
        self.store.surplus_beside(key, now)
    }
}

impl HotSession {
    pub(super) fn info(&self, key: &SessionKey, now: Now) -> SessionInfo {
        SessionInfo::of(key, &self.state, self.expiry(), self.last_use_ms(), now)
    }
}

//! Which sessions end because more have a value than may.
//!
//! Nodes decide alike: by the tags of the writes that gave the value, which are the same everywhere.
//! So it does not matter who ends a session, nor that several do.

use std::sync::Arc;

use serde_json::Value;

use super::{
    super::{Store, hot::HotSession},
    Crowded, Index, LimitClaim, ValueLimit,
};
use crate::{
    config::AtLimit,
    session::{Mutant, Now, SessionError, SessionKey, Stamp, Tag, ValuePath},
};

/// The sessions that have one value, each with the tag of the write that gave it.
struct Holders {
    value: Value,
    sessions: Vec<(Tag, SessionKey)>,
}

/// What was seen of one value.
#[derive(Default)]
struct Looked {
    /// How many have it.
    sessions: usize,
    /// Those that are to end.
    surplus: Vec<SessionKey>,
}

impl Store {
    /// Limits how many sessions of a context may have the same value.
    pub(crate) fn limit(
        &self,
        context: &Arc<str>,
        path: &ValuePath,
        most: usize,
        at_limit: AtLimit,
    ) -> LimitClaim {
        let index = self.index.as_ref();
        index.map_or(LimitClaim::NotIndexed, |index| {
            index.limit(context, path, most, at_limit)
        })
    }

    /// Returns whether there is a limit of this kind.
    pub(crate) fn has_value_limits(&self) -> bool {
        let index = self.index.as_ref();
        index.is_some_and(|index| index.limits.exist())
    }

    /// Returns whether more sessions may have a value than may.
    pub(crate) fn is_crowded(&self) -> bool {
        let index = self.index.as_ref();
        index.is_some_and(|index| index.limits.is_crowded())
    }

    /// Decides whether a session may get a value, or one that is to be created. Returns the stamp
    /// that the write must come after: the last of those by which others got the value. The clock
    /// alone does not say who came last, as two may come within a millisecond, and clocks of nodes
    /// differ.
    ///
    /// # Errors
    ///
    /// [`SessionError::LimitReached`] if as many others have it as may, and nobody gives way.
    pub(crate) fn admit_value(
        &self,
        context: &str,
        key: Option<&SessionKey>,
        name: &str,
        json: &[u8],
        now: Now,
    ) -> Result<Stamp, SessionError> {
        let mut last = Stamp::ZERO;
        let Some(index) = &self.index else {
            return Ok(last);
        };
        for (path, indexed) in index.paths.iter().enumerate() {
            if indexed.attribute() != name {
                continue;
            }
            let limit = index.limits.of(context, path);
            let hash = limit.as_ref().and_then(|_| index.hash(context, path, json));
            let (Some(limit), Some(hash)) = (limit, hash) else {
                continue;
            };
            let crowded = Crowded { limit, hash };
            let holders = self.holders(index, &crowded, |hot| hot.is_open(now));
            let value = indexed.value_in(json);
            let alike = holders
                .iter()
                .find(|one| Some(&one.value) == value.as_ref());
            let held = alike.map_or(&[][..], |alike| &alike.sessions);
            let has_it = held.iter().any(|(_, holder)| Some(holder) == key);
            let ValueLimit { most, at_limit, .. } = crowded.limit;
            if at_limit == AtLimit::Refuse && held.len() >= most && !has_it {
                return Err(SessionError::LimitReached {
                    name: indexed.to_string().into(),
                    limit: most,
                });
            }
            if !Mutant::RankByClockOnly.is_on() {
                last = held.iter().map(|(tag, _)| tag.stamp).fold(last, Stamp::max);
            }
        }
        Ok(last)
    }

    /// Notes that a tick has passed: values that nobody had to give way for are looked at again.
    pub(crate) fn note_tick_of_limits(&self) {
        if let Some(index) = self.index.as_deref() {
            index.limits.note_tick();
        }
    }

    /// Takes the next step of looking for sessions that are to end. Returns some of them. There may
    /// be more as long as [`is_crowded`](Self::is_crowded).
    ///
    /// A step looks at so many values that about a hundred sessions have them. One value is looked at
    /// in one step, and what is found may take many.
    pub(crate) fn surplus(&self, now: Now) -> Vec<SessionKey> {
        let Some(index) = self.index.as_deref() else {
            return Vec::new();
        };
        let mut keys = index.limits.next_surplus(STEP);
        let mut work = keys.len();
        while work < STEP
            && let Some(crowded) = index.limits.next_crowded()
        {
            let Looked { sessions, surplus } = self.surplus_of_value(index, crowded, now);
            work += sessions + 1;
            keys.extend(surplus);
        }
        if keys.len() > STEP {
            index.limits.note_surplus(keys.split_off(STEP));
        }
        keys
    }

    /// Returns the sessions that are to end because this one got its values.
    pub(crate) fn surplus_beside(&self, key: &SessionKey, now: Now) -> Vec<SessionKey> {
        let copy = self.copy(key);
        let (Some(index), Some(hot)) = (self.index.as_deref(), copy) else {
            return Vec::new();
        };
        let mut keys = Vec::new();
        for path in 0..index.paths.len() {
            let limit = index.limits.of(&hot.state.meta().context, path);
            let hash = index.place(path, &hot.state).hash;
            let (Some(limit), Some(hash)) = (limit, hash) else {
                continue;
            };
            let crowded = Crowded { limit, hash };
            if index.limits.take_crowded(&crowded) {
                keys.extend(self.surplus_of_value(index, crowded, now).surplus);
            }
        }
        keys
    }

    fn surplus_of_value(&self, index: &Index, crowded: Crowded, now: Now) -> Looked {
        let mut looked = Looked::default();
        if Mutant::LeaveSurplus.is_on() {
            return looked;
        }
        let ValueLimit { most, at_limit, .. } = crowded.limit;
        let open = self.holders(index, &crowded, |hot| hot.is_open(now));
        looked.sessions = open.iter().map(|holders| holders.sessions.len()).sum();
        if !open.iter().any(|holders| holders.sessions.len() > most) {
            return looked;
        }
        let mut counted = match at_limit {
            AtLimit::EndOldest => open,
            // Where one has made room by ending unused, another one was let in.
            AtLimit::Refuse => self.holders(index, &crowded, |hot| {
                hot.is_open(now) && !hot.may_be_over_elsewhere(now)
            }),
        };
        counted.retain(|holders| holders.sessions.len() > most);
        if counted.is_empty() {
            index.limits.note_for_later(crowded);
        }
        for Holders { mut sessions, .. } in counted {
            sessions.sort_unstable();
            if Mutant::EndAnyBeyondLimit.is_on() {
                sessions.sort_unstable_by_key(|session| session.1);
            }
            if at_limit == AtLimit::EndOldest {
                sessions.reverse();
            }
            let surplus = sessions.into_iter().skip(most).map(|(_, key)| key);
            looked.surplus.extend(surplus);
        }
        looked
    }

    /// Returns the sessions that have a value of this hash, by their values.
    fn holders(
        &self,
        index: &Index,
        Crowded { limit, hash }: &Crowded,
        counts: impl Fn(&HotSession) -> bool,
    ) -> Vec<Holders> {
        let path = &index.paths[limit.path];
        // The lock of the part must be free before that of a shard is taken.
        let keys = index.part(*hash).of(*hash, usize::MAX);
        let mut all: Vec<Holders> = Vec::new();
        for key in keys {
            let Some(hot) = self.copy(&key).filter(&counts) else {
                continue;
            };
            let register = hot.state.register(path.attribute());
            let is_of_context = *hot.state.meta().context == *limit.context;
            let Some(register) = register.filter(|_| is_of_context) else {
                continue;
            };
            let json = register.json().ok().flatten();
            let Some(value) = json.and_then(|json| path.value_in(json)) else {
                continue;
            };
            let session = (register.tag, key);
            match all.iter_mut().find(|held| held.value == value) {
                Some(held) => held.sessions.push(session),
                None => all.push(Holders {
                    value,
                    sessions: vec![session],
                }),
            }
        }
        all
    }
}

/// Sessions that are looked at, or end, in one step. That is some tenths of a millisecond.
pub(super) const STEP: usize = if cfg!(test) { 2 } else { 128 };

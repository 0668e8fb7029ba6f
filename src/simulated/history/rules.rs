//! The rules, as they are checked.

use std::collections::{BTreeMap, BTreeSet};

use super::{History, Kind, Outcome, Story, View};
use crate::{session::SessionKey, simulated::stage::Life};

impl History {
    /// Faults are over: from now on everything holds everywhere. `held` is what all nodes hold,
    /// `alive` who has lived.
    pub(crate) fn calm(&mut self, held: &BTreeMap<SessionKey, BTreeSet<u32>>, alive: &[Life]) {
        self.note(format!("calm, {} sessions", held.len()));
        let mut wrong = Vec::new();
        for (key, story) in &self.sessions {
            let lives_on = |lives: &BTreeSet<Life>| alive.iter().any(|life| lives.contains(life));
            let Some(present) = held.get(key) else {
                let lost: Vec<_> = story
                    .writes
                    .iter()
                    .filter(|op| self.must_stay(**op, lives_on))
                    .collect();
                if story.doomed.is_empty() && !lost.is_empty() {
                    wrong.push(format!("session {key} is gone, with {lost:?}"));
                }
                continue;
            };
            if lives_on(&story.deleted) {
                wrong.push(format!("destroyed session {key} lives"));
            }
            let lost = story.writes.difference(present);
            let lost: Vec<_> = lost.filter(|op| self.must_stay(**op, lives_on)).collect();
            if story.doomed.is_empty() && !lost.is_empty() {
                wrong.push(format!("session {key} has lost {lost:?}"));
            }
        }
        wrong.into_iter().for_each(|what| self.violated(what));
        self.strict_from.get_or_insert(self.ops.len() as u32);
    }

    pub(super) fn check_view(
        &mut self,
        life: Life,
        ready: bool,
        presented: Option<&str>,
        view: &View,
    ) {
        let key = view.key;
        for op in &view.written {
            self.belongs(*op, key);
        }
        if view.count != view.written.len() as i64 {
            self.violated(format!("{life:?} counts {} in {view}", view.count));
        }
        if view.last.is_some() == view.written.is_empty()
            || view.last.is_some_and(|last| !view.written.contains(&last))
        {
            self.violated(format!("{life:?} shows a last write of nobody: {view}"));
        }
        if presented.is_some_and(|p| self.tickets.get(p).is_some_and(|t| t.dead.contains(&life))) {
            self.violated(format!("{life:?} lets a replaced cookie into {key}"));
        }
        let story = self.sessions.entry(key).or_default();
        if story.deleted.contains(&life) {
            self.violated(format!("{life:?} shows {key}, which it knew destroyed"));
        }
        let story = &self.sessions[&key];
        if !story.doomed.is_empty() {
            return;
        }
        let missing: Vec<u32> = story
            .writes
            .difference(&view.written)
            .filter(|op| self.is_due(**op, life, ready))
            .copied()
            .collect();
        if !missing.is_empty() {
            self.violated(format!("{life:?} lacks {missing:?} in {view}"));
        }
    }

    pub(super) fn check_absence(&mut self, life: Life, ready: bool, presented: Option<&str>) {
        let Some(ticket) = presented.and_then(|p| self.tickets.get(p)) else {
            return;
        };
        let is_doomed = |story: &Story| !story.doomed.is_empty();
        if !ticket.spent.is_empty() || self.sessions.get(&ticket.session).is_some_and(is_doomed) {
            return;
        }
        let (key, op) = (ticket.session, ticket.made_by);
        if self.is_due(op, life, ready) {
            self.violated(format!(
                "{life:?} does not know {key}, made or renewed by {op}"
            ));
        }
    }

    /// Whether a life must show a write.
    fn is_due(&self, op: u32, life: Life, ready: bool) -> bool {
        let entry = &self.ops[op as usize];
        entry.held.contains(&life) || (ready && self.is_strict(op))
    }

    /// Whether a write must be there in the end.
    fn must_stay(&self, op: u32, lives_on: impl Fn(&BTreeSet<Life>) -> bool) -> bool {
        lives_on(&self.ops[op as usize].held) || self.is_strict(op)
    }

    fn is_strict(&self, op: u32) -> bool {
        self.strict_from.is_some_and(|from| op >= from)
            && self.ops[op as usize].outcome == Outcome::Ok
    }

    /// Each write is in one session, and somebody wrote it.
    pub(super) fn belongs(&mut self, op: u32, key: SessionKey) {
        let Some(entry) = self.ops.get_mut(op as usize) else {
            return self.violated(format!("{key} has {op}, which nobody wrote"));
        };
        let wrote = matches!(entry.kind, Kind::Write | Kind::Cycle);
        if !wrote || entry.outcome == Outcome::Failed || *entry.session.get_or_insert(key) != key {
            self.violated(format!("{key} has {op}, which was not written there"));
        }
    }
}

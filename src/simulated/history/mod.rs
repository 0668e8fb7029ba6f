//! Everything that happened, and what must not.
//!
//! The rules are about lives: a node that dies forgets, and rightly so.
//! 1. *Read your writes*: a life that held a write when it was acknowledged shows it to every later
//!    request that opens the session there, and opens it for whoever presents its newest cookie. In
//!    gusty weather this holds for every node that is ready, whoever acknowledged.
//! 2. *No phantoms*: what a session shows was written by a request, in that session alone.
//! 3. *Exact counters*: each write counts one up, so the counter is the number of writes shown.
//! 4. *Deleted stays deleted*: a life that knew a session destroyed when that was acknowledged never
//!    shows it again. A replaced cookie opens nothing either.

mod rules;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use super::{plan::Weather, stage::Life};
use crate::session::{CookieValue, SessionKey};

pub(super) struct History {
    ops: Vec<Op>,
    sessions: BTreeMap<SessionKey, Story>,
    tickets: BTreeMap<String, Ticket>,
    /// Acknowledged requests from this one on are seen on every ready node.
    strict_from: Option<u32>,
    violations: Vec<String>,
    lines: Vec<String>,
    /// What the simulation's clock showed last.
    at: Duration,
}

/// What a visitor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Write,
    Show,
    /// Shows what a cookie opens that is worth nothing any more.
    Stale,
    Cycle,
    Logout,
}

/// What the visitor knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    /// It reached no node, or the app said no.
    Failed,
    /// It may have happened.
    Unknown,
}

struct Op {
    kind: Kind,
    presented: Option<String>,
    outcome: Outcome,
    session: Option<SessionKey>,
    held: BTreeSet<Life>,
}

#[derive(Default)]
struct Story {
    writes: BTreeSet<u32>,
    /// Logouts that may have happened, and cycles that may not have found the session: what is written beside them may vanish.
    doomed: BTreeSet<u32>,
    /// Who held a tombstone when a logout was acknowledged.
    deleted: BTreeSet<Life>,
    /// Cycles under way, or which may have happened.
    cycling: BTreeSet<u32>,
}

/// A cookie a visitor got.
struct Ticket {
    session: SessionKey,
    made_by: u32,
    /// Cycles and logouts that may have made it worthless.
    spent: BTreeSet<u32>,
    /// Who knew that it was replaced when that was acknowledged.
    dead: BTreeSet<Life>,
}

/// A session as one node shows it.
pub(super) struct View {
    pub(super) key: SessionKey,
    pub(super) count: i64,
    pub(super) last: Option<u32>,
    pub(super) written: BTreeSet<u32>,
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key,
            count,
            last,
            written,
        } = self;
        write!(f, "{key} count {count} last {last:?} written {written:?}")
    }
}

impl History {
    pub(super) fn new(weather: Weather) -> Self {
        Self {
            ops: Vec::new(),
            sessions: BTreeMap::new(),
            tickets: BTreeMap::new(),
            strict_from: (weather == Weather::Gusty).then_some(0),
            violations: Vec::new(),
            lines: Vec::new(),
            at: Duration::ZERO,
        }
    }

    /// A visitor is about to send a request.
    pub(super) fn begin(&mut self, kind: Kind, presented: Option<&str>) -> u32 {
        let op = self.ops.len() as u32;
        self.note(format!("{op} {kind:?}"));
        self.ops.push(Op {
            kind,
            presented: presented.map(str::to_owned),
            outcome: Outcome::Unknown,
            session: None,
            held: BTreeSet::new(),
        });
        let session = presented.and_then(|p| Some(self.tickets.get(p)?.session));
        if let Some(key) = session
            && matches!(kind, Kind::Cycle | Kind::Logout)
        {
            let story = self.sessions.entry(key).or_default();
            // A node that does not know the session has it destroyed where it is.
            story.doomed.insert(op);
            if kind == Kind::Cycle {
                story.cycling.insert(op);
            }
            let tickets = self.tickets.values_mut();
            for ticket in tickets.filter(|ticket| ticket.session == key) {
                ticket.spent.insert(op);
            }
        }
        op
    }

    /// The visitor knows what came of it, and maybe has a new cookie.
    pub(super) fn end(&mut self, op: u32, outcome: Outcome, cookie: Option<&str>) {
        self.note(format!("{op} {outcome:?}"));
        self.ops[op as usize].outcome = outcome;
        let key = self.ops[op as usize].session;
        match outcome {
            Outcome::Ok => {
                if let Some(story) = key.and_then(|key| self.sessions.get_mut(&key)) {
                    story.cycling.remove(&op);
                }
            }
            Outcome::Failed => {
                for story in self.sessions.values_mut() {
                    story.cycling.remove(&op);
                    story.doomed.remove(&op);
                }
                for ticket in self.tickets.values_mut() {
                    ticket.spent.remove(&op);
                }
            }
            Outcome::Unknown => {}
        }
        if let Some(value) = cookie {
            self.learn(op, value);
        }
    }

    /// A node shows a session, or none, to somebody who presents a cookie.
    pub(super) fn seen(
        &mut self,
        life: Life,
        ready: bool,
        presented: Option<&str>,
        view: Option<&View>,
    ) {
        let shown = view.map_or_else(|| "nothing".to_owned(), ToString::to_string);
        self.note(format!("  {life:?} shows {shown}"));
        match view {
            None => self.check_absence(life, ready, presented),
            Some(view) => self.check_view(life, ready, presented, view),
        }
    }

    /// Peers have acknowledged a write, and these lives really hold it.
    pub(super) fn wrote(&mut self, life: Life, op: u32, key: SessionKey, held: BTreeSet<Life>) {
        self.note(format!("  {op} at {life:?} in {key}, held by {held:?}"));
        self.belongs(op, key);
        let entry = &mut self.ops[op as usize];
        if entry.kind == Kind::Cycle
            && let Some(ticket) = entry
                .presented
                .as_ref()
                .and_then(|p| self.tickets.get_mut(p))
            && ticket.session == key
        {
            ticket.dead.extend(&held);
            if let Some(story) = self.sessions.get_mut(&key) {
                story.doomed.remove(&op);
            }
        }
        entry.held = held;
        self.sessions.entry(key).or_default().writes.insert(op);
    }

    /// Peers have acknowledged a logout, and these lives really know of it.
    pub(super) fn deleted(&mut self, life: Life, op: u32, key: SessionKey, held: &BTreeSet<Life>) {
        self.note(format!(
            "  {op} at {life:?} buries {key}, known to {held:?}"
        ));
        let story = self.sessions.entry(key).or_default();
        story.doomed.insert(op);
        story.deleted.extend(held);
    }

    pub(super) fn violated(&mut self, what: String) {
        self.note(format!("VIOLATION {what}"));
        self.violations.push(what);
    }

    pub(super) fn note(&mut self, line: impl fmt::Display) {
        // Between two steps nobody runs whose clock could be read.
        self.at = turmoil::sim_elapsed().unwrap_or(self.at);
        self.lines
            .push(format!("{:>6} {line}", self.at.as_millis()));
    }

    pub(super) fn violations(&self) -> &[String] {
        &self.violations
    }

    pub(super) fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Requests sent, and those answered.
    pub(super) fn requests(&self) -> (usize, usize) {
        let ok = self.ops.iter().filter(|op| op.outcome == Outcome::Ok);
        (self.ops.len(), ok.count())
    }

    /// The same for equal histories.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.lines.hash(&mut hasher);
        hasher.finish()
    }

    fn learn(&mut self, op: u32, value: &str) {
        let Some(CookieValue { key: session, .. }) = CookieValue::parse(value) else {
            return self.violated(format!("{op} was told a malformed cookie"));
        };
        self.belongs(op, session);
        let story = self.sessions.entry(session).or_default();
        let mut spent = &story.cycling | &story.doomed;
        spent.remove(&op);
        let ticket = Ticket {
            session,
            made_by: op,
            spent,
            dead: BTreeSet::new(),
        };
        self.tickets.insert(value.to_owned(), ticket);
    }
}

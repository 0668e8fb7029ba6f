//! What a client knows of its session, and what it must therefore find.
//!
//! A node that lives until the storm is over holds what it has acknowledged, so all nodes must come
//! to hold it. What a node acknowledged that has ended meanwhile is held by its peers, if it had
//! any. Whether it had is known from its own log: where that tells of no trouble, they must have it;
//! where it does, or a process was stopped, there is a doubt and no violation, because a machine
//! without a free CPU may have kept a peer from answering in time. A logout is final also then, if
//! there was a peer that ran all the time and that the node's log tells nothing of.

use std::collections::BTreeMap;

use crate::{faults::NODES, support::browser::Browser};

/// A session as its client knows it.
#[derive(Debug)]
pub(crate) struct Story {
    /// With the cookie of the session, for ever.
    pub(crate) browser: Browser,
    pub(crate) id: String,
    /// What all nodes held when the last storm was over.
    base: Held,
    /// Answered since, and by whom.
    additions: Vec<Answered>,
    paddings: Vec<(u64, Option<Answered>)>,
    /// Additions that may have happened.
    unknown: u64,
    /// What each life has shown of it.
    shown: BTreeMap<Life, u64>,
    pub(crate) end: End,
}

/// What a node holds of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) additions: u64,
    pub(crate) padding: u64,
}

/// How far a session's end is known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Lives,
    /// A logout was answered.
    LoggedOut(Answered),
    /// Somebody may have logged out.
    Unknown,
    /// All nodes knew that it is gone when a storm was over.
    Buried,
}

/// One run of one node's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    pub(crate) node: usize,
    pub(crate) number: u32,
}

/// A request that was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    /// By whom, unless the process was replaced meanwhile.
    pub(crate) by: Option<Life>,
    /// What had happened in this storm by then.
    pub(crate) weather: Weather,
    /// The other nodes that had run and been linked all the time.
    pub(crate) steady: [bool; NODES],
}

/// What may have kept an answer from being held by all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Nothing but ends of processes, and the node had its links.
    Clear,
    /// A process was stopped.
    Stopped,
    /// Nodes were apart.
    Apart,
}

/// How surely an answer must be known to all when the storm is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    None,
    Doubtful,
    Sure,
}

/// Who is alive when the storm is over, and who of those that ended had no trouble.
#[derive(Debug, Default)]
pub(crate) struct Survivors {
    pub(crate) alive: Vec<Life>,
    pub(crate) untroubled: Vec<Life>,
    /// Those that ended, each with the peers of which its log tells trouble.
    pub(crate) ended: Vec<(Life, [bool; NODES])>,
}

impl Survivors {
    /// Returns how surely a logout is final. A stop of its node, or of others, is no excuse.
    fn claim_of_logout(&self, answered: Answered) -> Claim {
        let mut ended = self.ended.iter();
        let troubled = ended.find(|(life, _)| Some(*life) == answered.by);
        let has_told = troubled.is_some_and(|(_, troubled)| {
            let mut peers = answered.steady.iter().zip(troubled);
            peers.any(|(is_steady, is_troubled)| *is_steady && !is_troubled)
        });
        match answered.weather {
            Weather::Clear | Weather::Stopped if has_told => Claim::Sure,
            _ => self.claim(answered),
        }
    }

    fn claim(&self, answered: Answered) -> Claim {
        let Some(by) = answered.by else {
            return Claim::None;
        };
        match answered.weather {
            _ if self.alive.contains(&by) => Claim::Sure,
            Weather::Clear if self.untroubled.contains(&by) => Claim::Sure,
            Weather::Clear | Weather::Stopped => Claim::Doubtful,
            Weather::Apart => Claim::None,
        }
    }
}

/// What is wrong with what nodes show.
#[derive(Debug)]
pub(crate) enum Wrong {
    Violation(String),
    Doubt(String),
}

impl Story {
    pub(crate) fn new(browser: Browser, id: String, first: Answered) -> Self {
        let base = Held {
            additions: 0,
            padding: 0,
        };
        let mut story = Self {
            browser,
            id,
            base,
            additions: Vec::new(),
            paddings: Vec::new(),
            unknown: 0,
            shown: BTreeMap::new(),
            end: End::Lives,
        };
        story.added(first, 1).expect("nobody has shown it before");
        story
    }

    /// Notes an addition that a node has answered with this sum.
    pub(crate) fn added(&mut self, answered: Answered, sum: u64) -> Result<(), String> {
        self.additions.push(answered);
        self.saw(answered.by, Some(sum), 1)
    }

    /// Notes an addition that may have happened.
    pub(crate) const fn may_have_added(&mut self) {
        self.unknown += 1;
    }

    pub(crate) fn padded(&mut self, padding: u64, answered: Option<Answered>) {
        self.paddings.push((padding, answered));
    }

    /// Notes what a node shows: a life that has shown additions goes on to show them, and one that
    /// has answered a logout shows nothing any more.
    pub(crate) fn saw(
        &mut self,
        by: Option<Life>,
        sum: Option<u64>,
        more: u64,
    ) -> Result<(), String> {
        let Some(life) = by else {
            return Ok(());
        };
        let id = &self.id;
        match (self.end, sum) {
            (End::LoggedOut(logout), Some(_)) if logout.by == by => {
                return Err(format!("{life:?} shows {id}, of which it has logged out"));
            }
            (End::Lives, shown) => {
                let least = self.shown.get(&life).map_or(0, |least| least + more);
                if shown.unwrap_or(0) < least {
                    return Err(format!("{life:?} shows {shown:?} of {id}, not {least}"));
                }
            }
            _ => {}
        }
        if let Some(sum) = sum {
            self.shown.insert(life, sum);
        }
        Ok(())
    }

    /// Judges what the nodes show when the storm is over. `None` may change yet: nodes differ, or
    /// lack something.
    pub(crate) fn judge(&self, held: &[Option<Held>], survivors: &Survivors) -> Result<(), Wrong> {
        let id = &self.id;
        let first = held.first().copied().flatten();
        if held.iter().any(|other| *other != first) {
            return Err(Wrong::Violation(format!("nodes differ in {id}: {held:?}")));
        }
        match (self.end, first) {
            (End::Buried, Some(_)) => Err(Wrong::Violation(format!("{id} came back: {held:?}"))),
            (End::LoggedOut(logout), Some(_)) => self.wrong(
                survivors.claim_of_logout(logout),
                format!("{id} lives, of which {logout:?} has logged out"),
            ),
            (End::Lives, None) => {
                let additions = self.additions.iter();
                let claims = additions.map(|answered| survivors.claim(*answered));
                let claim = claims.max().unwrap_or(Claim::None);
                let claim = match self.base.additions {
                    0 => claim,
                    _ => Claim::Sure,
                };
                self.wrong(claim, format!("{id} is gone"))
            }
            (End::Lives, Some(held)) => self.judge_sum(held, survivors),
            (End::Unknown, _) | (_, None) => Ok(()),
        }
    }

    fn judge_sum(&self, held: Held, survivors: &Survivors) -> Result<(), Wrong> {
        let claimed = |least: Claim| {
            let additions = self.additions.iter();
            let claimed = additions.filter(|answered| survivors.claim(**answered) >= least);
            self.base.additions + claimed.count() as u64
        };
        let id = &self.id;
        let most = claimed(Claim::None) + self.unknown;
        let what = || {
            format!(
                "{id} has {held:?} and not {}..={most}",
                claimed(Claim::Sure)
            )
        };
        if held.additions > most || held.additions < claimed(Claim::Sure) {
            return Err(Wrong::Violation(what()));
        }
        let is_known = self.base.padding == held.padding
            || self
                .paddings
                .iter()
                .any(|(value, _)| *value == held.padding);
        let has_written = self.paddings.iter().any(|(_, answered)| {
            answered.is_some_and(|answered| survivors.claim(answered) == Claim::Sure)
        });
        if !is_known || (has_written && self.base.padding == held.padding) {
            let paddings = &self.paddings;
            return Err(Wrong::Violation(format!(
                "{id} has {held:?} after {paddings:?}"
            )));
        }
        if held.additions < claimed(Claim::Doubtful) {
            return Err(Wrong::Doubt(format!(
                "{}, rather {}",
                what(),
                claimed(Claim::Doubtful)
            )));
        }
        Ok(())
    }

    fn wrong(&self, claim: Claim, what: String) -> Result<(), Wrong> {
        match claim {
            Claim::None => Ok(()),
            Claim::Doubtful => Err(Wrong::Doubt(what)),
            Claim::Sure => Err(Wrong::Violation(format!("{what}: {self:?}"))),
        }
    }

    /// Begins anew with what all nodes hold.
    pub(crate) fn settle(&mut self, held: Option<Held>) {
        self.additions.clear();
        self.paddings.clear();
        self.unknown = 0;
        match held {
            Some(held) => {
                self.base = held;
                self.end = End::Lives;
            }
            None => self.end = End::Buried,
        }
    }
}

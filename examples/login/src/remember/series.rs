//! What is known of the tokens of one remembered login, and what a token that comes back means.
//!
//! A browser presents the token that it was given last, and is given a successor. Whoever presents
//! one that is out of use has an old copy of the cookie, or the other one has: somebody stole it.
//!
//! | token | what it means | what follows |
//! |---|---|---|
//! | the one that came last | several tabs at once, or the response with the successor was lost | another successor, beside those before |
//! | a successor | the browser got the response | it is the one that came last; the others go out of use |
//! | one that went out of use a moment ago | a request that was overtaken | nobody is logged in by it |
//! | any other | theft | all ends |
//!
//! A successor is used for the first time when its predecessor goes out of use, and not before. So a
//! response that is lost, by a node that was killed or a phone in a tunnel, locks nobody out. Each
//! is random, so that the owner and a thief who present the same token part ways: the second one to
//! come back is noticed.
//!
//! Each successor is an attribute of its own. So tabs that open at once on two nodes add one each,
//! and merging the copies of the session loses none.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tower_cluster_sessions::{Changes, Session, SessionError};

use super::token::{Token, TokenHash};

/// The tokens of one remembered login. There is only a hash of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Series {
    current: TokenHash,
    retired: Option<Retired>,
    successors: Vec<TokenHash>,
}

/// The token that was current before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Retired {
    token: TokenHash,
    /// How old the series was then. That is the same on all nodes, whatever their clocks show.
    at_ms: u64,
}

/// What a token means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The browser has it from the response that it got last.
    Current,
    /// The browser has got it, and has not presented it before.
    Successor,
    /// It went out of use while the request was on its way.
    Overtaken,
    /// Somebody has a copy.
    Stolen,
}

impl Series {
    /// Returns what begins a series with this token.
    pub(crate) fn begin(token: &Token) -> Result<Changes, SessionError> {
        let mut changes = Changes::new();
        changes.insert(CURRENT, token.hash())?;
        Ok(changes)
    }

    /// Reads the series that a session is. `None` if it is none.
    pub(crate) fn read(session: &Session) -> Result<Option<Self>, SessionError> {
        let Some(current) = session.get(CURRENT)? else {
            return Ok(None);
        };
        let names = session.keys()?;
        let successors = names.iter().filter_map(|name| name.strip_prefix(SUCCESSOR));
        Ok(Some(Self {
            current,
            retired: session.get(RETIRED)?,
            successors: successors.map(TokenHash::from_name).collect(),
        }))
    }

    /// Judges a token that is presented when the series is of this age.
    pub(crate) fn judge(&self, token: &TokenHash, age: Duration) -> Verdict {
        let is_retired = |retired: &Retired| {
            let since = as_ms(age).saturating_sub(retired.at_ms);
            retired.token == *token && since <= as_ms(ON_ITS_WAY)
        };
        if self.current == *token {
            Verdict::Current
        } else if self.successors.contains(token) {
            Verdict::Successor
        } else if self.retired.as_ref().is_some_and(is_retired) {
            Verdict::Overtaken
        } else {
            Verdict::Stolen
        }
    }

    /// Returns whether the browser is to be given a successor of this token, which was judged so.
    ///
    /// Of the one that came last there are so many at most. A browser that gets none keeps what it
    /// has, which goes on being good.
    pub(crate) fn gives_successor(&self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Current => self.successors.len() < MOST_SUCCESSORS,
            Verdict::Successor => true,
            Verdict::Overtaken | Verdict::Stolen => false,
        }
    }

    /// Returns the changes that put a token into use that is a successor, now that the series is of
    /// this age.
    pub(crate) fn advance(
        &self,
        token: &TokenHash,
        age: Duration,
    ) -> Result<Changes, SessionError> {
        let mut changes = Changes::new();
        changes.insert(CURRENT, token)?;
        let retired = Retired {
            token: self.current.clone(),
            at_ms: as_ms(age),
        };
        changes.insert(RETIRED, retired)?;
        for successor in &self.successors {
            changes.remove(&name_of(successor));
        }
        Ok(changes)
    }
}

/// Adds a successor to the changes of a series.
pub(crate) fn add_successor(changes: &mut Changes, token: &Token) -> Result<(), SessionError> {
    changes.insert(&name_of(&token.hash()), true)
}

fn name_of(successor: &TokenHash) -> String {
    format!("{SUCCESSOR}{successor}")
}

fn as_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

const CURRENT: &str = "token";
const RETIRED: &str = "retired";
/// What names of attributes begin with that are a successor each.
const SUCCESSOR: &str = "successor.";
/// A browser that opens again with all its tabs presents one token many times.
const MOST_SUCCESSORS: usize = 32;
/// How long a request may have been on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn series(retired_at_ms: u64) -> Series {
        Series {
            current: TokenHash::from_name("current"),
            retired: Some(Retired {
                token: TokenHash::from_name("retired"),
                at_ms: retired_at_ms,
            }),
            successors: vec![TokenHash::from_name("one"), TokenHash::from_name("two")],
        }
    }

    fn judged(name: &str, age_ms: u64) -> Verdict {
        let token = TokenHash::from_name(name);
        series(1_000).judge(&token, Duration::from_millis(age_ms))
    }

    #[test]
    fn token_means_what_the_table_says() {
        assert_eq!(judged("current", 99_000), Verdict::Current);
        assert_eq!(judged("one", 99_000), Verdict::Successor);
        assert_eq!(judged("two", 99_000), Verdict::Successor);
        assert_eq!(judged("retired", 11_000), Verdict::Overtaken);
        assert_eq!(judged("retired", 11_001), Verdict::Stolen);
        assert_eq!(judged("made up", 1_000), Verdict::Stolen);
    }

    #[test]
    fn successor_in_use_puts_all_others_out_of_use() {
        let token = TokenHash::from_name("one");
        let changes = series(0).advance(&token, Duration::from_secs(5));
        let shown = format!("{:?}", changes.expect("valid"));
        for name in ["retired", "successor.one", "successor.two", "token"] {
            assert!(shown.contains(&format!("{name:?}")), "{name}: {shown}");
        }
    }

    #[test]
    fn successors_have_a_bound_and_the_token_that_came_last_stays_good() {
        let mut series = series(0);
        assert!(series.gives_successor(Verdict::Current));
        series.successors = (0..MOST_SUCCESSORS)
            .map(|number| TokenHash::from_name(&number.to_string()))
            .collect();
        assert!(!series.gives_successor(Verdict::Current));
        assert!(series.gives_successor(Verdict::Successor));
        let token = series.current.clone();
        assert_eq!(series.judge(&token, Duration::ZERO), Verdict::Current);
    }
}

//! One user with a cookie, who trusts no count.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use crate::{BoxError, client::Answer, pages::NO_ID};

/// What an answer must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checks {
    /// The visitor's own count, one higher each time, in the same session.
    Count,
    /// Nothing but success: the server knows no sessions.
    Success,
}

/// Small, since there may be a million.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    cookie: Box<str>,
    count: u64,
    /// A hash of the session's id, once it is known.
    id: Option<u64>,
    /// The server that has the visitor's next request.
    pub(crate) server: usize,
}

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// The count is not the last one plus one.
    pub(crate) counts: u64,
    /// Another session answers.
    pub(crate) sessions: u64,
}

impl Visitor {
    /// One who has seen `count` hits.
    pub(crate) fn new(cookie: &str, count: u64, server: usize) -> Self {
        Self {
            cookie: cookie.into(),
            count,
            id: None,
            server,
        }
    }

    pub(crate) fn cookie(&self) -> &str {
        &self.cookie
    }

    pub(crate) fn read(&mut self, answer: &Answer<'_>, checks: Checks) -> Result<Faults, BoxError> {
        let mut faults = Faults::default();
        if checks == Checks::Success {
            return Ok(faults);
        }
        if let Some(cookie) = answer.cookie()
            && *cookie != *self.cookie
        {
            self.cookie = cookie.into();
        }
        let (count, id) = parse(answer.body).ok_or("a page without a count")?;
        faults.counts = u64::from(count != self.count + 1);
        self.count = count;
        if id != NO_ID {
            let id = BuildHasherDefault::<DefaultHasher>::default().hash_one(id);
            faults.sessions = u64::from(self.id.is_some_and(|known| known != id));
            self.id = Some(id);
        }
        Ok(faults)
    }
}

/// The count and the id of a page.
pub(crate) fn parse(page: &str) -> Option<(u64, &str)> {
    let rest = page.strip_prefix("You have hit this page ")?;
    let (count, rest) = rest.split_once(" times.\nSession ID: ")?;
    Some((count.parse().ok()?, rest.strip_suffix('\n')?))
}

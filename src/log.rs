//! Log lines and spans. One that cannot be written is lost, and nothing else.
//!
//! `tracing_subscriber::fmt` tells with `eprintln!` of a line that it could not write, and that
//! panics where standard error is gone, too: a pipe whose reader has died, a full disk. The panic
//! would end the task that logged, or the whole process while another panic unwinds.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use tracing::{debug_span, field::Empty, info_span};

macro_rules! debug_line {
    ($($line:tt)*) => { $crate::log::attempt(|| ::tracing::debug!($($line)*)) };
}

macro_rules! info_line {
    ($($line:tt)*) => { $crate::log::attempt(|| ::tracing::info!($($line)*)) };
}

macro_rules! warn_line {
    ($($line:tt)*) => { $crate::log::attempt(|| ::tracing::warn!($($line)*)) };
}

macro_rules! error_line {
    ($($line:tt)*) => { $crate::log::attempt(|| ::tracing::error!($($line)*)) };
}

pub(crate) use {debug_line as debug, error_line as error, info_line as info, warn_line as warn};

/// Work that takes a while and goes on in several tasks. It ends when this is dropped.
///
/// The end is told to whoever collects spans, which may fail as a line does.
#[derive(Debug)]
pub(crate) struct Span(Option<tracing::Span>);

impl Span {
    /// Begins a state transfer.
    pub(crate) fn transfer(node: &str, member: &str) -> Self {
        Self::begin(|| {
            info_span!(
                "session_transfer",
                node,
                member,
                sessions = Empty,
                bytes = Empty
            )
        })
    }

    /// Begins a round of repair. One that leaves nothing out is rare, and so at a higher level.
    pub(crate) fn repair(node: &str, member: &str, complete: bool) -> Self {
        Self::begin(|| match complete {
            true => info_span!(
                "session_repair",
                node,
                member,
                complete,
                sessions = Empty,
                bytes = Empty
            ),
            false => debug_span!(
                "session_repair",
                node,
                member,
                complete,
                sessions = Empty,
                bytes = Empty
            ),
        })
    }

    fn begin(begin: impl FnOnce() -> tracing::Span) -> Self {
        let mut begun = None;
        attempt(|| begun = Some(begin()));
        Self(begun)
    }

    /// Sets a field, which was empty when the span began.
    pub(crate) fn record(&self, field: &'static str, value: u64) {
        if let Self(Some(span)) = self {
            attempt(|| {
                span.record(field, value);
            });
        }
    }

    /// Has what `write` logs belong to the span.
    pub(crate) fn hold(&self, write: impl FnOnce()) {
        match &self.0 {
            Some(span) => attempt(|| span.in_scope(write)),
            None => write(),
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(span) = self.0.take() {
            attempt(|| drop(span));
        }
    }
}

/// Writes a line, unless this thread unwinds already.
pub(crate) fn attempt(write: impl FnOnce()) {
    if !thread::panicking() {
        // There is nobody left to tell.
        let _ = catch_unwind(AssertUnwindSafe(write));
    }
}

//! The work on a link that is told as spans: rounds of repair, and the state transfer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{log::Span, replica::RoundMark};

/// The spans of one link. What is under way when the link ends, ends with it.
#[derive(Debug)]
pub(super) struct LinkSpans {
    /// The names that they have as fields.
    node: Arc<str>,
    member: Arc<str>,
    round: Mutex<Round>,
    transfer: Mutex<Option<Span>>,
}

#[derive(Debug, Default)]
struct Round {
    begun: u64,
    span: Option<Span>,
}

impl LinkSpans {
    pub(super) fn new(node: Arc<str>, member: Arc<str>) -> Self {
        Self {
            node,
            member,
            round: Mutex::default(),
            transfer: Mutex::default(),
        }
    }

    /// Notes how far rounds have come. The two tasks of a link may do so in another order than they
    /// saw it.
    pub(super) fn note_round(&self, mark: RoundMark) {
        let mut round = lock(&self.round);
        if mark.begun > round.begun {
            let Self { node, member, .. } = self;
            round.begun = mark.begun;
            round.span = Some(Span::repair(node, member, mark.is_complete));
        }
        if mark.ended >= round.begun
            && let Some(span) = round.span.take()
        {
            span.record("sessions", mark.sessions);
            span.record("bytes", mark.bytes);
        }
    }

    /// Notes that the member was asked for all its sessions. What `write` logs belongs to that.
    pub(super) fn begin_transfer(&self, write: impl FnOnce()) {
        let Self { node, member, .. } = self;
        let span = Span::transfer(node, member);
        span.hold(write);
        *lock(&self.transfer) = Some(span);
    }

    /// Notes that they have come. What `write` logs belongs to that.
    pub(super) fn end_transfer(&self, sessions: u64, bytes: u64, write: impl FnOnce()) {
        match lock(&self.transfer).take() {
            Some(span) => {
                span.record("sessions", sessions);
                span.record("bytes", bytes);
                span.hold(write);
            }
            None => write(),
        }
    }

    /// Notes that another member is asked instead. What `write` logs belongs to that.
    pub(super) fn give_transfer_up(&self, write: impl FnOnce()) {
        match lock(&self.transfer).take() {
            Some(span) => span.hold(write),
            None => write(),
        }
    }
}

/// Locks a slot.
fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

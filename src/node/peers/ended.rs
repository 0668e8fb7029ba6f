//! Why a link is over.

use std::io;

use crate::{
    replica::Violation,
    wire::{FrameError, Malformed},
};

/// The reason why a link is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error("the other side closed the connection")]
    Closed,
    #[error("the connection broke: {0}")]
    Broken(#[source] io::Error),
    #[error("nothing was heard of it for too long")]
    Silent,
    #[error("the link was older than `max_link_age`, or what proves its peer is not good any more")]
    TooOld,
    #[error("it left")]
    Left,
    #[error("{0}")]
    Violation(#[source] Offence),
    /// By us: another link took its place, its peer was removed, or the node leaves.
    #[error("the link was ended here")]
    Stopped,
}

/// Something that a peer must not send.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Offence {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Violation(#[from] Violation),
}

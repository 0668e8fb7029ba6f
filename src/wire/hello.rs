//! The first words on a link: who is there, and why not.

use std::ops::RangeInclusive;

use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use crate::session::BootId;

/// The protocol versions this release speaks.
pub(crate) const PROTOCOL: RangeInclusive<u16> = 1..=1;

/// Who is at the other end. The dialler sends it first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) min_version: u16,
    pub(crate) max_version: u16,
    pub(crate) cluster: String,
    pub(crate) node: String,
    pub(crate) boot: BootId,
    pub(crate) advertise: Option<String>,
}

/// The listener's answer to a [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Greeting {
    Welcome(Hello),
    Refused(Refusal),
}

/// The dialler's answer to a [`Greeting::Welcome`]. The link is established with `Go`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Confirm {
    Go,
    Refused(Refusal),
}

/// Why two nodes have no link. Both sides log it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("wrong cluster {theirs} {ours}")]
    WrongCluster { ours: String, theirs: String },
    #[error("duplicate name {name}")]
    DuplicateName { name: String },
    #[error("that is this node itself")]
    SameBoot,
    #[error("version")]
    Version {
        ours: RangeInclusive<u16>,
        theirs: RangeInclusive<u16>,
    },
    #[error("another link between these two nodes stays")]
    Duplicate,
    #[error("not listed")]
    NotListed,
    #[error("not a hello")]
    NotAHello,
}

impl Hello {
    /// What this node, which sends `self`, makes of `theirs`: the protocol version to speak.
    /// Says nothing of links that exist already.
    pub(crate) fn judge(&self, _theirs: &Self) -> Result<u16, Refusal> {
        todo!()
    }

    pub(crate) fn encode(&self, _out: &mut BytesMut) {
        todo!()
    }

    /// [`Refusal::NotAHello`] for anything else.
    pub(crate) fn decode(_bytes: &[u8]) -> Result<Self, Refusal> {
        todo!()
    }
}

impl Greeting {
    pub(crate) fn encode(&self, _out: &mut BytesMut) {
        todo!()
    }

    pub(crate) fn decode(_bytes: &[u8]) -> Result<Self, Refusal> {
        todo!()
    }
}

impl Confirm {
    pub(crate) fn encode(&self, _out: &mut BytesMut) {
        todo!()
    }

    pub(crate) fn decode(_bytes: &[u8]) -> Result<Self, Refusal> {
        todo!()
    }
}

/// The highest version both speak.
pub(crate) fn negotiate(
    _ours: RangeInclusive<u16>,
    _theirs: RangeInclusive<u16>,
) -> Result<u16, Refusal> {
    todo!()
}

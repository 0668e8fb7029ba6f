//! What a member tells of others: whom it is linked with, and where they can be dialled.

#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use super::{
    bytes::{Reader, Writer},
    error::Malformed,
};
use crate::{config::PeerAddress, session::BootId};

/// What a member tells of itself and of others, for nodes that do not know them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PeerList {
    /// The port where the sender listens.
    pub(crate) port: Option<u16>,
    /// The members with which it has links.
    pub(crate) linked: Vec<(BootId, PeerAddress)>,
}

/// Bytes of an entry at least: a boot id and the length of an address.
const ENTRY: usize = 9;
/// Members that one message tells of.
pub(crate) const MAX_TOLD_PEERS: usize = 256;

pub(super) fn write_peers(peers: &PeerList, to: &mut Writer<'_>) {
    to.u64(peers.port.unwrap_or(0).into());
    to.list(peers.linked.iter(), |to, (boot, address)| {
        to.array(&boot.bytes());
        to.text(&address.to_string());
    });
}

pub(super) fn read_peers(from: &mut Reader<'_>) -> Result<PeerList, Malformed> {
    let port = from.u16()?;
    let count = from.count(ENTRY)?;
    if count > MAX_TOLD_PEERS {
        return Err(Malformed("more members than are told of at once"));
    }
    Ok(PeerList {
        port: (port > 0).then_some(port),
        linked: from.repeat(count, |from| {
            Ok((BootId::from_bytes(from.array()?), read_address(from)?))
        })?,
    })
}

fn read_address(from: &mut Reader<'_>) -> Result<PeerAddress, Malformed> {
    let text = from.text()?;
    let address = text.parse::<PeerAddress>().ok();
    // Equal addresses are equal bytes.
    let address = address.filter(|address| address.to_string() == text);
    address.ok_or(Malformed("no address of a member"))
}

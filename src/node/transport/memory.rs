//! A network inside the process, whose links can be cut and healed.

use std::{io, net::SocketAddr};

use futures_core::future::BoxFuture;

use super::{Acceptor, BoxIo, Transport};
use crate::config::{ListenAddr, PeerAddr, StartError};

/// The network: a handle that all its nodes and the test share. Nodes are told apart by port; the
/// host of an address is ignored.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryNetwork {}

impl MemoryNetwork {
    /// The transport of the node at `port`, which is where it listens and from where it dials.
    pub(crate) fn transport(&self, _port: u16) -> MemoryTransport {
        todo!()
    }

    /// Resets all streams and refuses new ones until [`MemoryNetwork::heal`].
    pub(crate) fn cut(&self) {
        todo!()
    }

    /// Ends all cuts.
    pub(crate) fn heal(&self) {
        todo!()
    }

    /// Resets all streams between two nodes and refuses new ones, both ways.
    pub(crate) fn cut_between(&self, _a: u16, _b: u16) {
        todo!()
    }

    /// Ends a cut between two nodes.
    pub(crate) fn heal_between(&self, _a: u16, _b: u16) {
        todo!()
    }
}

/// One node's access to a [`MemoryNetwork`].
#[derive(Clone, Debug)]
pub(crate) struct MemoryTransport {}

impl Transport for MemoryTransport {
    fn bind(&self, _listen: &ListenAddr) -> Result<Box<dyn Acceptor>, StartError> {
        todo!()
    }

    fn connect<'a>(
        &'a self,
        _peer: &'a PeerAddr,
    ) -> BoxFuture<'a, io::Result<(BoxIo, SocketAddr)>> {
        todo!()
    }
}

//! The network of the operating system.

use std::{io, net::SocketAddr};

use futures_core::future::BoxFuture;

use super::{Acceptor, BoxIo, Transport};
use crate::config::{ListenAddr, PeerAddr, StartError};

/// Plain TCP.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TcpTransport;

impl Transport for TcpTransport {
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

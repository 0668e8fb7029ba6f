//! Where byte streams between nodes come from.
//!
//! Everything above knows only [`Transport`]. So a simulated network is another implementation,
//! handed to the node at its start, and nothing else changes.

#[cfg(any(test, feature = "test-util"))]
mod memory;
mod tcp;

use std::{fmt, io, net::SocketAddr};

use futures_core::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

#[cfg(any(test, feature = "test-util"))]
pub(crate) use self::memory::MemoryNetwork;
pub(crate) use self::tcp::TcpTransport;
use crate::config::{ListenAddress, PeerAddress, StartError};

/// A byte stream to a peer.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

pub(crate) type BoxIo = Box<dyn Io>;

/// A network that nodes can meet in.
pub(crate) trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Begins to listen, without waiting for anything but a name server.
    ///
    /// # Errors
    ///
    /// [`StartError::Bind`], and [`StartError::NoRuntime`] outside a runtime.
    fn bind(&self, listen: &ListenAddress) -> Result<Box<dyn Acceptor>, StartError>;

    /// Looks up all addresses of a peer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the question up.
    fn resolve<'a>(&'a self, peer: &'a PeerAddress) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;

    /// Dials an address.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the attempt up.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<BoxIo>>;
}

/// An address that peers can dial.
pub(crate) trait Acceptor: Send {
    /// Returns where it listens, with the port the system chose.
    fn local_address(&self) -> SocketAddr;

    /// Waits for the next peer that dials. Never fails: it logs what goes wrong and waits
    /// until it is over.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no connection.
    fn accept(&mut self) -> BoxFuture<'_, (BoxIo, SocketAddr)>;
}

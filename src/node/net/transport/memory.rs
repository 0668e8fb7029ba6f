//! A network inside the process, whose links can be cut and healed.

use std::{
    collections::{HashMap, HashSet},
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, Weak},
    task::{Context, Poll, Waker, ready},
};

use futures_core::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex},
    sync::mpsc,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{Acceptor, BoxIo, Transport};
use crate::config::{ListenAddress, PeerAddress, StartError};

/// The network: a handle that all its nodes and the test share. Nodes are told apart by port; the
/// host of an address is ignored.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryNetwork {
    /// Guards who listens, what is cut and which streams are open. Never held while a stream or a
    /// waker runs, except to reset streams, whose wakers only schedule tasks.
    state: Arc<Mutex<NetworkState>>,
}

impl MemoryNetwork {
    /// Returns the transport of the node at `port`, which is where it listens and from where it
    /// dials.
    pub(crate) fn transport(&self, port: u16) -> MemoryTransport {
        MemoryTransport {
            network: self.clone(),
            port,
        }
    }

    /// Resets all streams and refuses new ones until [`MemoryNetwork::heal`].
    pub(crate) fn cut(&self) {
        let mut state = self.lock();
        state.cut = true;
        state.reset(|_| true);
    }

    /// Ends all cuts.
    pub(crate) fn heal(&self) {
        let mut state = self.lock();
        state.cut = false;
        state.cut_pairs.clear();
    }

    /// Returns whether nobody listens at a port.
    #[cfg(test)]
    pub(crate) fn is_free(&self, port: u16) -> bool {
        !self.lock().listeners.contains_key(&port)
    }

    /// Delivers nothing until [`MemoryNetwork::release`], without a word to anybody: what is sent
    /// waits in the streams.
    #[cfg(test)]
    pub(crate) fn hold(&self) {
        self.set_held(true);
    }

    /// Delivers again, what waited first.
    #[cfg(test)]
    pub(crate) fn release(&self) {
        self.set_held(false);
    }

    #[cfg(test)]
    fn set_held(&self, held: bool) {
        let mut state = self.lock();
        state.held = held;
        let streams = state.streams.iter();
        for stream in streams.filter_map(|(_, stream)| stream.upgrade()) {
            stream.set_held(held);
        }
    }

    /// Resets all streams between two nodes and refuses new ones, both ways.
    pub(crate) fn cut_between(&self, a: u16, b: u16) {
        let pair = Pair::new(a, b);
        let mut state = self.lock();
        state.cut_pairs.insert(pair);
        state.reset(|stream| stream == pair);
    }

    /// Ends a cut between two nodes; that of the whole network stays.
    pub(crate) fn heal_between(&self, a: u16, b: u16) {
        self.lock().cut_pairs.remove(&Pair::new(a, b));
    }

    /// Returns whether two nodes cannot reach each other, for whichever cut.
    #[cfg(feature = "test-util")]
    pub(crate) fn is_cut(&self, a: u16, b: u16) -> bool {
        self.lock().is_cut(Pair::new(a, b))
    }

    fn lock(&self) -> MutexGuard<'_, NetworkState> {
        self.state.lock().expect("no section of this lock panics")
    }
}

#[derive(Debug, Default)]
struct NetworkState {
    listeners: HashMap<u16, mpsc::Sender<(BoxIo, SocketAddr)>>,
    cut: bool,
    cut_pairs: HashSet<Pair>,
    held: bool,
    /// Dead once both ends are dropped.
    streams: Vec<(Pair, Weak<Pipe>)>,
}

impl NetworkState {
    fn reset(&mut self, affected: impl Fn(Pair) -> bool) {
        self.streams
            .retain(|(pair, stream)| match stream.upgrade() {
                Some(stream) if affected(*pair) => {
                    stream.reset.cancel();
                    false
                }
                Some(_) => true,
                None => false,
            });
    }

    fn is_cut(&self, pair: Pair) -> bool {
        self.cut || self.cut_pairs.contains(&pair)
    }

    fn open(&mut self, from: u16, to: u16) -> Option<BoxIo> {
        let pair = Pair::new(from, to);
        if self.is_cut(pair) {
            return None;
        }
        let wire = Arc::new(Pipe::default());
        wire.set_held(self.held);
        let (near, far) = duplex(STREAM_BUFFER);
        let far = Box::new(MemoryStream::new(far, Arc::clone(&wire)));
        self.listeners
            .get(&to)?
            .try_send((far, address(from)))
            .ok()?;
        self.reset(|_| false);
        self.streams.push((pair, Arc::downgrade(&wire)));
        Some(Box::new(MemoryStream::new(near, wire)))
    }
}

/// What the network does to both ends of a stream.
#[derive(Debug, Default)]
struct Pipe {
    reset: CancellationToken,
    /// Guards whether the wire is held and who reads at it. Never held while waking.
    hold: Mutex<Hold>,
}

#[derive(Debug, Default)]
struct Hold {
    held: bool,
    readers: Vec<Waker>,
}

impl Pipe {
    fn set_held(&self, held: bool) {
        let mut hold = self.hold.lock().expect("no section of this lock panics");
        hold.held = held;
        let readers = std::mem::take(&mut hold.readers);
        drop(hold);
        readers.into_iter().for_each(Waker::wake);
    }

    fn poll_delivery(&self, cx: &Context<'_>) -> Poll<()> {
        let mut hold = self.hold.lock().expect("no section of this lock panics");
        if !hold.held {
            return Poll::Ready(());
        }
        hold.readers.push(cx.waker().clone());
        Poll::Pending
    }
}

/// Two nodes in either order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Pair(u16, u16);

impl Pair {
    fn new(a: u16, b: u16) -> Self {
        Self(a.min(b), a.max(b))
    }
}

/// One node's access to a [`MemoryNetwork`].
#[derive(Clone, Debug)]
pub(crate) struct MemoryTransport {
    network: MemoryNetwork,
    port: u16,
}

impl Transport for MemoryTransport {
    /// Listens at this node's port, which must be that of `listen` unless that is 0.
    fn bind(&self, listen: &ListenAddress) -> Result<Box<dyn Acceptor>, StartError> {
        let failed = |kind: io::ErrorKind| StartError::Bind {
            address: listen.to_string(),
            source: kind.into(),
        };
        if listen.port != 0 && listen.port != self.port {
            return Err(failed(io::ErrorKind::AddrNotAvailable));
        }
        let mut state = self.network.lock();
        if state.listeners.contains_key(&self.port) {
            return Err(failed(io::ErrorKind::AddrInUse));
        }
        // Full means that the node does not accept: dialling it is refused.
        let (sender, arrivals) = mpsc::channel(BACKLOG);
        state.listeners.insert(self.port, sender);
        Ok(Box::new(MemoryAcceptor {
            transport: self.clone(),
            arrivals,
        }))
    }

    /// Every host is loopback here.
    fn resolve<'a>(&'a self, peer: &'a PeerAddress) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(vec![address(peer.port)]) })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<BoxIo>> {
        Box::pin(async move {
            let opened = self.network.lock().open(self.port, address.port());
            opened.ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
        })
    }
}

#[derive(Debug)]
struct MemoryAcceptor {
    transport: MemoryTransport,
    arrivals: mpsc::Receiver<(BoxIo, SocketAddr)>,
}

impl Acceptor for MemoryAcceptor {
    fn local_address(&self) -> SocketAddr {
        address(self.transport.port)
    }

    fn accept(&mut self) -> BoxFuture<'_, (BoxIo, SocketAddr)> {
        Box::pin(async move {
            let arrival = self.arrivals.recv().await;
            arrival.expect("the network holds the sender until this is dropped")
        })
    }
}

impl Drop for MemoryAcceptor {
    fn drop(&mut self) {
        let MemoryTransport { network, port } = &self.transport;
        network.lock().listeners.remove(port);
    }
}

/// A stream that can be reset from outside. Readers and writers wait in two tasks, so each has a
/// future of its own to be woken by.
struct MemoryStream {
    io: DuplexStream,
    read_reset: Pin<Box<WaitForCancellationFutureOwned>>,
    write_reset: Pin<Box<WaitForCancellationFutureOwned>>,
    /// What the network knows the stream by, as long as one of its ends is in use.
    wire: Arc<Pipe>,
}

impl MemoryStream {
    fn new(io: DuplexStream, wire: Arc<Pipe>) -> Self {
        let wait = || Box::pin(wire.reset.clone().cancelled_owned());
        Self {
            io,
            read_reset: wait(),
            write_reset: wait(),
            wire,
        }
    }

    fn writable(&mut self, cx: &mut Context<'_>) -> io::Result<Pin<&mut DuplexStream>> {
        check(self.write_reset.as_mut(), cx)?;
        Ok(Pin::new(&mut self.io))
    }
}

/// An error after a reset; before it, the task is woken by it.
fn check(reset: Pin<&mut WaitForCancellationFutureOwned>, cx: &mut Context<'_>) -> io::Result<()> {
    match reset.poll(cx) {
        Poll::Ready(()) => Err(io::ErrorKind::ConnectionReset.into()),
        Poll::Pending => Ok(()),
    }
}

impl AsyncRead for MemoryStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        check(self.read_reset.as_mut(), cx)?;
        ready!(self.wire.poll_delivery(cx));
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writable(cx)?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writable(cx)?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writable(cx)?.poll_shutdown(cx)
    }
}

impl fmt::Debug for MemoryStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStream").finish_non_exhaustive()
    }
}

const fn address(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// What a socket's buffers commonly hold.
const STREAM_BUFFER: usize = 64 << 10;
/// Connections that wait to be accepted.
const BACKLOG: usize = 64;

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn listen(network: &MemoryNetwork, port: u16) -> Box<dyn Acceptor> {
        let any = ListenAddress::parse("node:0", 0).expect("valid");
        network.transport(port).bind(&any).expect("free")
    }

    async fn dial(network: &MemoryNetwork, from: u16, to: u16) -> io::Result<BoxIo> {
        network.transport(from).connect(address(to)).await
    }

    fn kind<T>(outcome: io::Result<T>) -> io::ErrorKind {
        outcome.map(drop).expect_err("a failure").kind()
    }

    #[tokio::test]
    async fn nodes_meet_by_port() {
        let network = MemoryNetwork::default();
        let mut acceptor = listen(&network, 2);
        assert_eq!(acceptor.local_address().port(), 2);
        let mut out = dial(&network, 1, 2).await.expect("listening");
        let (mut inward, from) = acceptor.accept().await;
        assert_eq!(from.port(), 1);
        out.write_all(b"ping").await.expect("open");
        let mut got = [0; 4];
        inward.read_exact(&mut got).await.expect("open");
        assert_eq!(&got, b"ping");
        drop(out);
        assert_eq!(inward.read(&mut got).await.expect("a clean end"), 0);
    }

    #[tokio::test]
    async fn a_port_is_taken_until_its_acceptor_is_dropped() {
        let network = MemoryNetwork::default();
        let acceptor = listen(&network, 2);
        let again = network
            .transport(2)
            .bind(&ListenAddress::parse("node:2", 0).expect("valid"));
        assert!(matches!(again, Err(StartError::Bind { .. })));
        let foreign = network
            .transport(3)
            .bind(&ListenAddress::parse("node:2", 0).expect("valid"));
        assert!(matches!(foreign, Err(StartError::Bind { .. })));
        drop(acceptor);
        let refused = dial(&network, 1, 2).await;
        assert_eq!(kind(refused), io::ErrorKind::ConnectionRefused);
        listen(&network, 2);
    }

    #[tokio::test]
    async fn a_cut_wakes_readers_and_writers_and_refuses_until_healed() {
        let network = MemoryNetwork::default();
        let mut acceptor = listen(&network, 2);
        let out = dial(&network, 1, 2).await.expect("listening");
        let (mut inward, _) = acceptor.accept().await;
        let (mut read, mut write) = tokio::io::split(out);
        // Both wait: nothing comes, and the other end does not read.
        let reader = async { kind(read.read_u8().await) };
        let writer = async { kind(write.write_all(&[0; 2 * STREAM_BUFFER]).await) };
        let cutter = async { network.cut() };
        let (reader, writer, ()) = tokio::join!(reader, writer, cutter);
        assert_eq!(reader, io::ErrorKind::ConnectionReset);
        assert_eq!(writer, io::ErrorKind::ConnectionReset);
        // What was under way is lost, as it is with a real reset.
        assert_eq!(kind(inward.read_u8().await), io::ErrorKind::ConnectionReset);
        let refused = dial(&network, 1, 2).await;
        assert_eq!(kind(refused), io::ErrorKind::ConnectionRefused);
        network.heal();
        assert!(dial(&network, 1, 2).await.is_ok());
    }

    #[tokio::test]
    async fn a_cut_between_two_nodes_leaves_the_third_alone() {
        let network = MemoryNetwork::default();
        let mut acceptor = listen(&network, 2);
        let mut cut_off = dial(&network, 1, 2).await.expect("listening");
        let mut other = dial(&network, 3, 2).await.expect("listening");
        acceptor.accept().await;
        let (mut inward, _) = acceptor.accept().await;
        network.cut_between(2, 1);
        assert_eq!(
            kind(cut_off.read_u8().await),
            io::ErrorKind::ConnectionReset
        );
        assert!(dial(&network, 1, 2).await.is_err());
        other.write_all(b"x").await.expect("open");
        assert_eq!(inward.read_u8().await.expect("open"), b'x');
        assert!(dial(&network, 3, 2).await.is_ok());
        network.heal_between(1, 2);
        assert!(dial(&network, 1, 2).await.is_ok());
    }

    #[tokio::test]
    async fn a_node_that_does_not_accept_is_refused_in_the_end() {
        let network = MemoryNetwork::default();
        let _acceptor = listen(&network, 2);
        let mut streams = Vec::new();
        for _ in 0..BACKLOG {
            streams.push(dial(&network, 1, 2).await.expect("room in the backlog"));
        }
        assert!(dial(&network, 1, 2).await.is_err());
    }
}

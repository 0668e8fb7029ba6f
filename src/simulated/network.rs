//! What a node takes from its environment, taken from the simulation.

use std::{
    future::ready,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_core::future::BoxFuture;
use futures_util::FutureExt as _;
use tokio::time::timeout;
use turmoil::net::{TcpListener, TcpStream};

use super::{
    plan::Dice,
    sockets::{Socket, Sockets},
    stage::Life,
};
use crate::{
    config::{ListenAddress, PeerAddress, StartError},
    node::{
        Env, Random, SystemTime,
        net::transport::{Acceptor, BoxIo, Transport},
    },
};

/// The world of one life of a node: equal seeds give equal worlds.
pub(super) fn env(seed: u64, life: Life, skew_ms: i64, sockets: &Arc<Sockets>) -> Env {
    let dice = Dice::new(seed, u64::from(life.run) << 8 | life.node as u64);
    Env {
        system: Arc::new(SkewedTime { skew_ms }),
        random: Arc::new(SeededRandom(Mutex::new(dice))),
        ..Env::of(Arc::new(SimulatedNetwork(Arc::clone(sockets))))
    }
}

#[derive(Debug)]
struct SimulatedNetwork(Arc<Sockets>);

impl Transport for SimulatedNetwork {
    fn bind(&self, listen: &ListenAddress) -> Result<Box<dyn Acceptor>, StartError> {
        match bind(listen.port, &self.0) {
            Ok(acceptor) => Ok(Box::new(acceptor)),
            Err(source) => Err(StartError::Bind {
                address: listen.to_string(),
                source,
            }),
        }
    }

    fn resolve<'a>(&'a self, peer: &'a PeerAddress) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let address = SocketAddr::new(turmoil::lookup(peer.host.as_str()), peer.port);
        Box::pin(ready(Ok(vec![address])))
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<BoxIo>> {
        Box::pin(async move {
            let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
                .await
                .map_err(|_| io::ErrorKind::TimedOut)??;
            Ok(Box::new(self.0.add(stream)) as BoxIo)
        })
    }
}

/// Listens on the host that runs.
pub(super) fn bind(port: u16, sockets: &Arc<Sockets>) -> io::Result<SimulatedListener> {
    let bound = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
    let listener = bound.now_or_never().expect("binding here never waits")?;
    Ok(SimulatedListener {
        listener,
        sockets: Arc::clone(sockets),
    })
}

/// For links and for HTTP.
pub(super) struct SimulatedListener {
    listener: TcpListener,
    sockets: Arc<Sockets>,
}

impl SimulatedListener {
    async fn next(&self) -> (Socket, SocketAddr) {
        let accepted = self.listener.accept().await;
        let (stream, from) = accepted.expect("accepting here never fails");
        (self.sockets.add(stream), from)
    }

    fn local(&self) -> SocketAddr {
        self.listener.local_addr().expect("it is bound")
    }
}

impl Acceptor for SimulatedListener {
    fn local_address(&self) -> SocketAddr {
        self.local()
    }

    fn accept(&mut self) -> BoxFuture<'_, (BoxIo, SocketAddr)> {
        Box::pin(async move {
            let (stream, from) = self.next().await;
            (Box::new(stream) as BoxIo, from)
        })
    }
}

impl axum::serve::Listener for SimulatedListener {
    type Io = Socket;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Socket, SocketAddr) {
        self.next().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local())
    }
}

/// Nodes disagree about the time of day.
#[derive(Debug)]
struct SkewedTime {
    skew_ms: i64,
}

impl SystemTime for SkewedTime {
    fn unix_ms(&self) -> u64 {
        // A node that is torn down with the simulation has no time any more.
        let since = turmoil::since_epoch().unwrap_or_default();
        (since.as_millis() as u64).saturating_add_signed(self.skew_ms)
    }
}

#[derive(Debug)]
struct SeededRandom(Mutex<Dice>);

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let mut dice = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&dice.roll().to_le_bytes()[..chunk.len()]);
        }
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

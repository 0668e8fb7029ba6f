//! A wire between two addresses that can be cut, jammed, slowed and healed.

use std::{
    future::pending,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};
use tokio_util::task::AbortOnDropHandle;

/// Forwards connections to its target. Dropping it resets them.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    target: watch::Sender<Option<SocketAddr>>,
    wire: watch::Sender<Wire>,
    tape: Tape,
    _accepting: AbortOnDropHandle<()>,
}

/// What has passed, each way of each connection apart. Nothing is kept before it is asked for.
#[derive(Clone, Debug, Default)]
struct Tape(Arc<Mutex<Option<Vec<Vec<u8>>>>>);

impl Tape {
    fn tracks(&self) -> MutexGuard<'_, Option<Vec<Vec<u8>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a new track, if anything is recorded.
    fn begin(&self) -> Option<usize> {
        let mut tracks = self.tracks();
        let tracks = tracks.as_mut()?;
        tracks.push(Vec::new());
        Some(tracks.len() - 1)
    }

    fn add(&self, track: Option<usize>, bytes: &[u8]) {
        if let (Some(tracks), Some(track)) = (self.tracks().as_mut(), track) {
            tracks[track].extend_from_slice(bytes);
        }
    }
}

/// What a wire does to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Whole,
    /// Connections are reset, new ones too.
    Cut,
    /// Connections stay open, and nothing passes.
    Jammed,
    /// About so many bytes pass in a second, each way of each connection.
    Slow(usize),
}

impl Proxy {
    /// A whole wire that leads nowhere yet.
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let (target, wire) = (watch::Sender::new(None), watch::Sender::new(Wire::Whole));
        let tape = Tape::default();
        let accepting = accept(listener, target.subscribe(), wire.subscribe(), tape.clone());
        Self {
            address,
            target,
            wire,
            tape,
            _accepting: AbortOnDropHandle::new(tokio::spawn(accepting)),
        }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn lead_to(&self, target: SocketAddr) {
        self.target.send_replace(Some(target));
    }

    /// Keeps all that passes on connections from now on.
    pub(crate) fn record(&self) {
        self.tape.tracks().get_or_insert_default();
    }

    /// What has passed since then.
    pub(crate) fn recorded(&self) -> Vec<u8> {
        self.tape
            .tracks()
            .iter()
            .flatten()
            .flatten()
            .copied()
            .collect()
    }

    pub(crate) fn set(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }

    /// Resets all connections. New ones are possible at once.
    pub(crate) async fn reset(&self) {
        self.set(Wire::Cut);
        // Besides those of connections there is that of the listener.
        while self.wire.receiver_count() > 1 {
            tokio::task::yield_now().await;
        }
        self.set(Wire::Whole);
    }
}

async fn accept(
    listener: TcpListener,
    target: watch::Receiver<Option<SocketAddr>>,
    mut wire: watch::Receiver<Wire>,
    tape: Tape,
) {
    loop {
        let (near, _) = listener.accept().await.expect("it listens");
        let target = *target.borrow();
        let is_cut = *wire.borrow_and_update() == Wire::Cut;
        match target {
            Some(target) if !is_cut => {
                // It ends with the proxy: then nobody holds the sender of `wire`.
                tokio::spawn(forward(near, target, wire.clone(), tape.clone()));
            }
            Some(_) | None => reset(&near),
        }
    }
}

async fn forward(near: TcpStream, target: SocketAddr, mut wire: watch::Receiver<Wire>, tape: Tape) {
    let Ok(far) = TcpStream::connect(target).await else {
        reset(&near);
        return;
    };
    for stream in [&near, &far] {
        // When they are dropped the peers see a reset, as when a machine is gone.
        reset(stream);
        stream.set_nodelay(true).expect("an open socket");
    }
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let there = pipe(near_read, far_write, wire.clone(), tape.clone());
    let back = pipe(far_read, near_write, wire.clone(), tape);
    tokio::select! {
        () = async { tokio::join!(there, back); } => {}
        // An error: the proxy is gone.
        _ = wire.wait_for(|wire| *wire == Wire::Cut) => {}
    }
}

/// Passes on what comes, and the end of it.
async fn pipe(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut wire: watch::Receiver<Wire>,
    tape: Tape,
) {
    let track = tape.begin();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let now = *wire.borrow_and_update();
        let (most, rest) = match now {
            Wire::Whole | Wire::Cut | Wire::Jammed => (buffer.len(), Duration::ZERO),
            Wire::Slow(rate) => ((rate / 20).clamp(1, buffer.len()), SLOW_STEP),
        };
        let read = async {
            if now == Wire::Jammed {
                pending().await
            } else {
                from.read(&mut buffer[..most]).await
            }
        };
        let read = tokio::select! {
            read = read => read,
            changed = wire.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        match read {
            Ok(0) | Err(_) => break,
            Ok(bytes) => {
                tape.add(track, &buffer[..bytes]);
                if to.write_all(&buffer[..bytes]).await.is_err() {
                    break;
                }
            }
        }
        tokio::time::sleep(rest).await;
    }
    // Nobody is left to be told when this fails.
    let _ = to.shutdown().await;
}

fn reset(stream: &TcpStream) {
    stream.set_zero_linger().expect("an open socket");
}

const SLOW_STEP: Duration = Duration::from_millis(50);

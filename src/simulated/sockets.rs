//! The open connections of one life of a node.
//!
//! A runtime that is torn down drops its tasks in an order that depends on how many tasks the whole
//! process has spawned before. Each connection that goes says goodbye to its peer, so histories
//! would depend on it, too. Here, as in an operating system, one death closes all connections, in
//! the order in which they were made.

use std::{
    collections::BTreeMap,
    io, mem,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::TcpStream;

#[derive(Debug, Default)]
pub(super) struct Sockets {
    open: Mutex<Open>,
    dying: AtomicBool,
}

#[derive(Debug, Default)]
struct Open {
    made: u64,
    streams: BTreeMap<u64, TcpStream>,
}

impl Sockets {
    pub(super) fn add(self: &Arc<Self>, stream: TcpStream) -> Socket {
        let mut open = self.lock();
        open.made += 1;
        let id = open.made;
        open.streams.insert(id, stream);
        let all = Arc::clone(self);
        Socket { all, id }
    }

    /// The process is about to be killed: the first connection that goes takes all others along.
    pub(super) fn die(&self) {
        self.dying.store(true, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection.
#[derive(Debug)]
pub(super) struct Socket {
    all: Arc<Sockets>,
    id: u64,
}

impl Socket {
    fn poll<T>(
        &self,
        poll: impl FnOnce(Pin<&mut TcpStream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match self.all.lock().streams.get_mut(&self.id) {
            Some(stream) => poll(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(|stream| stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|stream| stream.poll_shutdown(cx))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut open = self.all.lock();
        let closed = if self.all.dying.load(Ordering::Relaxed) {
            mem::take(&mut open.streams)
        } else {
            open.streams.remove_entry(&self.id).into_iter().collect()
        };
        drop(open);
        closed.into_values().for_each(drop);
    }
}

//! A stream of which only so much is read, until its other end has proven who it is.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, Take};

use crate::node::net::transport::BoxIo;

pub(super) struct Allowance {
    io: Take<BoxIo>,
    bytes: u64,
}

impl Allowance {
    pub(super) fn new(io: BoxIo, bytes: u64) -> Self {
        let io = io.take(bytes);
        Self { io, bytes }
    }

    /// Lets everything be read from now on.
    pub(super) fn lift(&mut self) {
        self.io.set_limit(u64::MAX);
    }

    fn writer(&mut self) -> Pin<&mut BoxIo> {
        Pin::new(self.io.get_mut())
    }
}

impl AsyncRead for Allowance {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.io.limit() == 0 {
            let text = format!("it sent {} bytes without proving who it is", self.bytes);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Allowance {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writer().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.writer().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn what_an_unauthenticated_peer_sends_is_read_up_to_the_limit_and_not_beyond() {
        let (mut far, near) = duplex(64);
        far.write_all(&[7; 20]).await.expect("room for it");
        let mut near = Allowance::new(Box::new(near), 16);
        let mut got = [0; 16];
        near.read_exact(&mut got).await.expect("within the limit");
        let error = near.read_u8().await.expect_err("beyond the limit");
        assert!(error.to_string().contains("16 bytes"), "{error}");
        near.lift();
        near.read_exact(&mut got[..4]).await.expect("no limit");
        assert_eq!(got, [7; 16]);
    }
}

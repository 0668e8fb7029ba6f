//! How messages are cut out of a byte stream.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

/// A codec for `tokio_util`: decodes whole messages, encodes messages or pieces of them.
#[derive(Debug)]
pub(crate) struct FrameCodec {}

impl FrameCodec {
    /// Messages of 1 KiB at most.
    pub(crate) fn before_hello() -> Self {
        todo!()
    }

    /// Frames of 1 MiB at most, messages of `max_message` bytes at most.
    pub(crate) fn established(_max_message: usize) -> Self {
        todo!()
    }

    /// Raises the limits of a codec that may have begun to read a frame.
    pub(crate) fn establish(&mut self, _max_message: usize) {
        todo!()
    }

    /// Appends the message, cut into pieces if it is long.
    pub(crate) fn encode_message(
        &mut self,
        _message: &[u8],
        _out: &mut BytesMut,
    ) -> Result<(), FrameError> {
        todo!()
    }
}

/// One frame's worth of a message: other whole messages may be sent between two pieces, pieces of
/// another message may not.
#[derive(Clone, Debug)]
pub(crate) struct Piece {}

/// Cuts a message into pieces: one for a short message.
pub(crate) fn pieces(_message: Bytes) -> impl Iterator<Item = Piece> + Send {
    std::iter::from_fn(|| todo!())
}

impl Encoder<Piece> for FrameCodec {
    type Error = FrameError;

    fn encode(&mut self, _piece: Piece, _out: &mut BytesMut) -> Result<(), FrameError> {
        todo!()
    }
}

impl Encoder<&[u8]> for FrameCodec {
    type Error = FrameError;

    fn encode(&mut self, message: &[u8], out: &mut BytesMut) -> Result<(), FrameError> {
        self.encode_message(message, out)
    }
}

impl Decoder for FrameCodec {
    type Item = Bytes;
    type Error = FrameError;

    fn decode(&mut self, _src: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        todo!()
    }
}

/// The byte stream is broken or the peer breaks the protocol: the link must be closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("{0}")]
    Io(#[from] io::Error),
}

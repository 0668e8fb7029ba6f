//! The bytes that come from a socket, on their way into messages.

use tower_cluster_sessions::internals::{BytesMut, FrameCodec};

pub(crate) struct Stream {
    frames: FrameCodec,
    buffer: BytesMut,
}

impl Stream {
    /// Of a peer that has not said hello.
    pub(crate) fn of_a_stranger() -> Self {
        Self::new(FrameCodec::before_hello())
    }

    /// Of an established link, with messages of so many bytes at most.
    pub(crate) fn of_a_peer(max_message: usize) -> Self {
        Self::new(FrameCodec::established(max_message))
    }

    fn new(frames: FrameCodec) -> Self {
        let buffer = BytesMut::new();
        Self { frames, buffer }
    }

    /// Takes in bytes and appends the messages that they complete. The error is a text, and the
    /// link would be closed.
    pub(crate) fn feed(&mut self, bytes: &[u8], messages: &mut Vec<Vec<u8>>) -> Result<(), String> {
        self.buffer.extend_from_slice(bytes);
        loop {
            match self.frames.decode(&mut self.buffer) {
                Ok(Some(message)) => messages.push(message.to_vec()),
                Ok(None) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Returns how many bytes are kept that are no message yet.
    pub(crate) fn held(&self) -> usize {
        self.buffer.len() + self.frames.held()
    }

    /// Returns a message in frames, `None` if it is too long.
    pub(crate) fn encode(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let mut out = BytesMut::new();
        let encoded = self.frames.encode_message(message, &mut out);
        encoded.ok().map(|()| out.to_vec())
    }
}

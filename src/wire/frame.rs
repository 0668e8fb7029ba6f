//! Frames, in which messages are cut out of a byte stream.
//!
//! A frame is a length (`u32`, big-endian, of what follows), a flag byte and a payload. The flag
//! says what the payload is: 0 a whole message, 1 a part of a message, 2 its last part. Between two
//! parts there may be whole messages, so that an acknowledgement does not wait for a long message,
//! but never parts of another message. Every length is checked before anything is kept for it.

#![cfg_attr(
    not(feature = "__internals"),
    expect(unreachable_pub, reason = "`internals` shows it to the fuzzer")
)]
#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio_util::codec::{Decoder as _, LengthDelimitedCodec};

/// Decodes and encodes whole messages, of one frame or several.
///
/// After an error the stream is out of step, and the link must be closed.
#[derive(Debug)]
pub struct FrameCodec {
    lengths: LengthDelimitedCodec,
    max_message: usize,
    /// The parts so far of a message whose last part has not come.
    parts: BytesMut,
}

impl FrameCodec {
    /// Returns the codec for an unauthenticated peer: messages of 1 KiB at most.
    pub fn before_hello() -> Self {
        Self::new(BEFORE_HELLO + FLAG, BEFORE_HELLO)
    }

    /// Returns the codec of an established link: frames of 1 MiB at most, messages of `max_message`
    /// bytes at most.
    pub fn established(max_message: usize) -> Self {
        Self::new(MAX_FRAME, max_message)
    }

    /// Gives a codec made by [`FrameCodec::before_hello`] the limits of
    /// [`FrameCodec::established`]. It may have begun to read a frame.
    pub(crate) fn establish(&mut self, max_message: usize) {
        self.lengths.set_max_frame_length(MAX_FRAME);
        self.max_message = max_message;
    }

    /// Appends the message, cut into parts of 64 KiB if it is long.
    ///
    /// # Errors
    ///
    /// [`FrameError::MessageTooLong`], and then nothing was appended.
    pub fn encode_message(&mut self, message: &[u8], out: &mut BytesMut) -> Result<(), FrameError> {
        self.check_message(message.len())?;
        let mut rest = message;
        let mut flag = Flag::of(message.len());
        while let (Flag::Part, Some((part, after))) = (flag, rest.split_at_checked(PIECE)) {
            self.write_frame(flag, part, out)?;
            rest = after;
            if rest.len() <= PIECE {
                flag = Flag::Last;
            }
        }
        self.write_frame(flag, rest, out)
    }

    /// Takes the next message out of `src`, `None` until more bytes have come.
    ///
    /// # Errors
    ///
    /// What the peer did.
    pub fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        loop {
            let max = self.lengths.max_frame_length();
            // The only error there is.
            let too_long = |_| FrameError::FrameTooLong { max };
            let Some(mut frame) = self.lengths.decode(src).map_err(too_long)? else {
                return Ok(None);
            };
            frame.advance(HEAD);
            if let Some(message) = self.take_frame(frame)? {
                return Ok(Some(message));
            }
        }
    }

    /// Returns how many bytes are kept of a message whose last part has not come.
    #[cfg(feature = "__internals")]
    pub fn held(&self) -> usize {
        self.parts.capacity()
    }

    fn new(max_frame: usize, max_message: usize) -> Self {
        let lengths = LengthDelimitedCodec::builder()
            .length_field_length(HEAD)
            .max_frame_length(max_frame)
            // The length stays in the buffer until its frame is complete, so that what is kept of
            // a stream can be seen in the buffer.
            .num_skip(0)
            .length_adjustment(HEAD_ADJUSTMENT)
            .new_codec();
        Self {
            lengths,
            max_message,
            parts: BytesMut::new(),
        }
    }

    fn write_frame(
        &self,
        flag: Flag,
        payload: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), FrameError> {
        let max = self.lengths.max_frame_length();
        let length = payload.len().saturating_add(FLAG);
        let head = u32::try_from(length).map_err(|_| FrameError::FrameTooLong { max })?;
        if length > max {
            return Err(FrameError::FrameTooLong { max });
        }
        out.reserve(length.saturating_add(HEAD));
        out.put_u32(head);
        out.put_u8(flag as u8);
        out.put_slice(payload);
        Ok(())
    }

    fn check_message(&self, length: usize) -> Result<(), FrameError> {
        let max = self.max_message;
        if length > max {
            return Err(FrameError::MessageTooLong { max });
        }
        Ok(())
    }

    /// Returns the message that `frame`, without its length, completes.
    fn take_frame(&mut self, mut frame: BytesMut) -> Result<Option<Bytes>, FrameError> {
        let flag = Flag::parse(frame.try_get_u8().map_err(|_| FrameError::Empty)?)?;
        match flag {
            Flag::Whole => {
                self.check_message(frame.len())?;
                Ok(Some(frame.freeze()))
            }
            Flag::Part | Flag::Last if frame.is_empty() => Err(FrameError::Empty),
            Flag::Part => {
                self.keep_part(&frame)?;
                Ok(None)
            }
            Flag::Last if self.parts.is_empty() => Err(FrameError::LonePart),
            Flag::Last => {
                self.keep_part(&frame)?;
                Ok(Some(std::mem::take(&mut self.parts).freeze()))
            }
        }
    }

    fn keep_part(&mut self, part: &[u8]) -> Result<(), FrameError> {
        self.check_message(self.parts.len().saturating_add(part.len()))?;
        self.parts.extend_from_slice(part);
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
#[repr(u8)]
enum Flag {
    Whole = 0,
    Part = 1,
    Last = 2,
}

impl Flag {
    /// Returns the flag of the first frame of a message.
    const fn of(message_length: usize) -> Self {
        if message_length > PIECE {
            Self::Part
        } else {
            Self::Whole
        }
    }

    const fn parse(byte: u8) -> Result<Self, FrameError> {
        match byte {
            0 => Ok(Self::Whole),
            1 => Ok(Self::Part),
            2 => Ok(Self::Last),
            _ => Err(FrameError::UnknownFlag(byte)),
        }
    }
}

/// The peer broke the protocol. The link must be closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Its length says so.
    #[error("a frame is longer than {max} bytes")]
    FrameTooLong {
        /// Bytes of a frame at most.
        max: usize,
    },
    /// Its parts are together.
    #[error(
        "a message is longer than {max} bytes; `max_session_bytes` and `max_attributes` must be \
         the same on all nodes"
    )]
    MessageTooLong {
        /// Bytes of a message at most.
        max: usize,
    },
    /// A frame has no flag, or a part no bytes.
    #[error("a frame holds nothing")]
    Empty,
    /// This release knows three.
    #[error("a frame has the unknown flag {0}")]
    UnknownFlag(u8),
    /// There is nothing that it ends.
    #[error("the last part of a message came without the parts before it")]
    LonePart,
}

/// Bytes of a frame's length.
const HEAD: usize = 4;
const HEAD_ADJUSTMENT: isize = 4;
/// Bytes of the flag, which the length counts.
const FLAG: usize = 1;
/// The longest message of an unauthenticated peer.
const BEFORE_HELLO: usize = 1024;
/// The longest frame of a peer, with its flag.
const MAX_FRAME: usize = 1 << 20;
/// Longer messages are cut, so that others wait for 64 KiB at most.
const PIECE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 4 << 20;

    fn encoded(messages: &[&[u8]]) -> BytesMut {
        let mut out = BytesMut::new();
        for message in messages {
            FrameCodec::established(LIMIT)
                .encode_message(message, &mut out)
                .expect("within the limit");
        }
        out
    }

    fn frame(flag: u8, payload: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        out.put_u32(u32::try_from(payload.len() + 1).expect("short"));
        out.put_u8(flag);
        out.put_slice(payload);
        out
    }

    fn decode(codec: &mut FrameCodec, bytes: &[u8]) -> Result<Vec<Bytes>, FrameError> {
        let mut buffer = BytesMut::from(bytes);
        let mut messages = Vec::new();
        while let Some(message) = codec.decode(&mut buffer)? {
            messages.push(message);
        }
        Ok(messages)
    }

    #[test]
    fn bytes_of_a_frame_stay_as_they_are() {
        assert_eq!(&encoded(&[b"ack", b""])[..], b"\0\0\0\x04\0ack\0\0\0\x01\0");
        let long = vec![7; PIECE + 2];
        let bytes = encoded(&[&long]);
        assert_eq!(&bytes[..6], b"\0\x01\0\x01\x01\x07");
        assert_eq!(&bytes[4 + 1 + PIECE..], b"\0\0\0\x03\x02\x07\x07");
    }

    #[test]
    fn lengths_at_the_edges_of_a_piece_round_trip() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 1] {
            let message = vec![1; length];
            let got = decode(&mut FrameCodec::established(LIMIT), &encoded(&[&message]));
            assert_eq!(got.expect("own encoding"), [message], "{length}");
        }
    }

    #[test]
    fn whole_messages_pass_between_parts() {
        let long = Bytes::from(vec![3; 2 * PIECE + 1]);
        let stream = [
            frame(1, &long[..PIECE]),
            frame(0, b"ack"),
            frame(1, &long[PIECE..2 * PIECE]),
            frame(0, b"ack"),
            frame(2, &long[2 * PIECE..]),
        ]
        .concat();
        let got = decode(&mut FrameCodec::established(LIMIT), &stream);
        let ack = Bytes::from_static(b"ack");
        assert_eq!(got.expect("in order"), [ack.clone(), ack, long]);
    }

    #[test]
    fn an_unauthenticated_peer_may_send_a_kibibyte() {
        let mut codec = FrameCodec::before_hello();
        let (fits, over) = (vec![1; BEFORE_HELLO], vec![1; BEFORE_HELLO + 1]);
        assert!(decode(&mut codec, &frame(0, &fits)).is_ok());
        // Refused by its length, before its bytes have come.
        let error = decode(&mut codec, &frame(0, &over)[..HEAD]);
        assert!(matches!(error, Err(FrameError::FrameTooLong { .. })));
        let error = codec.encode_message(&over, &mut BytesMut::new());
        assert!(matches!(error, Err(FrameError::MessageTooLong { .. })));
    }

    #[test]
    fn an_unauthenticated_peer_cannot_send_more_in_parts() {
        let half = vec![1; 600];
        let parts = [frame(1, &half), frame(2, &half)].concat();
        let error = decode(&mut FrameCodec::before_hello(), &parts);
        assert!(matches!(error, Err(FrameError::MessageTooLong { .. })));
    }

    #[test]
    fn limits_rise_in_the_middle_of_a_frame() {
        let mut codec = FrameCodec::before_hello();
        let bytes = encoded(&[b"hello", &[1; 2000]]);
        let mut buffer = BytesMut::from(&bytes[..12]);
        assert_eq!(
            codec.decode(&mut buffer).expect("valid"),
            Some("hello".into())
        );
        assert_eq!(codec.decode(&mut buffer).expect("valid"), None);
        codec.establish(LIMIT);
        buffer.extend_from_slice(&bytes[12..]);
        let message = codec.decode(&mut buffer).expect("valid").expect("complete");
        assert_eq!(message.len(), 2000);
    }

    #[test]
    fn a_message_over_the_limit_is_refused_before_it_is_kept() {
        let mut codec = FrameCodec::established(10);
        let parts = [frame(1, &[0; 6]), frame(1, &[0; 6])].concat();
        let error = decode(&mut codec, &parts).expect_err("too long");
        assert!(matches!(error, FrameError::MessageTooLong { max: 10 }));
        assert_eq!(codec.parts.len(), 6);
        let whole = decode(&mut FrameCodec::established(10), &frame(0, &[0; 11]));
        assert!(matches!(whole, Err(FrameError::MessageTooLong { max: 10 })));
        let length = u32::try_from(MAX_FRAME + 1).expect("fits").to_be_bytes();
        let announced = decode(&mut FrameCodec::established(LIMIT), &length);
        assert!(matches!(announced, Err(FrameError::FrameTooLong { .. })));
    }

    #[test]
    fn frames_nobody_honest_sends_are_errors() {
        let of = |bytes: &[u8]| decode(&mut FrameCodec::established(LIMIT), bytes);
        assert!(matches!(of(&[0; 4]), Err(FrameError::Empty)));
        assert!(matches!(of(&frame(1, b"")), Err(FrameError::Empty)));
        assert!(matches!(of(&frame(2, b"x")), Err(FrameError::LonePart)));
        assert!(matches!(
            of(&frame(3, b"x")),
            Err(FrameError::UnknownFlag(3))
        ));
    }

    proptest! {
        #[test]
        fn any_cut_of_the_stream_yields_the_same_messages(
            lengths in prop::collection::vec(0..3 * PIECE, 1..5),
            cuts in prop::collection::vec(1..2 * PIECE, 1..20),
        ) {
            let messages: Vec<Vec<u8>> = lengths
                .iter()
                .map(|&length| (0..length).map(|at| at as u8).collect())
                .collect();
            let borrowed: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            let mut stream = encoded(&borrowed);
            let mut cuts = cuts.into_iter().cycle();
            let mut codec = FrameCodec::established(LIMIT);
            let (mut buffer, mut got) = (BytesMut::new(), Vec::new());
            while !stream.is_empty() {
                let cut = cuts.next().expect("endless").min(stream.len());
                buffer.unsplit(stream.split_to(cut));
                while let Some(message) = codec.decode(&mut buffer).expect("own encoding") {
                    got.push(message);
                }
            }
            prop_assert!(buffer.is_empty() && codec.parts.is_empty());
            prop_assert_eq!(got, messages);
        }

        #[test]
        fn garbage_never_panics_and_never_fills_memory(
            frames in prop::collection::vec((0..4u8, 0..200usize), 0..20),
            tail in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = BytesMut::new();
            for (flag, length) in frames {
                bytes.extend_from_slice(&frame(flag, &vec![0; length]));
            }
            bytes.extend_from_slice(&tail);
            let mut codec = FrameCodec::established(500);
            while let Ok(Some(message)) = codec.decode(&mut bytes) {
                prop_assert!(message.len() <= 500);
            }
            prop_assert!(codec.parts.len() <= 500);
        }
    }
}

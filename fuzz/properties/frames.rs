//! However a stream is cut, it holds the same messages, and little is kept of it.

use super::stream::Stream;

/// The first two bytes choose the cuts, the rest is the stream.
pub(crate) fn check(data: &[u8]) {
    let Some((cuts, bytes)) = data.split_first_chunk::<2>() else {
        return;
    };
    for stream in [Stream::of_a_stranger, || Stream::of_a_peer(MAX_MESSAGE)] {
        let whole = Heard::new(stream(), &[bytes]);
        let pieces = pieces(bytes, *cuts);
        assert_eq!(Heard::new(stream(), &pieces), whole, "cut in {pieces:?}");
        sent_again(stream(), &whole.messages);
    }
}

/// What a stream held, and how it ended.
#[derive(Debug, PartialEq)]
struct Heard {
    messages: Vec<Vec<u8>>,
    end: Result<(), String>,
}

impl Heard {
    fn new(mut stream: Stream, pieces: &[&[u8]]) -> Self {
        let mut messages = Vec::new();
        for piece in pieces {
            if let Err(error) = stream.feed(piece, &mut messages) {
                let end = Err(error);
                return Self { messages, end };
            }
            assert!(stream.held() <= MAX_HELD, "{} bytes kept", stream.held());
        }
        assert!(messages.iter().all(|message| message.len() <= MAX_MESSAGE));
        let end = end_of(&stream);
        Self { messages, end }
    }
}

/// Whether the stream ended between two messages.
fn end_of(stream: &Stream) -> Result<(), String> {
    if stream.held() == 0 {
        Ok(())
    } else {
        Err("within a message".to_owned())
    }
}

fn pieces(mut bytes: &[u8], cuts: [u8; 2]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    for cut in cuts.into_iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at(bytes.len().min(usize::from(cut) + 1));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

fn sent_again(mut stream: Stream, messages: &[Vec<u8>]) {
    let mut again = Vec::new();
    for message in messages {
        let frames = stream.encode(message).expect("it came through");
        stream.feed(&frames, &mut again).expect("own frames");
    }
    assert_eq!(again, messages);
    assert_eq!(end_of(&stream), Ok(()));
}

/// Both streams have this limit: that before hello is fixed.
const MAX_MESSAGE: usize = 1024;
/// A frame of 1 MiB with its length, and a message of which only the last byte lacks, in a buffer
/// that grew by doubling.
const MAX_HELD: usize = (1 << 20) + 4 + 2 * MAX_MESSAGE;

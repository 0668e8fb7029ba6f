//! The first words on a link: hello both ways, before anything else is believed or remembered.
//!
//! The dialler says `Hello`, the listener answers `Welcome` with its own hello or `Refused`, and the
//! dialler confirms with `Go` or `Refused`. Each side judges the other's hello by itself, and tells
//! why it refuses, so that both can log it. All of it is over within [`DEADLINE`].

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};
use tokio_util::codec::Decoder as _;

use super::transport::Io;
use crate::wire::{Confirm, FrameCodec, FrameError, Greeting, Hello, Refusal};

/// A stream on which hello is done.
#[derive(Debug)]
pub(super) struct Greeted<T> {
    pub(super) theirs: Hello,
    /// What the judge said.
    pub(super) verdict: T,
    pub(super) codec: FrameCodec,
    /// Bytes that came behind the hello.
    pub(super) unread: BytesMut,
}

/// Hello did not come to an end. No link was made.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the connection was closed before hello was done; something else may listen there")]
    Closed,
    #[error("no hello within {} s; something else may be at that address", DEADLINE.as_secs())]
    TimedOut,
    #[error("{0}")]
    Frame(#[source] FrameError),
    /// We refused.
    #[error("refused it: {0}")]
    Refused(Refusal),
    /// They refused.
    #[error("it refused us: {0}")]
    RefusedByPeer(Refusal),
}

/// Says hello first. `judge` decides on the answer, before the peer hears that all is well.
///
/// # Cancel safety
///
/// Dropping the future gives the handshake up.
pub(super) async fn dial<T>(
    io: &mut impl Io,
    ours: &Hello,
    judge: impl FnOnce(&Hello) -> Result<T, Refusal>,
) -> Result<Greeted<T>, HandshakeError> {
    within_deadline(async {
        let mut talk = Talk::new(io);
        talk.say(|out| ours.encode(out)).await?;
        let answer = talk.hear().await?;
        let theirs = match Greeting::decode(&answer) {
            Ok(Greeting::Welcome(theirs)) => theirs,
            Ok(Greeting::Refused(refusal)) => return Err(HandshakeError::RefusedByPeer(refusal)),
            Err(refusal) => return Err(HandshakeError::Refused(refusal)),
        };
        match judge(&theirs) {
            Ok(verdict) => {
                talk.say(|out| Confirm::Go.encode(out)).await?;
                Ok(talk.done(theirs, verdict))
            }
            Err(refusal) => {
                talk.refuse(|out| Confirm::Refused(refusal.clone()).encode(out))
                    .await?;
                Err(HandshakeError::Refused(refusal))
            }
        }
    })
    .await
}

/// Waits for the other side's hello. `judge` decides on it before ours is told.
///
/// # Cancel safety
///
/// Dropping the future gives the handshake up.
pub(super) async fn listen<T>(
    io: &mut impl Io,
    ours: &Hello,
    judge: impl FnOnce(&Hello) -> Result<T, Refusal>,
) -> Result<Greeted<T>, HandshakeError> {
    within_deadline(async {
        let mut talk = Talk::new(io);
        let heard = match talk.hear().await {
            Ok(bytes) => Hello::decode(&bytes),
            Err(HandshakeError::Frame(_)) => Err(Refusal::NotAHello),
            Err(error) => return Err(error),
        };
        let (theirs, verdict) = match heard.and_then(|theirs| {
            let verdict = judge(&theirs)?;
            Ok((theirs, verdict))
        }) {
            Ok(judged) => judged,
            Err(refusal) => {
                talk.refuse(|out| Greeting::Refused(refusal.clone()).encode(out))
                    .await?;
                return Err(HandshakeError::Refused(refusal));
            }
        };
        talk.say(|out| Greeting::Welcome(ours.clone()).encode(out))
            .await?;
        match Confirm::decode(&talk.hear().await?) {
            Ok(Confirm::Go) => Ok(talk.done(theirs, verdict)),
            Ok(Confirm::Refused(refusal)) => Err(HandshakeError::RefusedByPeer(refusal)),
            Err(refusal) => Err(HandshakeError::Refused(refusal)),
        }
    })
    .await
}

async fn within_deadline<T>(
    handshake: impl Future<Output = Result<T, HandshakeError>>,
) -> Result<T, HandshakeError> {
    timeout(DEADLINE, handshake)
        .await
        .unwrap_or(Err(HandshakeError::TimedOut))
}

struct Talk<'a, I> {
    io: &'a mut I,
    codec: FrameCodec,
    unread: BytesMut,
}

impl<'a, I: Io> Talk<'a, I> {
    fn new(io: &'a mut I) -> Self {
        Self {
            io,
            codec: FrameCodec::before_hello(),
            unread: BytesMut::with_capacity(READ_AT_ONCE),
        }
    }

    async fn say(&mut self, encode: impl FnOnce(&mut BytesMut)) -> Result<(), HandshakeError> {
        let mut message = BytesMut::new();
        encode(&mut message);
        let mut out = BytesMut::new();
        self.codec
            .encode_message(&message, &mut out)
            .map_err(HandshakeError::Frame)?;
        self.io.write_all(&out).await?;
        self.io.flush().await?;
        Ok(())
    }

    /// Says the last word and ends the stream, so that the word arrives.
    async fn refuse(&mut self, encode: impl FnOnce(&mut BytesMut)) -> Result<(), HandshakeError> {
        self.say(encode).await?;
        self.io.shutdown().await?;
        Ok(())
    }

    async fn hear(&mut self) -> Result<Bytes, HandshakeError> {
        loop {
            let message = self.codec.decode(&mut self.unread);
            if let Some(message) = message.map_err(HandshakeError::Frame)? {
                return Ok(message);
            }
            if self.io.read_buf(&mut self.unread).await? == 0 {
                return Err(HandshakeError::Closed);
            }
        }
    }

    fn done<T>(self, theirs: Hello, verdict: T) -> Greeted<T> {
        Greeted {
            theirs,
            verdict,
            codec: self.codec,
            unread: self.unread,
        }
    }
}

/// From the first byte to the last word of hello.
pub(super) const DEADLINE: Duration = Duration::from_secs(2);
const READ_AT_ONCE: usize = 2 * 1024;

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;
    use crate::session::BootId;

    fn hello(cluster: &str, node: &str, boot: u8) -> Hello {
        Hello {
            min_version: 1,
            max_version: 1,
            cluster: cluster.to_owned(),
            node: node.to_owned(),
            boot: BootId::from_random([boot; 8]),
            advertise: None,
        }
    }

    /// What both ends say, the dialler's first.
    async fn meet(
        dialler: Hello,
        listener: Hello,
    ) -> (
        Result<Greeted<u16>, HandshakeError>,
        Result<Greeted<u16>, HandshakeError>,
    ) {
        let (mut one, mut other) = duplex(4096);
        tokio::join!(
            dial(&mut one, &dialler, |theirs| dialler.judge(theirs)),
            listen(&mut other, &listener, |theirs| listener.judge(theirs)),
        )
    }

    #[tokio::test]
    async fn two_nodes_of_one_cluster_meet() {
        let (dialler, listener) = meet(hello("shop", "a", 1), hello("shop", "b", 2)).await;
        assert_eq!(dialler.expect("welcome").theirs, hello("shop", "b", 2));
        let listener = listener.expect("go");
        assert_eq!((listener.theirs.node.as_str(), listener.verdict), ("a", 1));
    }

    #[tokio::test]
    async fn both_sides_learn_why_they_do_not_meet() {
        for (dialler, listener) in [
            (hello("shop", "a", 1), hello("blog", "b", 2)),
            (hello("shop", "a", 1), hello("shop", "a", 2)),
            (hello("shop", "a", 1), hello("shop", "a", 1)),
        ] {
            let (dialler, listener) = meet(dialler, listener).await;
            let (Err(HandshakeError::RefusedByPeer(told)), Err(HandshakeError::Refused(meant))) =
                (dialler, listener)
            else {
                panic!("they met");
            };
            assert_eq!(told, meant);
        }
    }

    #[tokio::test]
    async fn dialler_can_refuse_too() {
        let (mut one, mut other) = duplex(4096);
        let (us, them) = (hello("shop", "a", 1), hello("shop", "b", 2));
        let (dialler, listener) = tokio::join!(
            dial(&mut one, &us, |_| Err::<(), _>(Refusal::Duplicate)),
            listen(&mut other, &them, |theirs| them.judge(theirs)),
        );
        assert!(matches!(
            dialler,
            Err(HandshakeError::Refused(Refusal::Duplicate))
        ));
        assert!(matches!(
            listener,
            Err(HandshakeError::RefusedByPeer(Refusal::Duplicate))
        ));
    }

    #[tokio::test]
    async fn garbage_is_answered_with_a_refusal() {
        for garbage in [
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".as_slice(),
            b"\0\0\0\x05\0abcd",
        ] {
            let (mut one, mut other) = duplex(4096);
            one.write_all(garbage).await.expect("room for it");
            let us = hello("shop", "b", 2);
            let listener = listen(&mut other, &us, |theirs| us.judge(theirs)).await;
            assert!(matches!(
                listener,
                Err(HandshakeError::Refused(Refusal::NotAHello))
            ));
            drop(other);
            let mut talk = Talk::new(&mut one);
            let told = talk.hear().await.expect("a last word");
            assert_eq!(
                Greeting::decode(&told),
                Ok(Greeting::Refused(Refusal::NotAHello))
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_at_the_deadline() {
        let (mut one, mut other) = duplex(4096);
        let us = hello("shop", "b", 2);
        let listener = listen(&mut other, &us, |theirs| us.judge(theirs)).await;
        assert!(matches!(listener, Err(HandshakeError::TimedOut)));
        let dialler = dial(&mut one, &us, |theirs| us.judge(theirs)).await;
        assert!(matches!(
            dialler,
            Err(HandshakeError::TimedOut | HandshakeError::Closed | HandshakeError::Io(_))
        ));
    }

    #[tokio::test]
    async fn bytes_behind_the_hello_are_kept() {
        let (mut one, mut other) = duplex(4096);
        let (us, them) = (hello("shop", "a", 1), hello("shop", "b", 2));
        let dialler = async {
            let mut greeted = dial(&mut one, &us, |theirs| us.judge(theirs))
                .await
                .expect("welcome");
            let mut out = BytesMut::new();
            greeted
                .codec
                .encode_message(b"first", &mut out)
                .expect("short");
            one.write_all(&out).await.expect("room for it");
        };
        let listener = async {
            let greeted = listen(&mut other, &them, |theirs| them.judge(theirs))
                .await
                .expect("go");
            let Greeted {
                mut codec,
                mut unread,
                ..
            } = greeted;
            loop {
                if let Some(message) = codec.decode(&mut unread).expect("a frame") {
                    return message;
                }
                other.read_buf(&mut unread).await.expect("more");
            }
        };
        let ((), first) = tokio::join!(dialler, listener);
        assert_eq!(first.as_ref(), b"first");
    }
}

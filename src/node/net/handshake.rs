//! The first words on a link: hello both ways, before anything else is believed or remembered.
//!
//! They are said over a stream that is protected first, if the node has something to protect it
//! with. The dialler says `Hello`. The listener answers `Welcome` with its own hello, or `Refused`.
//! The dialler confirms with `Go` or `Refused`. Each side judges the other's hello by itself, and
//! tells why it refuses, so that both can log it. All of it is over within [`DEADLINE`].

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{
    tls::{Accepted, SecureError},
    transport::Io,
};
use crate::cluster::{Reach, Source};
use crate::wire::{Confirm, FrameCodec, FrameError, Greeting, Hello, Refusal};

/// A stream on which hello is done.
#[derive(Debug)]
pub(crate) struct Greeted<T> {
    pub(crate) theirs: Hello,
    /// What the judge said.
    pub(crate) verdict: T,
    pub(crate) codec: FrameCodec,
    /// Bytes that came behind the hello.
    pub(crate) unread: BytesMut,
}

/// Hello did not come to an end. No link was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("{0}")]
    Io(#[source] io::Error),
    #[error("the connection was closed before hello was done")]
    Closed,
    #[error("no hello within {} s", DEADLINE.as_secs())]
    TimedOut,
    #[error("{0}")]
    Secure(#[from] SecureError),
    #[error("{0}")]
    Frame(#[source] FrameError),
    /// We refused.
    #[error("refused it: {0}")]
    Refused(Refusal),
    /// They refused.
    #[error("it refused us: {0}")]
    RefusedByPeer(Refusal),
}

impl From<io::Error> for HandshakeError {
    /// Tells apart what went wrong: in TLS 1.3 a dialler learns only after its own handshake what the
    /// listener made of it.
    fn from(error: io::Error) -> Self {
        if SecureError::is_behind(&error) {
            Self::Secure(SecureError::explain(error))
        } else if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Closed
        } else {
            Self::Io(error)
        }
    }
}

impl HandshakeError {
    /// Returns whether the other end has said nothing, as something that is no node may do.
    pub(crate) const fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::Closed | Self::TimedOut | Self::Secure(SecureError::Closed)
        )
    }

    /// Returns what the dialler has found.
    pub(super) fn found(&self, source: &Source) -> Reach {
        match self {
            Self::Refused(refusal) | Self::RefusedByPeer(refusal) => {
                Reach::of_refusal(refusal, source)
            }
            Self::Secure(error) if error.is_refusal() => Reach::Refused,
            Self::Io(_) | Self::Closed | Self::TimedOut | Self::Secure(_) | Self::Frame(_) => {
                Reach::Mute
            }
        }
    }

    /// Returns whether a node that belongs elsewhere is at the other end.
    pub(crate) const fn is_of_another_cluster(&self) -> bool {
        matches!(
            self,
            Self::Refused(Refusal::WrongCluster { .. })
                | Self::RefusedByPeer(Refusal::WrongCluster { .. })
        )
    }

    /// Returns whether a node of the cluster that is in order may be at the other end.
    pub(crate) const fn is_of_a_node(&self) -> bool {
        match self {
            Self::Refused(refusal) | Self::RefusedByPeer(refusal) => !matches!(
                refusal,
                Refusal::NotAHello | Refusal::NotListed | Refusal::NotNamed
            ),
            Self::Io(_) | Self::Closed | Self::TimedOut | Self::Secure(_) | Self::Frame(_) => false,
        }
    }
}

/// Says hello first, once the stream is there. `judge` decides on the answer, before the peer hears
/// that all is well.
///
/// # Cancel safety
///
/// Dropping the future gives the handshake up.
pub(crate) async fn dial<I: Io, T>(
    stream: impl Future<Output = Result<I, SecureError>>,
    ours: &Hello,
    judge: impl FnOnce(&Hello) -> Result<T, Refusal>,
) -> Result<(I, Greeted<T>), HandshakeError> {
    within_deadline(async {
        let mut talk = Talk::new(stream.await?);
        talk.say(|out| ours.encode(out)).await?;
        let answer = match talk.hear().await {
            Ok(bytes) => Greeting::decode(&bytes),
            Err(HandshakeError::Frame(_)) => Err(Refusal::NotAHello),
            Err(error) => return Err(error),
        };
        let theirs = match answer {
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

/// Waits for the other side's hello, once the stream is there. `judge` decides on it before ours is
/// told.
///
/// # Cancel safety
///
/// Dropping the future gives the handshake up.
pub(crate) async fn listen<I: Io, T>(
    stream: impl Future<Output = Result<Accepted<I>, SecureError>>,
    ours: &Hello,
    judge: impl FnOnce(&Hello) -> Result<T, Refusal>,
) -> Result<(I, Greeted<T>), HandshakeError> {
    within_deadline(async {
        let Accepted { io, refusal, .. } = stream.await?;
        let mut talk = Talk::new(io);
        let heard = match talk.hear().await {
            Ok(bytes) => Hello::decode(&bytes),
            Err(HandshakeError::Frame(_)) => Err(Refusal::NotAHello),
            Err(error) => return Err(error),
        };
        let (theirs, verdict) = match heard.and_then(|theirs| {
            refusal.map_or(Ok(()), Err)?;
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

struct Talk<I> {
    io: I,
    codec: FrameCodec,
    unread: BytesMut,
}

impl<I: Io> Talk<I> {
    fn new(io: I) -> Self {
        Self {
            io,
            codec: FrameCodec::before_hello(),
            unread: BytesMut::with_capacity(READ_AT_ONCE),
        }
    }

    async fn say(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), HandshakeError> {
        let mut message = Vec::new();
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
    async fn refuse(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), HandshakeError> {
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

    fn done<T>(self, theirs: Hello, verdict: T) -> (I, Greeted<T>) {
        let greeted = Greeted {
            theirs,
            verdict,
            codec: self.codec,
            unread: self.unread,
        };
        (self.io, greeted)
    }
}

/// From the first byte, of encryption if there is any, to the last word of hello.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);
const READ_AT_ONCE: usize = 2 * 1024;

#[cfg(test)]
mod tests {
    use std::{future::ready, pin::pin};

    use tokio::io::{DuplexStream, duplex};

    use super::*;
    use crate::session::BootId;

    fn hello(cluster: &str, node: &str, boot: u8) -> Hello {
        Hello {
            min_version: 1,
            max_version: 1,
            cluster: cluster.to_owned(),
            node: node.to_owned(),
            boot: BootId::from_bytes([boot; 8]),
            advertise: None,
            exchanges_peers: false,
        }
    }

    type Met<T> = Result<Greeted<T>, HandshakeError>;

    async fn dial<T>(
        io: DuplexStream,
        ours: &Hello,
        judge: impl FnOnce(&Hello) -> Result<T, Refusal>,
    ) -> Result<(DuplexStream, Greeted<T>), HandshakeError> {
        super::dial(ready(Ok(io)), ours, judge).await
    }

    async fn listen<T>(
        io: DuplexStream,
        ours: &Hello,
        judge: impl FnOnce(&Hello) -> Result<T, Refusal>,
    ) -> Result<(DuplexStream, Greeted<T>), HandshakeError> {
        let accepted = Accepted::plain(io);
        super::listen(ready(Ok(accepted)), ours, judge).await
    }

    /// What both ends say, the dialler's first.
    async fn meet(dialler: Hello, listener: Hello) -> (Met<u16>, Met<u16>) {
        let (one, other) = duplex(4096);
        let (dialled, accepted) = tokio::join!(
            dial(one, &dialler, |theirs| dialler.judge(theirs)),
            listen(other, &listener, |theirs| listener.judge(theirs)),
        );
        (
            dialled.map(|(_, greeted)| greeted),
            accepted.map(|(_, greeted)| greeted),
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
        let (one, other) = duplex(4096);
        let (us, them) = (hello("shop", "a", 1), hello("shop", "b", 2));
        let (dialler, listener) = tokio::join!(
            dial(one, &us, |_| Err::<(), _>(Refusal::Duplicate)),
            listen(other, &them, |theirs| them.judge(theirs)),
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
            let (mut one, other) = duplex(4096);
            one.write_all(garbage).await.expect("room for it");
            let us = hello("shop", "b", 2);
            let listener = listen(other, &us, |theirs| us.judge(theirs)).await;
            assert!(matches!(
                listener,
                Err(HandshakeError::Refused(Refusal::NotAHello))
            ));
            let mut talk = Talk::new(one);
            let told = talk.hear().await.expect("a last word");
            assert_eq!(
                Greeting::decode(&told),
                Ok(Greeting::Refused(Refusal::NotAHello))
            );
        }
    }

    /// What a node with a secret says to one that has none.
    #[tokio::test]
    async fn an_answer_in_tls_is_told_with_what_to_do() {
        let (one, mut other) = duplex(4096);
        let alert = [0x15, 3, 3, 0, 2, 2, 70];
        other.write_all(&alert).await.expect("room for it");
        let us = hello("shop", "a", 1);
        let error = dial(one, &us, |theirs| us.judge(theirs)).await;
        let text = error.expect_err("no greeting").to_string();
        assert!(text.contains("`secret`"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_at_the_deadline() {
        let (one, other) = duplex(4096);
        let us = hello("shop", "b", 2);
        let mut listening = pin!(listen(other, &us, |theirs| us.judge(theirs)));
        let moment = Duration::from_millis(1);
        assert!(timeout(DEADLINE - moment, &mut listening).await.is_err());
        let listener = timeout(2 * moment, listening).await;
        let listener = listener.expect("two seconds are over");
        assert!(matches!(listener, Err(HandshakeError::TimedOut)));
        let dialler = dial(one, &us, |theirs| us.judge(theirs)).await;
        assert!(matches!(
            dialler,
            Err(HandshakeError::TimedOut | HandshakeError::Closed | HandshakeError::Io(_))
        ));
    }

    #[tokio::test]
    async fn bytes_behind_the_hello_are_kept() {
        let (one, other) = duplex(4096);
        let (us, them) = (hello("shop", "a", 1), hello("shop", "b", 2));
        let dialler = async {
            let (mut one, mut greeted) = dial(one, &us, |theirs| us.judge(theirs))
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
            let (mut other, greeted) = listen(other, &them, |theirs| them.judge(theirs))
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

//! The two tasks of an established link: one carries bytes to the decisions, one carries decisions
//! to bytes.

use std::{future::poll_fn, io, sync::Arc, task::Poll, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split},
    task::{JoinHandle, yield_now},
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    ended::{Ended, Offence},
    lifecycle::Registered,
    link::PeerLink,
};
use crate::node::{Node, net::transport::BoxIo};
use crate::{
    cluster::{MemberLink as _, millis},
    replica::{Link, LinkEvent},
    session::Now,
    wire::{DecodeLimits, FrameCodec, FrameError, Message},
};

/// Carries a link, in a task of its own, until it is over or the node stops.
pub(crate) fn spawn(
    registered: Registered,
    io: BoxIo,
    codec: FrameCodec,
    unread: BytesMut,
) -> JoinHandle<()> {
    let node = Arc::clone(&registered.node);
    let tasks = node.net.tasks.clone();
    tasks.spawn(async move {
        tokio::select! {
            biased;
            () = node.net.shutdown.cancelled() => {}
            _ = node.guarded("link", run(registered, io, codec, unread)) => {}
        }
    })
}

/// Carries the link until it is over.
///
/// # Cancel safety
///
/// Dropping the future closes the link.
async fn run(mut registered: Registered, io: BoxIo, mut codec: FrameCodec, unread: BytesMut) {
    let node = Arc::clone(&registered.node);
    let link = Arc::clone(&registered.link);
    let max_message = Message::max_length(&node.decode_limits());
    codec.establish(max_message);
    let (source, sink) = split(io);
    let write = write(
        Arc::clone(&node),
        Arc::clone(&link),
        sink,
        FrameCodec::established(max_message),
    );
    let write = {
        let node = Arc::clone(&node);
        async move { node.guarded("write", write).await }
    };
    let mut writer = AbortOnDropHandle::new(tokio::spawn(write));
    let read = read(&node, &link, source, codec, unread);
    tokio::pin!(read);
    registered.ended = tokio::select! {
        biased;
        () = link.closed() => {
            if link.gave_way() {
                // The peer must not take the end of this link for ours before it knows the other.
                sleep(GIVING_WAY).await;
            }
            if link.is_silent_for(millis(node.settings.down_after), node.now()) {
                Ended::Silent
            } else if link.is_too_old(node.now()) {
                Ended::TooOld
            } else {
                Ended::Stopped
            }
        }
        ended = &mut read => ended,
        written = &mut writer => match written {
            // We said goodbye. Closing at once could throw it away on its way; the peer closes.
            Ok(Some(Ok(()))) => timeout(GOODBYE, read).await.unwrap_or(Ended::Stopped),
            Ok(Some(Err(ended))) => ended,
            // It panicked, or the runtime shuts down.
            Ok(None) | Err(_) => Ended::Stopped,
        },
    };
}

async fn read(
    node: &Node,
    link: &PeerLink,
    mut source: ReadHalf<BoxIo>,
    mut codec: FrameCodec,
    mut unread: BytesMut,
) -> Ended {
    let limits = node.decode_limits();
    let mut now = node.now();
    loop {
        let mut news = News::default();
        let taken = take_in(
            node,
            link,
            (&mut codec, &mut unread),
            &limits,
            now,
            &mut news,
        );
        // Once for all messages of a read, so that their acknowledgements leave together.
        if news.to_answer {
            link.wake_writer();
        }
        if node.handle_events(link, news.events, now) {
            return Ended::Left;
        }
        if let Err(offence) = taken {
            return Ended::Violation(offence);
        }
        unread.reserve(BATCH_BYTES);
        match source.read_buf(&mut unread).await {
            Ok(0) => return Ended::Closed,
            Ok(bytes) => {
                yield_after(bytes).await;
                now = node.now();
                link.note_received(bytes, now);
            }
            // TLS misses its own goodbye, which a process that is killed does not say.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ended::Closed,
            Err(error) => return Ended::Broken(error),
        }
    }
}

/// Lets requests of this thread go first after much work. Sockets that are always ready would keep
/// a transfer going for a hundred times as long.
async fn yield_after(bytes: usize) {
    if bytes >= BATCH_BYTES / 4 {
        yield_now().await;
    }
}

/// The outcome of the messages of one read.
#[derive(Default)]
struct News {
    events: Vec<LinkEvent>,
    /// Whether the link may have something to send now.
    to_answer: bool,
}

/// Hands all complete messages to the link.
fn take_in(
    node: &Node,
    link: &PeerLink,
    (codec, unread): (&mut FrameCodec, &mut BytesMut),
    limits: &DecodeLimits,
    now: Now,
    news: &mut News,
) -> Result<(), Offence> {
    while let Some(bytes) = codec.decode(unread)? {
        let message = Message::decode(&bytes, now.mono_ms, limits)?;
        let keys = node.keys_to_tell(&message);
        let handled = link.update(&node.peers.acks, |state| {
            let may_answer = state.may_answer(&message);
            let handled = state.handle(&node.replica, message, bytes.len(), now);
            news.to_answer |= may_answer || state.owes_answer();
            handled
        });
        match handled {
            Some(events) => news.events.extend(events?),
            None => break,
        }
        node.tell_merged(&keys);
    }
    Ok(())
}

async fn write(
    node: Arc<Node>,
    link: Arc<PeerLink>,
    mut sink: WriteHalf<BoxIo>,
    mut codec: FrameCodec,
) -> Result<(), Ended> {
    let mut out = BytesMut::with_capacity(BATCH_BYTES);
    let mut message = Vec::new();
    loop {
        let now = node.now();
        let filled = link.update(&node.peers.acks, |state| {
            let filled = fill(&node, state, &mut codec, (&mut message, &mut out), now);
            (filled, state.waits_for_time())
        });
        let Some((filled, waits_for_time)) = filled else {
            return Err(Ended::Stopped);
        };
        let goodbye = filled.map_err(|error| Ended::Broken(io::Error::other(error)))?;
        if out.is_empty() {
            let more = link.has_something_to_send();
            if waits_for_time {
                // Whichever comes first; time has passed in any case.
                let _elapsed = timeout(PACE, more).await;
            } else {
                more.await;
            }
            gather(&link).await;
            continue;
        }
        sink.write_all(&out).await.map_err(Ended::Broken)?;
        sink.flush().await.map_err(Ended::Broken)?;
        link.note_sent(out.len());
        if goodbye {
            return sink.shutdown().await.map_err(Ended::Broken);
        }
        yield_after(out.len()).await;
        if out.capacity() > KEEP_BYTES {
            out = BytesMut::with_capacity(BATCH_BYTES);
            message = Vec::new();
        }
        out.clear();
    }
}

/// Lets all that is ready come first, so that the changes and acknowledgements of one turn of the
/// scheduler leave in one write. Where there are several, what sockets have brought meanwhile may
/// join them; a lone one leaves at once.
async fn gather(link: &PeerLink) {
    after_what_is_ready().await;
    for _ in 0..MOST_LOOKS {
        if !link.has_more_to_send() {
            break;
        }
        // The runtime looks at its sockets before it goes on with this task ..
        yield_now().await;
        // .. and before it goes on with those that these have woken.
        after_what_is_ready().await;
    }
}

/// Goes to the end of the runtime's queue, without a look at its sockets on the way, which would be
/// a system call.
async fn after_what_is_ready() {
    let mut is_queued = false;
    poll_fn(|cx| {
        if is_queued {
            return Poll::Ready(());
        }
        is_queued = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Fills one write with what is due, the most urgent first; states of repair and the goodbye leave
/// by themselves or at the head. Whether it ends with the goodbye.
fn fill(
    node: &Node,
    state: &mut Link,
    codec: &mut FrameCodec,
    (bytes, out): (&mut Vec<u8>, &mut BytesMut),
    now: Now,
) -> Result<bool, FrameError> {
    while out.len() < BATCH_BYTES {
        let message = match out.is_empty() {
            true => state.poll(&node.replica, now),
            false => state.poll_urgent(&node.replica, now),
        };
        let Some(message) = message else {
            break;
        };
        bytes.clear();
        message.encode(now.mono_ms, bytes);
        codec.encode_message(bytes, out)?;
        state.sent(&message, bytes.len());
        if matches!(message, Message::Leave) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// About what leaves in one write, and what is read at once.
const BATCH_BYTES: usize = 16 * 1024;
/// A write waits for so many looks at the sockets.
const MOST_LOOKS: usize = 2;
/// How often what goes at a pace goes on: the step of the runtime's timer.
const PACE: Duration = Duration::from_millis(1);
/// A buffer that a long message has grown beyond this is given back.
const KEEP_BYTES: usize = 1024 * 1024;
/// How long the socket of a link that another has replaced stays open.
pub(crate) const GIVING_WAY: Duration = Duration::from_millis(500);
/// How long the peer has to close after our goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

//! A node that does not mean well: it says hello as it should, and then whatever a test wants.

use std::{fs, net::SocketAddr, path::Path, process, sync::LazyLock, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tower_cluster_sessions::{
    ClusterConfig,
    internals::{BytesMut, Door, FrameCodec},
};

use super::{
    process::NodePlan,
    words::{Heard, Words, boot_of},
};

/// One link to a node, with hello done.
pub(crate) struct Mallory {
    io: Box<dyn Io>,
    frames: FrameCodec,
    unread: BytesMut,
    /// Of the node at the other end.
    pub(crate) boot: [u8; 8],
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// What it knows of the cluster besides its name.
const SECRET: &str = "0e9d3fbd27f2b1f9a0f1c4677d9a1e5b88c6c1a25ddf7a4c903bfe6f2240d7e3";

static DOOR: LazyLock<Door> = LazyLock::new(|| {
    let knowing = ClusterConfig::standalone().secret(SECRET);
    Door::new(&knowing).expect("a good secret")
});

/// Where nodes read it. It stays with what else the build leaves behind.
static SECRET_FILE: LazyLock<String> = LazyLock::new(|| {
    let name = format!("known-to-mallory-{}", process::id());
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&file, SECRET).expect("the directory is there to be written to");
    file.to_string_lossy().into_owned()
});

/// Has a node know the secret that this peer knows, too.
pub(crate) fn let_in(plan: &mut NodePlan) {
    plan.secret = None;
    plan.flags
        .extend(["--secret-file".to_owned(), SECRET_FILE.clone()]);
}

/// The bytes under a link. `None` if there are too many who have not said hello.
async fn connect(node: SocketAddr) -> Option<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
    let stream = TcpStream::connect(node).await;
    let stream = stream.expect("the node listens");
    stream.set_nodelay(true).expect("an open socket");
    DOOR.dial(stream).await.ok()
}

impl Mallory {
    /// Dials a node by another name and boot, which it must take.
    pub(crate) async fn dial(node: SocketAddr, name: &str, boot: u8) -> Self {
        let met = Self::try_dial(node, name, boot).await;
        met.expect("a node takes whoever knows the cluster")
    }

    /// Dials a node. `None` if it refuses.
    pub(crate) async fn try_dial(node: SocketAddr, name: &str, boot: u8) -> Option<Self> {
        let mut peer = Self::of(connect(node).await?);
        peer.say(&Words::hello(CLUSTER, name, [boot; 8])).await;
        let greeting = peer.next().await?;
        peer.boot = boot_of(&greeting)?;
        peer.say(&Words::go()).await;
        Some(peer.established())
    }

    /// Waits to be dialled by a node that has `listener` on its list.
    pub(crate) async fn accept(listener: &TcpListener, name: &str, boot: u8) -> Self {
        loop {
            let (stream, _) = listener.accept().await.expect("it listens");
            let Ok(stream) = DOOR.accept(stream).await else {
                continue;
            };
            let mut peer = Self::of(stream);
            if peer.next().await.is_none() {
                continue;
            }
            peer.say(&Words::welcome(CLUSTER, name, [boot; 8])).await;
            if peer.next().await.is_some() {
                return peer.established();
            }
        }
    }

    fn of(io: impl Io + 'static) -> Self {
        Self {
            io: Box::new(io),
            frames: FrameCodec::before_hello(),
            unread: BytesMut::new(),
            boot: [0; 8],
        }
    }

    fn established(self) -> Self {
        Self {
            frames: FrameCodec::established(MAX_MESSAGE),
            ..self
        }
    }

    /// Whether it could be said: not once the node has closed the link.
    pub(crate) async fn say(&mut self, words: &Words) -> bool {
        let mut frames = BytesMut::new();
        let encoded = self.frames.encode_message(words.bytes(), &mut frames);
        encoded.expect("within the limits");
        self.send(&frames).await
    }

    /// Says the first word of the link.
    pub(crate) async fn begin(&mut self) {
        assert!(self.say(&Words::live(0, 0, 0)).await, "it was just made");
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        let sent = timeout(PATIENCE, self.io.write_all(bytes)).await;
        sent.expect("a node goes on reading").is_ok()
    }

    /// What the node says next, `None` once it has closed the link.
    pub(crate) async fn hear(&mut self) -> Option<Heard> {
        let message = self.next().await?;
        Some(Heard::of(&message))
    }

    /// Waits for something that the node says, `None` if it closes the link before.
    pub(crate) async fn until<T>(&mut self, wanted: impl Fn(Heard) -> Option<T>) -> Option<T> {
        loop {
            if let Some(found) = wanted(self.hear().await?) {
                return Some(found);
            }
        }
    }

    /// Waits until the node has closed the link.
    pub(crate) async fn until_closed(&mut self) {
        while self.next().await.is_some() {}
    }

    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let message = self.frames.decode(&mut self.unread);
            if let Some(message) = message.expect("an honest node") {
                return Some(message.to_vec());
            }
            let read = timeout(PATIENCE, self.io.read_buf(&mut self.unread)).await;
            if let Ok(0) | Err(_) = read.expect("a node says something now and then") {
                return None;
            }
        }
    }
}

/// The default name.
const CLUSTER: &str = "sessions";
/// More than any node accepts here.
const MAX_MESSAGE: usize = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

//! Both ways to prove who one is, over streams in memory.

pub(crate) mod certificates;
mod secrets;

use std::{future::ready, io};

use rustls::pki_types::UnixTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::{LinkSecurity, SecureError};
use crate::{
    config::{ClusterConfig, StartError},
    node::{
        Env,
        net::{
            handshake::{self, HandshakeError},
            transport::BoxIo,
        },
    },
    session::BootId,
    wire::Hello,
};

const OLD: &str = "0e9d3fbd27f2b1f9a0f1c4677d9a1e5b88c6c1a25ddf7a4c903bfe6f2240d7e3";
const NEW: &str = "5bd1c7f0a2e84996b3d7f1a05c6e8f92d40b7a6311c9e5f8273d6a9be0415c8d";

fn config(node: &str) -> ClusterConfig {
    ClusterConfig::new(node)
        .listen("127.0.0.1:0")
        .peer("node2.test:4100")
}

fn security(config: &ClusterConfig) -> LinkSecurity {
    try_security(config).expect("valid")
}

fn try_security(config: &ClusterConfig) -> Result<LinkSecurity, StartError> {
    LinkSecurity::new(&config.settings()?, now())
}

fn now() -> UnixTime {
    Env::default().unix_time()
}

type Secured = Result<BoxIo, HandshakeError>;

/// What both ends make of a connection that was dialled to `node2.test`, hello included. The
/// listener knows `hosts`.
async fn meet(
    dialler: &LinkSecurity,
    listener: &LinkSecurity,
    hosts: &[&str],
) -> (Secured, Secured) {
    let (one, other) = duplex(64 * 1024);
    tokio::join!(
        dial(dialler, Box::new(one)),
        accept(listener, Box::new(other), hosts),
    )
}

async fn dial(security: &LinkSecurity, io: BoxIo) -> Secured {
    let ours = hello("one");
    let secured = async { Ok(security.dial(io, "node2.test").await?.0) };
    let met = handshake::dial(secured, &ours, |theirs| ours.judge(theirs)).await;
    met.map(|(io, _)| io)
}

async fn accept(security: &LinkSecurity, io: BoxIo, hosts: &[&str]) -> Secured {
    let ours = hello("two");
    let hosts = || hosts.iter().copied().map(str::to_owned).collect();
    let secured = security.accept(io, hosts, ready(()));
    let met = handshake::listen(secured, &ours, |theirs| ours.judge(theirs)).await;
    met.map(|(io, _)| io)
}

fn hello(node: &str) -> Hello {
    Hello {
        min_version: 1,
        max_version: 1,
        cluster: "sessions".to_owned(),
        node: node.to_owned(),
        boot: BootId::from_bytes(Env::default().random()),
        advertise: None,
        exchanges_peers: false,
    }
}

/// Both ends hear what the other says.
async fn talk(secured: (Secured, Secured)) {
    let (mut one, mut other) = (secured.0.expect("dialled"), secured.1.expect("accepted"));
    for _ in 0..2 {
        one.write_all(b"hello").await.expect("open");
        one.flush().await.expect("open");
        let mut got = [0; 5];
        other.read_exact(&mut got).await.expect("open");
        assert_eq!(&got, b"hello");
        std::mem::swap(&mut one, &mut other);
    }
}

/// Everything that a node sends when it is given `bytes` and nothing more.
async fn answer_to(bytes: &[u8], secure: impl AsyncFnOnce(BoxIo) -> Secured) -> (Secured, Vec<u8>) {
    let (mut far, near) = duplex(256 * 1024);
    far.write_all(bytes).await.expect("room for it");
    let secured = secure(Box::new(near)).await;
    let mut heard = Vec::new();
    if secured.is_err() {
        far.read_to_end(&mut heard).await.expect("a closed stream");
    }
    (secured, heard)
}

/// Everything on the wire while two nodes meet and talk: what the dialler sent, and the listener.
async fn recorded(dialler: &LinkSecurity, listener: &LinkSecurity) -> (Vec<u8>, Vec<u8>) {
    let (one, near) = duplex(64 * 1024);
    let (other, far) = duplex(64 * 1024);
    let tap = tokio::spawn(async move {
        let (near_read, near_write) = tokio::io::split(near);
        let (far_read, far_write) = tokio::io::split(far);
        tokio::try_join!(record(near_read, far_write), record(far_read, near_write))
    });
    let secured = tokio::join!(
        dial(dialler, Box::new(one)),
        accept(listener, Box::new(other), &[]),
    );
    talk(secured).await;
    tap.await.expect("no panic").expect("no failure")
}

async fn record(
    mut from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = from.read(&mut piece).await?;
        if read == 0 {
            // The other end may be gone already.
            let _ = to.shutdown().await;
            return Ok(all);
        }
        all.extend_from_slice(&piece[..read]);
        let _ = to.write_all(&piece[..read]).await;
    }
}

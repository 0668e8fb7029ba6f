//! The streams of a peer that knows the cluster's secret, to say on them whatever it likes.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::{
    config::ClusterConfig,
    node::{Guard, Outside},
};

/// A stream that was dialled.
///
/// # Errors
///
/// What the crate itself would say.
pub async fn dial(
    secret: &str,
    stream: TcpStream,
) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
    let dialled = guard(secret)?.dial(Box::new(stream), "peer").await;
    dialled.map_err(io::Error::other)
}

/// A stream that was accepted.
///
/// # Errors
///
/// What the crate itself would say.
pub async fn accept(
    secret: &str,
    stream: TcpStream,
) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
    let accepted = guard(secret)?.accept(Box::new(stream), Vec::new).await;
    accepted
        .map(|accepted| accepted.io)
        .map_err(io::Error::other)
}

fn guard(secret: &str) -> io::Result<Guard> {
    let settings = ClusterConfig::standalone().secret(secret).settings();
    let settings = settings.map_err(io::Error::other)?;
    Guard::new(&settings, Outside::default().unix_time()).map_err(io::Error::other)
}

//! What protects the streams of a node, for peers that say on them whatever they like.

use std::{fmt, io};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    config::ClusterConfig,
    node::{Env, LinkSecurity},
};

/// The door of a node.
pub struct Door(LinkSecurity);

impl Door {
    /// That of a node configured so.
    ///
    /// # Errors
    ///
    /// What the crate itself would say at start.
    pub fn new(config: &ClusterConfig) -> io::Result<Self> {
        let settings = config.settings().map_err(io::Error::other)?;
        let guard = LinkSecurity::new(&settings, Env::default().unix_time());
        guard.map(Self).map_err(io::Error::other)
    }

    /// A stream that was dialled.
    ///
    /// # Errors
    ///
    /// What the crate itself would say.
    pub async fn dial(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        let dialled = self.0.dial(Box::new(stream), "peer").await;
        dialled.map_err(io::Error::other)
    }

    /// A stream that was accepted.
    ///
    /// # Errors
    ///
    /// What the crate itself would say.
    pub async fn accept(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        let accepted = self.0.accept(Box::new(stream), Vec::new).await;
        accepted
            .map(|accepted| accepted.io)
            .map_err(io::Error::other)
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

//! A node without the feature `durable`: sessions are in memory alone.

use std::sync::Arc;

use super::{Env, Node, disk_stats::DiskStats};
use crate::{
    cluster::AckTracker,
    config::{Settings, StartError},
    replica::Replica,
    session::Now,
    wire::Position,
};

/// The disk, of which there is none.
#[derive(Debug, Default)]
pub(in crate::node) struct Disk;

/// A data directory, of which there is none.
pub(in crate::node) struct DataDirectory;

/// The thread that writes, of which there is none.
pub(in crate::node) struct Writer;

impl DataDirectory {
    pub(in crate::node) const fn open(_: &Settings, _: &Env) -> Result<Option<Self>, StartError> {
        Ok(None)
    }

    pub(in crate::node) const fn handle(&self) -> Disk {
        Disk
    }

    pub(in crate::node) const fn load(self, _: &Arc<Node>) -> Result<Writer, StartError> {
        Ok(Writer)
    }
}

impl Writer {
    pub(in crate::node) const fn start(self) -> Result<(), StartError> {
        Ok(())
    }
}

impl Disk {
    pub(in crate::node) const fn expect(&self) {}

    pub(in crate::node) const fn tick(&self, _: &AckTracker, _: Option<Position>, _: u64, _: Now) {}

    pub(in crate::node) const fn end(&self) {}

    #[expect(
        clippy::unused_async,
        reason = "with a disk there is something to wait for"
    )]
    pub(in crate::node) async fn ended(&self) {}

    pub(in crate::node) const fn stats(&self, _: &Replica) -> Option<DiskStats> {
        None
    }
}

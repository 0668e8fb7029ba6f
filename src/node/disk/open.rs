//! Opening the data directory at the start of a node.

use std::sync::Arc;

use super::{
    directory::Directory,
    error::DirectoryError,
    handle::Disk,
    load::{self, Found},
    seal::{Keys, Sealer},
    writer::{Opened, Writer},
};
use crate::{
    config::{DiskSettings, Settings, StartError, Sync},
    log::{info, warn},
    node::{Env, Node},
};

/// A data directory that this process has, before the node runs.
#[derive(Debug)]
pub(in crate::node) struct DataDirectory {
    opened: Opened,
    sync: Sync,
}

impl DataDirectory {
    /// Opens the directory of the settings; `None` when sessions are in memory alone.
    pub(in crate::node) fn open(
        settings: &Settings,
        env: &Env,
    ) -> Result<Option<Self>, StartError> {
        let Some(disk) = &settings.disk else {
            return Ok(None);
        };
        let directory = Self::open_at(disk, &settings.cluster, env);
        let directory = directory.map_err(|error| error.at(&disk.path))?;
        if directory.opened.keys.is_empty() {
            let path = disk.path.display();
            warn!(
                node = %settings.node, directory = %path,
                "sessions lie in [{path}] in plain text, and whoever can read it can read their \
                 attributes; set `secret` or `data_key`"
            );
        }
        Ok(Some(directory))
    }

    fn open_at(disk: &DiskSettings, cluster: &str, env: &Env) -> Result<Self, DirectoryError> {
        let directory = Directory::open(&disk.path, cluster)?;
        let keys = Keys::new(disk.keys.iter().cloned());
        let sealer = Sealer::new(keys.clone(), Arc::clone(&env.random));
        let storage = Arc::clone(&env.storage);
        let engine = storage.open(&directory.engine(), directory.written()?)?;
        Ok(Self {
            opened: Opened {
                path: disk.path.clone(),
                directory,
                storage,
                engine,
                keys,
                sealer,
            },
            sync: disk.sync,
        })
    }

    /// Returns what the node is to know the disk by.
    pub(in crate::node) fn handle(&self) -> Disk {
        Disk::new(self.sync)
    }

    /// Loads all that is in the directory, before the node serves anything. Returns who writes from
    /// then on.
    pub(in crate::node) fn load(self, node: &Arc<Node>) -> Result<Writer, StartError> {
        let path = self.opened.path.clone();
        let found = self.load_into(node).map_err(|error| error.at(&path))?;
        let writer = Writer::begin(self.opened, Arc::clone(node), found);
        writer.map_err(|error| error.at(&path))
    }

    fn load_into(&self, node: &Node) -> Result<Found, DirectoryError> {
        let (replica, began_us) = (&node.replica, node.clock.now_us());
        replica.record_changes();
        if self.sync == Sync::BeforeResponse {
            node.peers.acks.await_disk();
        }
        // Of a new directory.
        if self.opened.engine.last_batch() == 0 {
            return Ok(Found::default());
        }
        let (engine, keys) = (&*self.opened.engine, &self.opened.keys);
        load::facts(engine, keys, replica, node.now())?;
        let found = load::all(engine, keys, replica, node.now())?;
        let ms = node.clock.now_us().saturating_sub(began_us) / 1000;
        let (sessions, tombstones) = (replica.sessions(), replica.tombstones());
        let path = self.opened.path.display();
        info!(
            node = %node.settings.node, directory = %path, sessions, tombstones, ms,
            "Loaded [{sessions}] sessions and [{tombstones}] destroyed ones from [{path}] in [{ms}] ms"
        );
        if found.over_limit > 0 {
            let (left_out, limit) = (found.over_limit, found.limit);
            warn!(
                node = %node.settings.node, directory = %path, left_out, limit,
                "[{left_out}] records in [{path}] are beyond `{limit}` and were not loaded; they                  stay there: raise it and start again"
            );
        }
        Ok(found)
    }
}

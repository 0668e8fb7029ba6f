//! The store: one line of an app changes.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use tower_cluster_sessions::{
    Ack, Changes, Cluster, CookieValue, Expiry, Session, SessionError, Sessions,
};

use super::{
    core::{
        SessionStore,
        session::{Id, Record},
        session_store::{Error, Result},
    },
    note::{EXPIRY_DATE, Note, is_reserved},
    store_error, time_until,
};

/// A store of tower-sessions whose records are sessions of a cluster.
///
/// Each entry of a record is an attribute of its own. Saving writes those that this request has
/// changed since it loaded the record, so requests at once lose none of each other's.
///
/// - Saving a record that is not there, or no longer, changes nothing and is no error. So a request
///   that ends after a logout does not bring the session back.
/// - Deleting a record that this node does not know ends its session on the nodes that do. Too many
///   of these at once fail.
/// - A change is acknowledged by the peers, as [`with_ack`](Self::with_ack) has it, before it is
///   saved.
/// - A session ends at the record's expiry date, on all nodes. Reading it does not put that off, as
///   nowhere in tower-sessions.
/// - The node keeps no id, but a session key and a hash of a secret that are made of it.
/// - Names are 1 to 255 bytes long, and the [limits](tower_cluster_sessions::ClusterConfig) of the
///   cluster hold.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_cluster_sessions::{Cluster, ClusterConfig};
/// use tower_sessions_0_14::SessionManagerLayer;
/// use tower_sessions_cluster::core_0_14::ClusterStore;
///
/// let cluster = Cluster::start(ClusterConfig::standalone()).await?;
/// let layer = SessionManagerLayer::new(ClusterStore::new(&cluster)); // was `MemoryStore::default()`
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ClusterStore {
    sessions: Sessions,
    ack: Ack,
}

impl ClusterStore {
    /// Returns a store of sessions in the default context.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig};
    /// # use tower_sessions_cluster::core_0_14::*;
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let store = ClusterStore::new(&cluster);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new(cluster: &Cluster) -> Self {
        Self::of(cluster.sessions(""))
    }

    /// Returns a store of sessions in a context, so that several apps of one cluster are apart.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig};
    /// # use tower_sessions_cluster::core_0_14::*;
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let store = ClusterStore::of(cluster.sessions("shop"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn of(sessions: Sessions) -> Self {
        Self {
            sessions,
            ack: Ack::default(),
        }
    }

    /// Sets which peers a change waits for. The default is [`Ack::All`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Ack, Cluster, ClusterConfig};
    /// # use tower_sessions_cluster::core_0_14::*;
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let store = ClusterStore::new(&cluster).with_ack(Ack::One);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_ack(mut self, ack: Ack) -> Self {
        self.ack = ack;
        self
    }

    /// Returns the public id of the session of a record, as [`Sessions::find`] shows it. `None` when
    /// there is no such session.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::SessionInfo;
    /// use tower_sessions_0_14::Session;
    /// use tower_sessions_cluster::core_0_14::ClusterStore;
    ///
    /// /// Tells which of a user's devices sent this request.
    /// async fn is_here(store: &ClusterStore, session: &Session, device: &SessionInfo) -> bool {
    ///     match session.id() {
    ///         Some(id) => store.public_id(&id).await.as_ref() == Some(&device.id),
    ///         None => false,
    ///     }
    /// }
    /// ```
    pub async fn public_id(&self, id: &Id) -> Option<String> {
        self.open(id).await?.id()
    }

    /// Opens the session of the cluster behind a record of tower-sessions. Returns `None` when there is
    /// none, as for a record that is about to be created.
    ///
    /// It is a handle of [`Sessions`]. By it a task behind a WebSocket learns of a logout.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future opens nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_sessions_0_14::Session;
    /// use tower_sessions_cluster::core_0_14::ClusterStore;
    ///
    /// /// Returns when the session has ended.
    /// async fn ended(store: &ClusterStore, session: &Session) {
    ///     if let Some(id) = session.id()
    ///         && let Some(session) = store.open(&id).await
    ///     {
    ///         session.ended().await;
    ///     }
    /// }
    /// ```
    pub async fn open(&self, id: &Id) -> Option<Session> {
        self.sessions.open_with(&cookie_of(id)).await
    }

    /// Creates a session of a record that another store holds, under the record's own id. Returns
    /// whether it did: not if the session lives already, or was here and has ended.
    ///
    /// So an app moves here without logging anybody out: what this store does not have, it looks up
    /// in the old one. Never call it with an id for which no store vouches.
    ///
    /// Several nodes may adopt a record at once. They hold one session then.
    ///
    /// # Errors
    ///
    /// As [`create`](SessionStore::create): where the session cannot be created or written.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future creates the session or does not.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_sessions_0_14::{
    ///     SessionStore,
    ///     session::{Id, Record},
    ///     session_store::Result,
    /// };
    /// use tower_sessions_cluster::core_0_14::ClusterStore;
    ///
    /// /// Moves a session here when its cookie is presented.
    /// async fn move_here(
    ///     here: &ClusterStore,
    ///     old: &impl SessionStore,
    ///     id: &Id,
    /// ) -> Result<Option<Record>> {
    ///     if let Some(record) = old.load(id).await? {
    ///         here.adopt(&record).await?;
    ///         old.delete(id).await?;
    ///     }
    ///     here.load(id).await
    /// }
    /// ```
    pub async fn adopt(&self, record: &Record) -> Result<bool> {
        let changes = new_session(record).map_err(failed)?;
        let cookie = cookie_of(&record.id);
        let session = match self.sessions.create_with(&cookie, &changes).await {
            Err(SessionError::Taken) => return Ok(false),
            created => created.map_err(failed)?,
        };
        // Its client has come back, though not yet to this store.
        session.touch().map_err(failed)?;
        self.acknowledged(&session).await;
        Ok(true)
    }

    async fn acknowledged(&self, session: &Session) {
        session.acknowledged(self.ack).await;
    }
}

#[async_trait]
impl SessionStore for ClusterStore {
    async fn create(&self, record: &mut Record) -> Result<()> {
        let changes = new_session(record).map_err(failed)?;
        let session = loop {
            // Never the id that the record has: after `flush` it is that of the session that ended.
            record.id = Id::default();
            let cookie = cookie_of(&record.id);
            match self.sessions.create_with(&cookie, &changes).await {
                Err(SessionError::Taken) => {}
                created => break created.map_err(failed)?,
            }
        };
        self.acknowledged(&session).await;
        Note::put_into(&mut record.data);
        Ok(())
    }

    async fn save(&self, record: &Record) -> Result<()> {
        let Some(session) = self.open(&record.id).await else {
            return Ok(());
        };
        match save(&session, record) {
            Ok(()) => self.acknowledged(&session).await,
            Err(SessionError::Destroyed) => {}
            Err(error) => return Err(failed(error)),
        }
        Ok(())
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let Some(session) = self.open(id).await else {
            return Ok(None);
        };
        match load(&session, id) {
            Ok(record) => Ok(record),
            Err(SessionError::Destroyed) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        let destroyed = self.sessions.destroy_with(&cookie_of(id), self.ack).await;
        destroyed.map(|_| ()).map_err(failed)
    }
}

/// Returns what makes a new session one of the record.
fn new_session(record: &Record) -> std::result::Result<Changes, SessionError> {
    let mut changes = Note::default().changes_to(&record.data)?;
    write_expiry(&mut changes, record.expiry_date, Duration::ZERO)?;
    Ok(changes)
}

fn save(session: &Session, record: &Record) -> std::result::Result<(), SessionError> {
    let note = Note::find_in(&record.data);
    let is_whole = note.is_none();
    let mut changes = note.unwrap_or_default().changes_to(&record.data)?;
    if is_whole {
        // It was cleared before it was loaded: what is not in it is to go.
        changes.clear();
    }
    let held = session.get_json(EXPIRY_DATE)?;
    if is_whole || held.as_deref() != Some(&*date_json(record.expiry_date)) {
        let age = session.age()?.ok_or(SessionError::Destroyed)?;
        write_expiry(&mut changes, record.expiry_date, age)?;
    }
    session.change(&changes)
}

fn load(session: &Session, id: &Id) -> std::result::Result<Option<Record>, SessionError> {
    // For those who look when the session was used last; it puts no end off.
    session.touch()?;
    let attributes = session.snapshot()?;
    let left = session.info()?.and_then(|info| info.remaining);
    let written = attributes.get(EXPIRY_DATE).and_then(|json| read_date(json));
    let expiry_date = written.unwrap_or_else(|| date_in(left));
    if expiry_date <= OffsetDateTime::now_utc() {
        return Ok(None);
    }
    let mut data = data_of(attributes.iter());
    Note::put_into(&mut data);
    Ok(Some(Record {
        id: *id,
        data,
        expiry_date,
    }))
}

/// Returns the attributes that are the app's.
pub(super) fn data_of<'a>(
    attributes: impl Iterator<Item = (&'a String, &'a String)>,
) -> HashMap<String, Value> {
    let readable = attributes.filter_map(|(name, json)| {
        let value = serde_json::from_str(json).ok()?;
        Some((name.clone(), value))
    });
    readable.filter(|(name, _)| !is_reserved(name)).collect()
}

/// Returns the date when so much time has passed; a century for a session without limits.
pub(super) fn date_in(left: Option<Duration>) -> OffsetDateTime {
    let left = left.unwrap_or(CENTURY).min(CENTURY);
    let left = time::Duration::try_from(left).unwrap_or(time::Duration::ZERO);
    OffsetDateTime::now_utc().saturating_add(left)
}

/// Returns the limits of a session of this age that ends at a date.
pub(super) fn expiry_at(date: OffsetDateTime, age: Duration) -> Expiry {
    // What ends at once ends now, and a limit of zero would be an error.
    let left = time_until(date).max(Duration::from_millis(1));
    Expiry::absolute(age.saturating_add(left))
}

fn write_expiry(
    changes: &mut Changes,
    date: OffsetDateTime,
    age: Duration,
) -> std::result::Result<(), SessionError> {
    changes.insert_json(EXPIRY_DATE, &date_json(date))?;
    changes.set_expiry(expiry_at(date, age))
}

fn date_json(date: OffsetDateTime) -> String {
    format!("[{},{}]", date.unix_timestamp(), date.nanosecond())
}

fn read_date(json: &str) -> Option<OffsetDateTime> {
    let (seconds, nanoseconds): (i64, u32) = serde_json::from_str(json).ok()?;
    let date = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    date.replace_nanosecond(nanoseconds).ok()
}

/// Returns session key and secret of an id: two halves of one hash, so that neither tells of the other.
fn cookie_of(id: &Id) -> CookieValue {
    let digest = Sha256::new()
        .chain_update(b"tower-sessions id\0")
        .chain_update(id.0.to_le_bytes())
        .finalize();
    let (mut key, mut secret) = ([0; 16], [0; 16]);
    key.copy_from_slice(&digest[..16]);
    secret.copy_from_slice(&digest[16..]);
    CookieValue::new(key, secret)
}

#[expect(clippy::needless_pass_by_value, reason = "it is for `map_err`")]
fn failed(error: SessionError) -> Error {
    store_error(&error)
}

const CENTURY: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

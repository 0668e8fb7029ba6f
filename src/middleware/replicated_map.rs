//! A map that the app itself has on all nodes.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    layer::ClusterSessionLayer, layer_config::LayerConfig, request::RequestSession,
    session::Session,
};
use crate::{
    config::Ack,
    node::Cluster,
    session::{Changes, MAX_MAP_NAME, SessionError, SessionMeta},
};

/// A small map of the app that all nodes hold: feature flags, counters, settings. Cheap to clone.
///
/// [`Cluster::map`] returns it. It has what a session has, values and counters, which merge one by one.
/// It belongs to no client, no cookie opens it, and it has no end: it outlives every node as long as
/// one of them lives, and all of them with a `data_dir`.
///
/// Reads come from this node's memory, and cost what those of a session do. A write applies here at
/// once, and is on its way to the peers when the method returns. [`replicated`](Self::replicated)
/// waits for them. Before [`Cluster::ready`] has answered, what the peers have may not be here yet.
///
/// A map counts as one session against [`max_sessions`](crate::ClusterConfig::max_sessions), and has
/// the size of one at most: [`max_session_bytes`](crate::ClusterConfig::max_session_bytes) and
/// [`max_attributes`](crate::ClusterConfig::max_attributes). What is larger belongs into a database.
///
/// # Errors
///
/// Methods that write fail with [`SessionError::TooLarge`] beyond these limits,
/// [`SessionError::Full`] when there is no room on this node, [`SessionError::Leaving`] when the map is
/// yet to begin on a node that leaves, [`SessionError::InvalidName`] for a name that no attribute of a
/// session can have, and [`SessionError::WrongKind`] for a counter that is used as a value or the other
/// way round.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_cluster_sessions::{Cluster, ClusterConfig};
///
/// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
/// let flags = cluster.map("flags");
/// flags.insert("new checkout", true)?;
/// flags.replicated().await;
///
/// // In a handler, on any node:
/// let is_on = flags.get("new checkout")?.unwrap_or(false);
/// # assert!(is_on);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ReplicatedMap {
    session: Session,
    /// What [`changed`](Self::changed) has seen.
    seen: Option<u64>,
}

impl Cluster {
    /// Returns the map of this name, which is the same on all nodes. The first write begins it.
    ///
    /// # Panics
    ///
    /// For a name that is empty or longer than 60 bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use tower_cluster_sessions::{Cluster, ClusterConfig};
    /// # let cluster = Cluster::start(ClusterConfig::standalone()).await?;
    /// let downloads = cluster.map("downloads");
    /// downloads.increment("manual.pdf", 1)?;
    /// assert_eq!(cluster.map("downloads").counter("manual.pdf")?, 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn map(&self, name: &str) -> ReplicatedMap {
        assert!(
            (1..=MAX_MAP_NAME).contains(&name.len()),
            "no map: the name {name:?} must be 1 to {MAX_MAP_NAME} bytes long"
        );
        let layer = ClusterSessionLayer::from_cluster(self).unclaimed_config();
        let config = LayerConfig {
            meta: SessionMeta::of_map(name),
            ..layer.expect("the default options go together")
        };
        let session = Session::of(RequestSession::of_map(Arc::new(config)));
        let seen = session.request.version();
        ReplicatedMap { session, seen }
    }
}

impl ReplicatedMap {
    /// Returns the value of `name`, if there is one.
    ///
    /// # Errors
    ///
    /// [`SessionError::Decode`] when it is of another type, [`SessionError::WrongKind`] for a counter.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{ReplicatedMap, SessionError};
    /// fn greeting(settings: &ReplicatedMap) -> Result<String, SessionError> {
    ///     Ok(settings.get("greeting")?.unwrap_or_else(|| "Welcome.".to_owned()))
    /// }
    /// ```
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, SessionError> {
        self.read(|session| session.get(name))
    }

    /// Writes the value of `name`. Of two nodes that write it at once, the later write wins everywhere.
    ///
    /// # Errors
    ///
    /// The [errors](Self#errors) of all that write, and [`SessionError::Encode`] when the value would
    /// not come back.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{ReplicatedMap, SessionError};
    /// fn close_the_shop(settings: &ReplicatedMap) -> Result<(), SessionError> {
    ///     settings.insert("open", false)
    /// }
    /// ```
    pub fn insert<T: Serialize>(&self, name: &str, value: T) -> Result<(), SessionError> {
        self.write(|session| session.insert(name, &value))
    }

    /// Replaces the value by what `update` makes of it. Returns the new value.
    ///
    /// It is atomic on this node, as [`Session::update`] is: two nodes that update the same value at
    /// once do not see each other's writes. To count, use [`increment`](Self::increment).
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get) and [`insert`](Self::insert).
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{ReplicatedMap, SessionError};
    /// fn block(settings: &ReplicatedMap, address: &str) -> Result<Vec<String>, SessionError> {
    ///     settings.update("blocked", |blocked: Option<Vec<String>>| {
    ///         let mut blocked = blocked.unwrap_or_default();
    ///         blocked.push(address.to_owned());
    ///         blocked
    ///     })
    /// }
    /// ```
    pub fn update<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        mut update: impl FnMut(Option<T>) -> T,
    ) -> Result<T, SessionError> {
        self.write(|session| session.update(name, &mut update))
    }

    /// [Updates](Self::update) the value, unless `update` fails. Nothing has changed then.
    ///
    /// # Errors
    ///
    /// Those of `update`, and those of [`update`](Self::update).
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{ReplicatedMap, SessionError};
    /// enum BookingError {
    ///     SoldOut,
    ///     Session(SessionError),
    /// }
    ///
    /// impl From<SessionError> for BookingError {
    ///     fn from(error: SessionError) -> Self {
    ///         Self::Session(error)
    ///     }
    /// }
    ///
    /// fn book(rooms: &ReplicatedMap, day: &str) -> Result<u8, BookingError> {
    ///     rooms.try_update(day, |booked: Option<u8>| match booked {
    ///         Some(12..) => Err(BookingError::SoldOut),
    ///         booked => Ok(booked.unwrap_or(0) + 1),
    ///     })
    /// }
    /// ```
    pub fn try_update<T: Serialize + DeserializeOwned, E: From<SessionError>>(
        &self,
        name: &str,
        mut update: impl FnMut(Option<T>) -> Result<T, E>,
    ) -> Result<T, E> {
        let updated = self.write(|session| {
            let done = session.try_update(name, |value| update(value).map_err(Stop::Update));
            match done {
                Ok(value) => Ok(Ok(value)),
                Err(Stop::Update(error)) => Ok(Err(error)),
                Err(Stop::Session(error)) => Err(error),
            }
        });
        updated?
    }

    /// Removes the value and returns it, if there is one.
    ///
    /// It is atomic on this node, as [`Session::take`] is. Two nodes may both get it when they take
    /// it at once.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get); the value stays as it was.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{ReplicatedMap, SessionError};
    /// fn next_announcement(settings: &ReplicatedMap) -> Result<Option<String>, SessionError> {
    ///     settings.take("announcement")
    /// }
    /// ```
    pub fn take<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, SessionError> {
        self.read(|session| session.take(name))
    }

    /// Removes a value or counter. Returns whether it was there.
    ///
    /// # Errors
    ///
    /// [`SessionError::InvalidName`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{ReplicatedMap, SessionError};
    /// fn forget_the_greeting(settings: &ReplicatedMap) -> Result<bool, SessionError> {
    ///     settings.remove("greeting")
    /// }
    /// ```
    pub fn remove(&self, name: &str) -> Result<bool, SessionError> {
        self.read(|session| session.remove(name))
    }

    /// Adds to a counter. Returns its value here.
    ///
    /// What several nodes add at once all counts. A counter starts at 0 and saturates.
    ///
    /// # Errors
    ///
    /// The [errors](Self#errors) of all that write.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{ReplicatedMap, SessionError};
    /// fn sell_ticket(tickets: &ReplicatedMap) -> Result<i64, SessionError> {
    ///     tickets.increment("sold", 1)
    /// }
    /// ```
    pub fn increment(&self, name: &str, by: i64) -> Result<i64, SessionError> {
        self.write(|session| session.increment(name, by))
    }

    /// Returns the counter's value as far as this node knows, 0 when there is none.
    ///
    /// # Errors
    ///
    /// [`SessionError::WrongKind`] for a value.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{ReplicatedMap, SessionError};
    /// fn is_sold_out(tickets: &ReplicatedMap) -> Result<bool, SessionError> {
    ///     Ok(tickets.counter("sold")? >= 500)
    /// }
    /// ```
    pub fn counter(&self, name: &str) -> Result<i64, SessionError> {
        self.read(|session| session.counter(name))
    }

    /// Returns the value of `name` as the JSON that is stored, if there is one.
    ///
    /// # Errors
    ///
    /// [`SessionError::WrongKind`] for a counter.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{ReplicatedMap, SessionError};
    /// fn show(settings: &ReplicatedMap) -> Result<String, SessionError> {
    ///     Ok(settings.get_json("limits")?.unwrap_or_else(|| "null".to_owned()))
    /// }
    /// ```
    pub fn get_json(&self, name: &str) -> Result<Option<String>, SessionError> {
        self.read(|session| session.get_json(name))
    }

    /// Writes JSON as the value of `name`, as it is.
    ///
    /// # Errors
    ///
    /// The [errors](Self#errors) of all that write, and [`SessionError::Encode`] for what is no JSON.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{ReplicatedMap, SessionError};
    /// fn reset(settings: &ReplicatedMap) -> Result<(), SessionError> {
    ///     settings.insert_json("limits", r#"{"uploads": 10}"#)
    /// }
    /// ```
    pub fn insert_json(&self, name: &str, json: &str) -> Result<(), SessionError> {
        self.write(|session| session.insert_json(name, json))
    }

    /// Makes several changes as one: all of them, or none if one fails.
    ///
    /// # Errors
    ///
    /// The [errors](Self#errors) of all that write. [`SessionError::NeverEnds`] for changes that set an
    /// expiry.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::{Changes, ReplicatedMap, SessionError};
    ///
    /// fn announce(settings: &ReplicatedMap, text: &str) -> Result<(), SessionError> {
    ///     let mut changes = Changes::new();
    ///     changes.insert("banner", text)?;
    ///     changes.increment("banners", 1)?;
    ///     settings.change(&changes)
    /// }
    /// ```
    pub fn change(&self, changes: &Changes) -> Result<(), SessionError> {
        if changes.expiry().is_some() {
            return Err(SessionError::NeverEnds);
        }
        self.write(|session| session.change(changes))
    }

    /// Returns all values and counters at one moment, by name, as the JSON that is stored.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::ReplicatedMap;
    /// fn print(settings: &ReplicatedMap) {
    ///     for (name, json) in settings.snapshot() {
    ///         println!("{name}: {json}");
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<String, String> {
        // It fails when there is no map, and then it is empty.
        self.session.snapshot().unwrap_or_default()
    }

    /// Waits until every live peer holds what was written here. Returns how many do.
    ///
    /// It waits for [`ack_timeout`](crate::ClusterConfig::ack_timeout) at most.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the waiting; the changes are on their way.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{ReplicatedMap, SessionError};
    /// async fn open_the_shop(settings: &ReplicatedMap) -> Result<(), SessionError> {
    ///     settings.insert("open", true)?;
    ///     let peers = settings.replicated().await;
    ///     println!("{peers} peers hold it");
    ///     Ok(())
    /// }
    /// ```
    pub async fn replicated(&self) -> usize {
        self.session.acknowledged(Ack::All).await
    }

    /// Waits until the map is another one than when this was last called, or than when the handle was
    /// made. It may have been written on any node.
    ///
    /// It looks every second. What is written in between is one change.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no change.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{ReplicatedMap, SessionError};
    /// async fn follow(mut settings: ReplicatedMap) -> Result<(), SessionError> {
    ///     loop {
    ///         println!("the log level is {:?}", settings.get::<String>("log level")?);
    ///         settings.changed().await;
    ///     }
    /// }
    /// ```
    pub async fn changed(&mut self) {
        let map = &self.session.request;
        map.node().until(|| map.version() != self.seen).await;
        self.seen = map.version();
    }

    /// Reads the map. One that nobody has begun is empty.
    fn read<R: Default>(
        &self,
        read: impl FnOnce(&Session) -> Result<R, SessionError>,
    ) -> Result<R, SessionError> {
        match read(&self.session) {
            Err(SessionError::Destroyed) => Ok(R::default()),
            done => done,
        }
    }

    /// Writes to the map, which is begun if nobody has done so.
    fn write<R>(
        &self,
        mut write: impl FnMut(&Session) -> Result<R, SessionError>,
    ) -> Result<R, SessionError> {
        match write(&self.session) {
            Err(SessionError::Destroyed) => {
                self.session.request.begin_map()?;
                write(&self.session)
            }
            done => done,
        }
    }
}

/// Why an update has not been made.
enum Stop<E> {
    Session(SessionError),
    Update(E),
}

impl<E> From<SessionError> for Stop<E> {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

/// Shows the name, and no value.
impl fmt::Debug for ReplicatedMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReplicatedMap").field(&self.session).finish()
    }
}

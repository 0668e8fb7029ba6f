//! Several writes that are made as one.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    sync::Arc,
};

use serde::Serialize;

use super::{
    Count, SessionError,
    attribute::{check_name, register_weight},
    json::{check_json, encode_json},
};
use crate::config::{Expiry, Limits};

/// Writes to a session that are made as one: all of them, or none if one fails.
///
/// [`Session::change`](crate::Session::change) makes them. No request on this node sees a part of
/// them, and they travel to other nodes together.
///
/// An attribute is changed once: what is said of it later replaces what was said before, but that
/// increments add up.
///
/// # Examples
///
/// ```
/// use tower_cluster_sessions::{Changes, Session, SessionError};
///
/// fn check_out(session: &Session, order: u64) -> Result<(), SessionError> {
///     let mut changes = Changes::new();
///     changes.remove("cart");
///     changes.insert("last order", order)?;
///     changes.increment("orders", 1)?;
///     session.change(&changes)
/// }
/// ```
#[derive(Clone, Default)]
pub struct Changes {
    clear: bool,
    attributes: BTreeMap<Box<str>, AttributeChange>,
    expiry: Option<Expiry>,
}

/// A change of one attribute or counter.
#[derive(Clone)]
pub(crate) enum AttributeChange {
    Set(Arc<[u8]>),
    Add(i64),
    Remove,
}

impl Changes {
    /// Returns no changes.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::Changes;
    ///
    /// assert!(Changes::new().is_empty());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes an attribute.
    ///
    /// # Errors
    ///
    /// [`SessionError::Encode`] when the value would not come back, [`SessionError::InvalidName`].
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::Changes;
    ///
    /// let mut changes = Changes::new();
    /// changes.insert("theme", "dark")?;
    /// # Ok::<(), tower_cluster_sessions::SessionError>(())
    /// ```
    pub fn insert<T: Serialize>(&mut self, name: &str, value: T) -> Result<(), SessionError> {
        check_name(name)?;
        let json = encode_json(name, &value)?;
        self.put(name, AttributeChange::Set(json.as_slice().into()));
        Ok(())
    }

    /// Writes an attribute whose JSON is at hand.
    ///
    /// # Errors
    ///
    /// [`SessionError::Encode`] when it is not JSON, or none that can be read back,
    /// [`SessionError::InvalidName`].
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::Changes;
    ///
    /// let mut changes = Changes::new();
    /// changes.insert_json("theme", r#"{"name": "dark"}"#)?;
    /// assert!(changes.insert_json("theme", "dark").is_err());
    /// # Ok::<(), tower_cluster_sessions::SessionError>(())
    /// ```
    pub fn insert_json(&mut self, name: &str, json: &str) -> Result<(), SessionError> {
        check_name(name)?;
        check_json(name, json)?;
        self.put(name, AttributeChange::Set(json.as_bytes().into()));
        Ok(())
    }

    /// Removes an attribute or counter, if it is there.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::Changes;
    ///
    /// let mut changes = Changes::new();
    /// changes.remove("coupon");
    /// ```
    pub fn remove(&mut self, name: &str) {
        self.put(name, AttributeChange::Remove);
    }

    /// Removes all attributes and counters that the session has, before the other changes are made.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::Changes;
    ///
    /// let mut changes = Changes::new();
    /// changes.insert("user", "alice")?;
    /// changes.clear();
    /// // The session will have the user, and nothing else.
    /// # Ok::<(), tower_cluster_sessions::SessionError>(())
    /// ```
    pub fn clear(&mut self) {
        self.clear = true;
    }

    /// Adds to a counter.
    ///
    /// # Errors
    ///
    /// [`SessionError::InvalidName`].
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::Changes;
    ///
    /// let mut changes = Changes::new();
    /// changes.increment("mails", 1)?;
    /// # Ok::<(), tower_cluster_sessions::SessionError>(())
    /// ```
    pub fn increment(&mut self, name: &str, by: i64) -> Result<(), SessionError> {
        check_name(name)?;
        match self.attributes.entry(name.into()) {
            Entry::Occupied(mut entry) => match entry.get_mut() {
                AttributeChange::Add(sum) => *sum = sum.saturating_add(by),
                other => *other = AttributeChange::Add(by),
            },
            Entry::Vacant(entry) => drop(entry.insert(AttributeChange::Add(by))),
        }
        Ok(())
    }

    /// Sets the limits of the session's life, as
    /// [`Session::set_expiry`](crate::Session::set_expiry) does.
    ///
    /// # Errors
    ///
    /// [`SessionError::ZeroLimit`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_cluster_sessions::{Changes, Expiry};
    ///
    /// let mut changes = Changes::new();
    /// changes.set_expiry(Expiry::idle(Duration::from_secs(300)))?;
    /// # Ok::<(), tower_cluster_sessions::SessionError>(())
    /// ```
    pub fn set_expiry(&mut self, expiry: Expiry) -> Result<(), SessionError> {
        if expiry.has_zero_limit() {
            return Err(SessionError::ZeroLimit);
        }
        self.expiry = Some(expiry);
        Ok(())
    }

    /// Returns whether there is nothing to be changed.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::Changes;
    ///
    /// let mut changes = Changes::new();
    /// changes.remove("coupon");
    /// assert!(!changes.is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.clear && self.attributes.is_empty() && self.expiry.is_none()
    }

    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&str, &AttributeChange)> {
        let all = self.attributes.iter();
        all.map(|(name, change)| (&**name, change))
    }

    pub(crate) const fn expiry(&self) -> Option<Expiry> {
        self.expiry
    }

    /// Returns whether an attribute that the session has is removed before others are written.
    pub(crate) fn removes(&self, name: &str) -> bool {
        self.clear || matches!(self.attributes.get(name), Some(AttributeChange::Remove))
    }

    /// Returns whether they leave attributes or counters in a session that has none.
    pub(crate) fn write_any(&self) -> bool {
        self.weights().next().is_some()
    }

    /// Returns what a session weighs that has nothing else.
    ///
    /// # Errors
    ///
    /// When it would pass these limits.
    pub(crate) fn weight_within(&self, limits: &Limits) -> Result<usize, SessionError> {
        let (attributes, bytes) = (self.weights().count(), self.weights().sum());
        SessionError::unless_within("attributes", attributes, limits.max_attributes)?;
        SessionError::unless_within("bytes", bytes, limits.max_session_bytes)?;
        Ok(bytes)
    }

    fn weights(&self) -> impl Iterator<Item = usize> {
        self.attributes().filter_map(|(name, change)| match change {
            AttributeChange::Set(json) => Some(register_weight(name, json.len())),
            AttributeChange::Add(_) => Some(register_weight(name, size_of::<Count>())),
            AttributeChange::Remove => None,
        })
    }

    fn put(&mut self, name: &str, change: AttributeChange) {
        self.attributes.insert(name.into(), change);
    }
}

/// Shows names, and no values.
impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes")
            .field("clear", &self.clear)
            .field("attributes", &self.attributes.keys())
            .field("expiry", &self.expiry)
            .finish()
    }
}

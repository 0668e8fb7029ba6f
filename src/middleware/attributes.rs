//! The attributes and counters of a session.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::session::Session;
use crate::{
    replica::SessionWriter,
    session::{
        Changes, Content, Count, SessionError, SessionKey, SessionState, Tag, WrongKind,
        check_json, check_name, decode_json, encode_json, register_weight,
    },
};

/// # Attributes
///
/// Values are stored as the JSON that serde makes of them. What would not come back equal is refused
/// when it is written, with a [`SessionError::Encode`]: floats that are infinite or not a number,
/// `Some` of what JSON has as `null` (`Some(None)`, `Some(())`), and what is nested deeper than 127
/// levels. Names are 1 to 255 bytes long; any other is a [`SessionError::InvalidName`]. Attributes
/// merge one by one: requests that write different ones never lose each other's writes, on whatever
/// nodes they run.
impl Session {
    /// Returns the attribute's value, if there is one.
    ///
    /// # Errors
    ///
    /// [`SessionError::Decode`] when the value is of another type; it is left as it was.
    /// [`SessionError::WrongKind`] for a counter. And the [errors](Self#errors) of all methods.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// fn handle(session: &Session) -> Result<String, SessionError> {
    ///     let name: Option<String> = session.get("name")?;
    ///     Ok(name.unwrap_or_else(|| "stranger".to_owned()))
    /// }
    /// ```
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, SessionError> {
        decode(name, &self.look(name)?)
    }

    /// Writes the attribute, which creates the session if there is none.
    ///
    /// # Errors
    ///
    /// [`SessionError::Encode`] when it would not come back, [`SessionError::TooLarge`] when the session would
    /// pass a limit, [`SessionError::Full`] and [`SessionError::Leaving`] when it cannot be
    /// created, [`SessionError::WrongKind`] for a counter, [`SessionError::LimitReached`] beyond a
    /// [limit](crate::ClusterSessionLayer::with_limit) of sessions with this value. And the
    /// [errors](Self#errors) of all methods.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// fn handle(session: &Session) -> Result<(), SessionError> {
    ///     session.insert("cart", vec!["apple", "pear"])
    /// }
    /// ```
    pub fn insert<T: Serialize>(&self, name: &str, value: T) -> Result<(), SessionError> {
        check_name(name)?;
        self.request.writable()?;
        let bytes = encode(name, &value)?;
        self.set(name, bytes)
    }

    /// Removes the attribute and returns its value, if there is one.
    ///
    /// It is atomic on this node: of several requests that take it, one gets it. Two nodes may both
    /// get it when they take it at once.
    ///
    /// # Errors
    ///
    /// [`SessionError::Decode`] when the value is of another type; it stays as it was.
    /// [`SessionError::WrongKind`] for a counter. And the [errors](Self#errors) of all methods.
    ///
    /// # Examples
    ///
    /// A flash message, which is shown once:
    ///
    /// ```
    /// use tower_cluster_sessions::{Session, SessionError};
    ///
    /// fn save(session: &Session) -> Result<(), SessionError> {
    ///     session.insert("flash", "Your changes are saved.")
    /// }
    ///
    /// fn next_page(session: &Session) -> Result<String, SessionError> {
    ///     let flash: Option<String> = session.take("flash")?;
    ///     Ok(flash.unwrap_or_default())
    /// }
    /// ```
    pub fn take<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, SessionError> {
        check_name(name)?;
        self.request.writable()?;
        loop {
            let found = self.look(name)?;
            let Some(value) = decode(name, &found)? else {
                return Ok(None);
            };
            let removed = self
                .request
                .change(|writer| match writer.tag(name) == found.tag {
                    true => writer.remove(name),
                    false => Ok(false),
                })?;
            if removed == Some(true) {
                return Ok(Some(value));
            }
        }
    }

    /// Removes an attribute or counter. Returns whether it was there.
    ///
    /// # Errors
    ///
    /// The [errors](Self#errors) of all methods.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// fn handle(session: &Session) -> Result<bool, SessionError> {
    ///     let was_there = session.remove("cart")?;
    ///     Ok(was_there)
    /// }
    /// ```
    pub fn remove(&self, name: &str) -> Result<bool, SessionError> {
        check_name(name)?;
        let removed = self.request.change(|writer| writer.remove(name))?;
        Ok(removed.unwrap_or(false))
    }

    /// Replaces the value by what `update` makes of it. Returns the new value.
    ///
    /// It is atomic on this node: when another request changes the attribute meanwhile, `update`
    /// runs again on the new value. Two nodes that update the same attribute at once do not see
    /// each other's writes: the later one wins everywhere. To count, use
    /// [`increment`](Self::increment).
    ///
    /// No lock is held while `update` runs, so it may take its time and use the session. It must
    /// not write this same attribute, which would have it run for ever. When it panics nothing has
    /// changed.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get) and [`insert`](Self::insert).
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// # fn hit(session: &Session) -> Result<u64, SessionError> {
    /// session.update("hits", |hits: Option<u64>| hits.unwrap_or(0) + 1)
    /// # }
    /// ```
    pub fn update<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        mut update: impl FnMut(Option<T>) -> T,
    ) -> Result<T, SessionError> {
        self.try_update(name, |value| Ok(update(value)))
    }

    /// [Updates](Self::update) the value with something that the new value is to own.
    ///
    /// `update` gets a clone of `argument` each time it runs, which nearly always is once.
    ///
    /// # Errors
    ///
    /// Those of [`update`](Self::update).
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// fn add(session: &Session, article: String) -> Result<usize, SessionError> {
    ///     let cart = session.update_with("cart", article, |cart: Option<Vec<String>>, article| {
    ///         let mut cart = cart.unwrap_or_default();
    ///         cart.push(article);
    ///         cart
    ///     })?;
    ///     Ok(cart.len())
    /// }
    /// ```
    pub fn update_with<T: Serialize + DeserializeOwned, A: Clone>(
        &self,
        name: &str,
        argument: A,
        mut update: impl FnMut(Option<T>, A) -> T,
    ) -> Result<T, SessionError> {
        self.update(name, |value| update(value, argument.clone()))
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
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// enum ShopError {
    ///     CartFull,
    ///     Session(SessionError),
    /// }
    ///
    /// impl From<SessionError> for ShopError {
    ///     fn from(error: SessionError) -> Self {
    ///         Self::Session(error)
    ///     }
    /// }
    ///
    /// fn add(session: &Session) -> Result<u8, ShopError> {
    ///     session.try_update("articles", |articles: Option<u8>| match articles {
    ///         Some(10..) => Err(ShopError::CartFull),
    ///         articles => Ok(articles.unwrap_or(0) + 1),
    ///     })
    /// }
    /// ```
    pub fn try_update<T: Serialize + DeserializeOwned, E: From<SessionError>>(
        &self,
        name: &str,
        mut update: impl FnMut(Option<T>) -> Result<T, E>,
    ) -> Result<T, E> {
        check_name(name)?;
        // Compare and swap: the tag of the attribute is its version, and a write under another tag
        // than the one that was read begins again.
        loop {
            let held = self.request.writable()?;
            let found = match &held {
                Some(key) => self.request.node().read(key, |state| look(state, name))?,
                None => Ok(ReadAttribute::default()),
            };
            let found = found.map_err(|kind| kind.error(name))?;
            let value = update(decode(name, &found)?)?;
            if self.replace(held, name, &found, &encode(name, &value)?)? {
                return Ok(value);
            }
        }
    }

    /// Returns the attribute's value, which is set to what `make` returns if there is none.
    ///
    /// It is atomic on this node. No lock is held while `make` runs, once at most.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get) and, if there is no value, of [`insert`](Self::insert).
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// fn handle(session: &Session) -> Result<String, SessionError> {
    ///     session.get_or_insert_with("theme", || "light".to_owned())
    /// }
    /// ```
    pub fn get_or_insert_with<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        make: impl FnOnce() -> T,
    ) -> Result<T, SessionError> {
        let found = self.look(name)?;
        if let Some(value) = decode(name, &found)? {
            return Ok(value);
        }
        self.request.writable()?;
        let made = make();
        let bytes = encode(name, &made)?;
        let mut found = found;
        while !self.replace(None, name, &found, &bytes)? {
            found = self.look(name)?;
            if let Some(value) = decode(name, &found)? {
                return Ok(value);
            }
        }
        Ok(made)
    }

    /// Makes several changes as one: all of them, or none if one fails. They create the session if
    /// they write something and there is none.
    ///
    /// # Errors
    ///
    /// Those of [`insert`](Self::insert).
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_cluster_sessions::{Changes, Session, SessionError};
    ///
    /// fn log_in(session: &Session, user: &str) -> Result<(), SessionError> {
    ///     let mut changes = Changes::new();
    ///     changes.insert("user", user)?;
    ///     changes.insert("step", "welcome")?;
    ///     changes.remove("return to");
    ///     session.change(&changes)
    /// }
    /// ```
    pub fn change(&self, changes: &Changes) -> Result<(), SessionError> {
        self.request.change_all(changes)
    }

    /// Returns the attribute's value as the JSON that is stored, if there is one.
    ///
    /// # Errors
    ///
    /// [`SessionError::WrongKind`] for a counter, and the [errors](Self#errors) of all methods.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// # fn handler(session: &Session) -> Result<(), SessionError> {
    /// session.insert("cart", vec!["apple", "pear"])?;
    /// assert_eq!(session.get_json("cart")?.as_deref(), Some(r#"["apple","pear"]"#));
    /// # Ok(())
    /// # }
    /// ```
    pub fn get_json(&self, name: &str) -> Result<Option<String>, SessionError> {
        let found = self.look(name)?.bytes;
        Ok(found.map(|bytes| text(&bytes)))
    }

    /// Writes an attribute whose JSON is at hand, which creates the session if there is none.
    ///
    /// # Errors
    ///
    /// [`SessionError::Encode`] when it is not JSON, or none that can be read back. And those of
    /// [`insert`](Self::insert).
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// # fn handler(session: &Session) -> Result<(), SessionError> {
    /// session.insert_json("cart", r#"["apple", "pear"]"#)?;
    /// let cart: Option<Vec<String>> = session.get("cart")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn insert_json(&self, name: &str, json: &str) -> Result<(), SessionError> {
        check_name(name)?;
        check_json(name, json)?;
        self.set(name, json.as_bytes().into())
    }

    /// Returns all attributes at one moment, by name, as the JSON that is stored. A counter is a
    /// number.
    ///
    /// # Errors
    ///
    /// The [errors](Self#errors) of all methods.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// # fn handler(session: &Session) -> Result<(), SessionError> {
    /// for (name, json) in session.snapshot()? {
    ///     println!("{name}: {json}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn snapshot(&self) -> Result<BTreeMap<String, String>, SessionError> {
        // What is shared is copied behind the lock.
        let all = self.request.read(|state| state.registers().to_vec())?;
        let present = all.into_iter().flatten().filter_map(|(name, register)| {
            let json = match &register.content {
                Content::Json(bytes) => text(bytes),
                Content::Counter(counter) => counter.total().to_string(),
                Content::Removed => return None,
            };
            Some((name.as_ref().to_owned(), json))
        });
        Ok(present.collect())
    }

    /// Returns whether there is an attribute or counter of this name.
    ///
    /// # Errors
    ///
    /// The [errors](Self#errors) of all methods.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// fn handle(session: &Session) -> Result<bool, SessionError> {
    ///     session.contains_key("user")
    /// }
    /// ```
    pub fn contains_key(&self, name: &str) -> Result<bool, SessionError> {
        check_name(name)?;
        let held = self.request.read(|state| {
            state
                .register(name)
                .is_some_and(|register| register.is_present())
        })?;
        Ok(held.unwrap_or(false))
    }

    /// Returns the names of all attributes and counters, sorted.
    ///
    /// # Errors
    ///
    /// The [errors](Self#errors) of all methods.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// fn handle(session: &Session) -> Result<usize, SessionError> {
    ///     let names = session.keys()?;
    ///     Ok(names.len())
    /// }
    /// ```
    pub fn keys(&self) -> Result<Vec<String>, SessionError> {
        let names = self
            .request
            .read(|state| state.names().map(|name| name.as_ref().to_owned()).collect())?;
        Ok(names.unwrap_or_default())
    }

    /// Removes all attributes and counters in one change. The session and its id stay.
    ///
    /// # Errors
    ///
    /// The [errors](Self#errors) of all methods.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// fn handle(session: &Session) -> Result<(), SessionError> {
    ///     // Everything goes, the session stays.
    ///     session.clear()
    /// }
    /// ```
    pub fn clear(&self) -> Result<(), SessionError> {
        self.remove_prefix("").map(drop)
    }

    /// Removes the attributes and counters whose names start with `prefix`, in one change. Returns
    /// how many there were.
    ///
    /// # Errors
    ///
    /// The [errors](Self#errors) of all methods.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// fn handle(session: &Session) -> Result<usize, SessionError> {
    ///     session.insert("cart/apple", 2)?;
    ///     session.insert("cart/pear", 1)?;
    ///     session.remove_prefix("cart/")
    /// }
    /// ```
    pub fn remove_prefix(&self, prefix: &str) -> Result<usize, SessionError> {
        let removed = self.request.change(|writer| remove_all(writer, prefix))?;
        Ok(removed.unwrap_or(0))
    }

    /// Adds to the counter, which creates the session if there is none. Returns the new value here.
    ///
    /// Increments on several nodes at once all count. A counter starts at 0 and saturates.
    ///
    /// # Errors
    ///
    /// Those of [`insert`](Self::insert); [`SessionError::WrongKind`] for an attribute.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// fn handle(session: &Session) -> Result<i64, SessionError> {
    ///     // Increments made on several nodes at once add up.
    ///     session.increment("hits", 1)
    /// }
    /// ```
    pub fn increment(&self, name: &str, by: i64) -> Result<i64, SessionError> {
        check_name(name)?;
        let weight = register_weight(name, size_of::<Count>());
        self.request.write(weight, |writer| writer.add(name, by))
    }

    /// Returns the counter's value as far as this node knows, 0 when there is none.
    ///
    /// # Errors
    ///
    /// [`SessionError::WrongKind`] for an attribute, and the [errors](Self#errors) of all methods.
    ///
    /// # Examples
    ///
    /// ```
    /// # use tower_cluster_sessions::{Session, SessionError};
    /// fn handle(session: &Session) -> Result<i64, SessionError> {
    ///     session.counter("hits")
    /// }
    /// ```
    pub fn counter(&self, name: &str) -> Result<i64, SessionError> {
        check_name(name)?;
        match self.request.read(|state| state.count(name))? {
            None => Ok(0),
            Some(count) => count.map_err(|kind| kind.error(name)),
        }
    }

    fn look(&self, name: &str) -> Result<ReadAttribute, SessionError> {
        check_name(name)?;
        let found = self.request.read(|state| look(state, name))?;
        match found {
            None => Ok(ReadAttribute::default()),
            Some(found) => found.map_err(|kind| kind.error(name)),
        }
    }

    fn set(&self, name: &str, json: Arc<[u8]>) -> Result<(), SessionError> {
        let last = self.request.admit_value(name, &json)?;
        self.request
            .write(register_weight(name, json.len()), |writer| {
                writer.come_after(last);
                writer.set(name, json)
            })
    }

    /// Writes the attribute, unless it has changed since it was `found`. Returns whether it wrote.
    ///
    /// The session is the one that is `held`, or else one that may be created.
    fn replace(
        &self,
        held: Option<SessionKey>,
        name: &str,
        found: &ReadAttribute,
        bytes: &Arc<[u8]>,
    ) -> Result<bool, SessionError> {
        let last = self.request.admit_value(name, bytes)?;
        let write = |writer: &mut SessionWriter<'_>| {
            if writer.tag(name) != found.tag {
                return Ok(false);
            }
            writer.come_after(last);
            writer.set(name, Arc::clone(bytes)).map(|()| true)
        };
        if let Some(key) = held {
            match self.request.write_to(&key, write) {
                // Another handle of this request, or `update` itself, has destroyed it meanwhile:
                // the write starts another session, as any later write does.
                Err(SessionError::Destroyed) if self.request.key() != held => {}
                done => return done,
            }
        }
        let weight = register_weight(name, bytes.len());
        self.request.write(weight, write)
    }
}

/// An attribute at one moment.
#[derive(Default)]
struct ReadAttribute {
    tag: Option<Tag>,
    bytes: Option<Arc<[u8]>>,
}

fn look(state: &SessionState, name: &str) -> Result<ReadAttribute, WrongKind> {
    Ok(ReadAttribute {
        tag: state.register(name).map(|register| register.tag),
        bytes: state.json(name)?.cloned(),
    })
}

fn remove_all(writer: &mut SessionWriter<'_>, prefix: &str) -> Result<usize, SessionError> {
    let names: Vec<Arc<str>> = writer
        .state()
        .names()
        .filter(|name| name.starts_with(prefix))
        .cloned()
        .collect();
    for name in &names {
        writer.remove(name)?;
    }
    Ok(names.len())
}

fn decode<T: DeserializeOwned>(
    name: &str,
    found: &ReadAttribute,
) -> Result<Option<T>, SessionError> {
    let bytes = found.bytes.as_deref();
    bytes.map(|bytes| decode_json(name, bytes)).transpose()
}

/// Returns JSON as text. A peer that is malicious may have sent something else.
fn text(json: &[u8]) -> String {
    String::from_utf8_lossy(json).into_owned()
}

fn encode<T: Serialize>(name: &str, value: &T) -> Result<Arc<[u8]>, SessionError> {
    encode_json(name, value).map(|bytes| Arc::from(bytes.as_slice()))
}

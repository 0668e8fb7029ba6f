//! An attribute with its type.

use std::{fmt, marker::PhantomData};

use serde::{Serialize, de::DeserializeOwned};

use super::session::Session;
use crate::session::SessionError;

/// A type that is kept in sessions under a name of its own.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use tower_cluster_sessions::{Attribute, SessionError, Typed};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Cart {
///     articles: Vec<String>,
/// }
///
/// impl Attribute for Cart {
///     const NAME: &'static str = "cart";
/// }
///
/// // `Typed<Cart>` is an axum extractor.
/// fn add(cart: &Typed<Cart>, article: String) -> Result<usize, SessionError> {
///     let cart = cart.update_with(article, |cart, article| {
///         let mut cart = cart.unwrap_or_default();
///         cart.articles.push(article);
///         cart
///     })?;
///     Ok(cart.articles.len())
/// }
/// ```
pub trait Attribute: Serialize + DeserializeOwned {
    /// The attribute's name, 1 to 255 bytes long.
    const NAME: &'static str;
}

/// The attribute `T` of a session.
///
/// It reads and writes when asked to, never by being dropped.
pub struct Typed<T> {
    session: Session,
    attribute: PhantomData<fn() -> T>,
}

impl<T> Typed<T> {
    /// Returns the attribute of this session.
    ///
    /// # Examples
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tower_cluster_sessions::{Attribute, Session, SessionError, Typed};
    /// # #[derive(Clone, Serialize, Deserialize)]
    /// # struct Cart(Vec<String>);
    /// # impl Attribute for Cart {
    /// #     const NAME: &'static str = "cart";
    /// # }
    /// fn cart(session: Session) -> Typed<Cart> {
    ///     Typed::new(session)
    /// }
    /// ```
    #[must_use]
    pub const fn new(session: Session) -> Self {
        Self {
            session,
            attribute: PhantomData,
        }
    }

    /// Returns the session that the attribute belongs to.
    ///
    /// # Examples
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tower_cluster_sessions::{Attribute, Session, SessionError, Typed};
    /// # #[derive(Clone, Serialize, Deserialize)]
    /// # struct Cart(Vec<String>);
    /// # impl Attribute for Cart {
    /// #     const NAME: &'static str = "cart";
    /// # }
    /// fn handle(cart: &Typed<Cart>) -> Result<(), SessionError> {
    ///     cart.session().cycle_id()
    /// }
    /// ```
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }
}

impl<T: Attribute> Typed<T> {
    /// Returns the value, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Session::get`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tower_cluster_sessions::{Attribute, Session, SessionError, Typed};
    /// # #[derive(Clone, Serialize, Deserialize)]
    /// # struct Cart(Vec<String>);
    /// # impl Attribute for Cart {
    /// #     const NAME: &'static str = "cart";
    /// # }
    /// fn handle(cart: &Typed<Cart>) -> Result<usize, SessionError> {
    ///     Ok(cart.get()?.map_or(0, |cart| cart.0.len()))
    /// }
    /// ```
    pub fn get(&self) -> Result<Option<T>, SessionError> {
        self.session.get(T::NAME)
    }

    /// Writes the value, which creates the session if there is none.
    ///
    /// # Errors
    ///
    /// As [`Session::insert`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tower_cluster_sessions::{Attribute, Session, SessionError, Typed};
    /// # #[derive(Clone, Serialize, Deserialize)]
    /// # struct Cart(Vec<String>);
    /// # impl Attribute for Cart {
    /// #     const NAME: &'static str = "cart";
    /// # }
    /// fn handle(cart: &Typed<Cart>) -> Result<(), SessionError> {
    ///     cart.insert(&Cart(vec!["apple".to_owned()]))
    /// }
    /// ```
    pub fn insert(&self, value: &T) -> Result<(), SessionError> {
        self.session.insert(T::NAME, value)
    }

    /// Replaces the value by what `update` makes of it, atomically on this node. Returns the new
    /// value.
    ///
    /// # Errors
    ///
    /// As [`Session::update`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tower_cluster_sessions::{Attribute, Session, SessionError, Typed};
    /// # #[derive(Clone, Serialize, Deserialize)]
    /// # struct Cart(Vec<String>);
    /// # impl Attribute for Cart {
    /// #     const NAME: &'static str = "cart";
    /// # }
    /// fn add(cart: &Typed<Cart>, item: &str) -> Result<Cart, SessionError> {
    ///     cart.update(|cart| {
    ///         let mut cart = cart.unwrap_or(Cart(Vec::new()));
    ///         cart.0.push(item.to_owned());
    ///         cart
    ///     })
    /// }
    /// ```
    pub fn update(&self, update: impl FnMut(Option<T>) -> T) -> Result<T, SessionError> {
        self.session.update(T::NAME, update)
    }

    /// [Updates](Self::update) the value with something that the new value is to own.
    ///
    /// # Errors
    ///
    /// As [`Session::update_with`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tower_cluster_sessions::{Attribute, SessionError, Typed};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Theme(String);
    /// # impl Attribute for Theme {
    /// #     const NAME: &'static str = "theme";
    /// # }
    /// # fn handler(theme: &Typed<Theme>) -> Result<(), SessionError> {
    /// let suffix = "-contrast".to_owned();
    /// theme.update_with(suffix, |theme, suffix| {
    ///     let Theme(name) = theme.unwrap_or_else(|| Theme("dark".to_owned()));
    ///     Theme(name + &suffix)
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn update_with<A: Clone>(
        &self,
        argument: A,
        update: impl FnMut(Option<T>, A) -> T,
    ) -> Result<T, SessionError> {
        self.session.update_with(T::NAME, argument, update)
    }

    /// [Updates](Self::update) the value, unless `update` fails.
    ///
    /// # Errors
    ///
    /// As [`Session::try_update`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tower_cluster_sessions::{Attribute, SessionError, Typed};
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Theme(String);
    /// # impl Attribute for Theme {
    /// #     const NAME: &'static str = "theme";
    /// # }
    /// # fn handler(theme: &Typed<Theme>) -> Result<(), SessionError> {
    /// theme.try_update(|theme| theme.ok_or(SessionError::Leaving))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn try_update<E: From<SessionError>>(
        &self,
        update: impl FnMut(Option<T>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.session.try_update(T::NAME, update)
    }

    /// Removes the value and returns it, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Session::take`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tower_cluster_sessions::{Attribute, Session, SessionError, Typed};
    /// # #[derive(Clone, Serialize, Deserialize)]
    /// # struct Cart(Vec<String>);
    /// # impl Attribute for Cart {
    /// #     const NAME: &'static str = "cart";
    /// # }
    /// fn handle(cart: &Typed<Cart>) -> Result<Option<Cart>, SessionError> {
    ///     cart.take()
    /// }
    /// ```
    pub fn take(&self) -> Result<Option<T>, SessionError> {
        self.session.take(T::NAME)
    }

    /// Removes the value. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// As [`Session::remove`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use serde::{Deserialize, Serialize};
    /// # use tower_cluster_sessions::{Attribute, Session, SessionError, Typed};
    /// # #[derive(Clone, Serialize, Deserialize)]
    /// # struct Cart(Vec<String>);
    /// # impl Attribute for Cart {
    /// #     const NAME: &'static str = "cart";
    /// # }
    /// fn handle(cart: &Typed<Cart>) -> Result<bool, SessionError> {
    ///     cart.remove()
    /// }
    /// ```
    pub fn remove(&self) -> Result<bool, SessionError> {
        self.session.remove(T::NAME)
    }
}

impl<T> Clone for Typed<T> {
    fn clone(&self) -> Self {
        Self::new(self.session.clone())
    }
}

/// Does not show the value.
impl<T> fmt::Debug for Typed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Typed").field(&self.session).finish()
    }
}

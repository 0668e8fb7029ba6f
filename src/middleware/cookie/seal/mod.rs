//! The seal of a session cookie's value: none, a signature, or encryption.
//!
//! The route stays outside the seal, where balancers read it.

#[cfg(any(feature = "signed", feature = "private"))]
mod keys;
#[cfg(any(feature = "signed", feature = "private"))]
mod sealer;
#[cfg(not(any(feature = "signed", feature = "private")))]
#[path = "no_sealer.rs"]
mod sealer;

#[cfg(any(feature = "signed", feature = "private"))]
pub use self::keys::{CookieKey, CookieKeys};
pub(crate) use self::sealer::Sealer;
use crate::middleware::layer_error::LayerError;
use crate::session::{CookieValue, Route};

/// The seals that the layer's setters ask for: one sealer for each kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct SealRules(Vec<Sealer>);

/// A seal that is checked. Without a sealer, values are sent as they are.
#[derive(Clone, Debug)]
pub(crate) struct Seal(Option<Sealer>);

/// A cookie that this app's nodes may have written.
#[derive(Debug)]
pub(crate) struct OpenedCookie {
    pub(crate) cookie: CookieValue,
    /// Whether the key that sealed it is about to go, or the form, so that the client needs another
    /// cookie.
    pub(crate) is_outdated: bool,
}

/// What was sealed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) plain: String,
    /// Whether it was sealed by another key than the first, or in the form of old.
    pub(crate) is_outdated: bool,
}

impl SealRules {
    /// Adds a sealer, which takes the place of an earlier one of the same kind.
    #[cfg(any(feature = "signed", feature = "private"))]
    pub(crate) fn choose(&mut self, sealer: Sealer) {
        self.0.retain(|other| !other.is_like(&sealer));
        self.0.push(sealer);
    }

    pub(crate) fn check(&self) -> Result<Seal, LayerError> {
        match self.0.as_slice() {
            [_, _, ..] => Err(LayerError::SignedAndPrivate),
            [sealer] if !sealer.has_key() => Err(LayerError::NoCookieKey),
            chosen => Ok(Seal(chosen.first().cloned())),
        }
    }
}

impl Seal {
    /// Returns the value for the cookie of this name: sealed, and the route behind it.
    pub(crate) fn seal(&self, name: &str, cookie: &CookieValue, route: Option<&Route>) -> String {
        match &self.0 {
            None => cookie.format(route),
            Some(sealer) => Route::append(route, sealer.seal(name, cookie.format(None))),
        }
    }

    /// Opens a value. Returns `None` for what no key has sealed.
    pub(crate) fn open(&self, name: &str, value: &str) -> Option<OpenedCookie> {
        let Some(sealer) = &self.0 else {
            return Some(OpenedCookie {
                cookie: CookieValue::parse(value)?,
                is_outdated: false,
            });
        };
        let opened = sealer.open(name, Route::strip(value))?;
        Some(OpenedCookie {
            cookie: CookieValue::parse(&opened.plain)?,
            is_outdated: opened.is_outdated,
        })
    }
}

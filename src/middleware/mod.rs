//! The HTTP face: the layer, the cookie, the filter, and the session a handler sees.
//!
//! The path of a request: the service looks for its cookie and puts a [`SessionSlot`] into the
//! request's extensions. Whoever loads the slot gets a [`Session`]; until then nothing is touched.
//! When the inner response is there, the response future ships the session's changes, waits for
//! peers as [`Ack`](crate::Ack) says, and adds the cookie if the client lacks it.
//!
//! - A request that loads nothing gets its response untouched and waits for nobody.
//! - Only ids the cluster minted are used. An unknown one is never adopted and never answered with
//!   a removal cookie.
//! - A cookie that is not sealed as the layer says is an unknown id.
//! - A dropped or panicking request ships what it wrote.

mod app;
mod attributes;
mod cookie;
#[cfg(feature = "axum")]
mod error;
#[cfg(feature = "axum")]
mod extract;
mod filter;
mod finish;
mod future;
#[cfg(feature = "__internals")]
pub(crate) mod internals;
mod layer;
mod layer_error;
mod lifetime;
mod load;
mod presented;
mod seal;
mod seen;
mod service;
mod session;
mod slot;
mod state;
mod typed;
mod visit;

#[cfg(test)]
mod tests;

#[cfg(feature = "axum")]
pub use self::extract::MissingLayer;
#[cfg(any(feature = "signed", feature = "private"))]
pub use self::seal::{CookieKey, CookieKeys};
pub use self::{
    cookie::SameSite,
    filter::FilterError,
    future::ResponseFuture,
    layer::ClusterSessionLayer,
    layer_error::LayerError,
    service::ClusterSessionService,
    session::Session,
    slot::SessionSlot,
    typed::{Attribute, Typed},
};

//! The HTTP face: the layer, the cookie, the filter, and the session that a handler sees.
//!
//! The path of a request: the service looks for its cookie and puts a [`SessionSlot`] into the
//! request's extensions. Whoever loads the slot gets a [`Session`]; until then nothing is touched.
//! When the inner response is there, the response future commits the session's changes, waits for
//! peers as [`Ack`](crate::Ack) says, and adds the cookie if the client lacks it.
//!
//! - A request that loads nothing gets its response untouched and waits for nobody.
//! - Only ids that the cluster minted are used. An unknown one is never adopted and never answered
//!   with a removal cookie.
//! - A cookie that is not sealed as the layer says is an unknown id.
//! - A request that is dropped or panics commits what it wrote.

mod attributes;
mod cookie;
mod error;
#[cfg(feature = "axum")]
mod extract;
mod filter;
mod future;
#[cfg(feature = "__internals")]
pub(crate) mod internals;
mod layer;
mod layer_config;
mod layer_error;
mod layer_options;
mod replicated_map;
mod request;
mod service;
mod session;
mod sessions;
mod single_sign_on;
mod slot;
mod transport;
mod typed;

#[cfg(test)]
mod tests;

#[cfg(any(feature = "signed", feature = "private"))]
pub use self::cookie::seal::{CookieKey, CookieKeys};
#[cfg(feature = "axum")]
pub use self::extract::{MissingLayer, SignOnRejection};
#[cfg(feature = "server-xml")]
pub(crate) use self::filter::check_filter;
pub use self::{
    cookie::SameSite,
    filter::FilterError,
    future::ResponseFuture,
    layer::ClusterSessionLayer,
    layer_error::LayerError,
    layer_options::LayerOptions,
    replicated_map::ReplicatedMap,
    service::ClusterSessionService,
    session::Session,
    sessions::{SessionPage, Sessions},
    single_sign_on::SingleSignOn,
    slot::SessionSlot,
    transport::Transport,
    typed::{Attribute, Typed},
};

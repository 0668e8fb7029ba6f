//! What holds for both ways in and both lines of tower-sessions.

mod at_once;
mod cuts;
mod expiry;
mod methods;
mod moving;
mod sealed;
pub(crate) mod visitor;

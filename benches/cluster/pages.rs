//! What all servers answer, so that they can be compared.

/// Bytes of the attribute that the sessions of `/padded` have besides the counter.
pub(crate) const PADDING: usize = 200;
pub(crate) const PLAIN: &str = "This text needs no session.\n";
/// Stands for the id in a session's first answer where the session has none yet.
pub(crate) const NO_ID: &str = "none";

pub(crate) fn sentences(hits: u64, id: &str) -> String {
    format!("You have hit this page {hits} times.\nSession ID: {id}\n")
}

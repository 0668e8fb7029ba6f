//! What must hold for whatever bytes come from outside. Each file is one target of the fuzzer, and
//! the tests of the crate replay the corpus through all of them.

pub(crate) mod cookies;
pub(crate) mod filter;
pub(crate) mod frames;
pub(crate) mod hello;
pub(crate) mod links;
pub(crate) mod messages;
pub(crate) mod stream;

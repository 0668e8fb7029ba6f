//! What requests do to sessions, and what they wait for.

mod read_your_writes;
mod sessions;

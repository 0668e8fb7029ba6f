//! Log lines. One that cannot be written is lost, and nothing else.
//!
//! `tracing_subscriber::fmt` tells with `eprintln!` of a line that it could not write, and that
//! panics where standard error is gone, too: a pipe whose reader has died, a full disk. The panic
//! would end the task that logged, or the whole process while another panic unwinds.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

macro_rules! debug_line {
    ($($line:tt)*) => { $crate::log::attempt(|| ::tracing::debug!($($line)*)) };
}

macro_rules! info_line {
    ($($line:tt)*) => { $crate::log::attempt(|| ::tracing::info!($($line)*)) };
}

macro_rules! warn_line {
    ($($line:tt)*) => { $crate::log::attempt(|| ::tracing::warn!($($line)*)) };
}

macro_rules! error_line {
    ($($line:tt)*) => { $crate::log::attempt(|| ::tracing::error!($($line)*)) };
}

pub(crate) use {debug_line as debug, error_line as error, info_line as info, warn_line as warn};

/// Writes a line, unless this thread unwinds already.
pub(crate) fn attempt(write: impl FnOnce()) {
    if !thread::panicking() {
        // There is nobody left to tell.
        let _ = catch_unwind(AssertUnwindSafe(write));
    }
}

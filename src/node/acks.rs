//! Requests that wait for acknowledgements.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

/// Resolves when enough peers have acknowledged a position, or none is left to wait for. The output
/// is the number of peers that hold it. `Unpin`; dropping it stops waiting.
#[derive(Debug)]
pub(crate) struct AckWait {}

impl Future for AckWait {
    type Output = usize;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<usize> {
        todo!()
    }
}

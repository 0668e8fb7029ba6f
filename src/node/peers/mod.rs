//! Established links: their tasks, and what becomes of them.

pub(super) mod lifecycle;
pub(super) mod link;
pub(super) mod link_task;

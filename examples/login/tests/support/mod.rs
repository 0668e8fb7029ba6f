//! What the tests with real processes share.
#![expect(dead_code, reason = "each test file uses a part of it")]

#[path = "../../../hit_counter/src/balancer.rs"]
pub(crate) mod balancer;
#[path = "../../../../tests/system/support/chromium.rs"]
pub(crate) mod chromium;
pub(crate) mod nodes;
#[path = "../../../hit_counter/src/process.rs"]
pub(crate) mod process;
#[path = "../../../hit_counter/src/secret.rs"]
pub(crate) mod secret;
pub(crate) mod visitor;

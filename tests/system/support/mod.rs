//! What the tests with real processes share.
#![expect(dead_code, reason = "each test file uses a part of it")]

#[cfg(unix)]
pub(crate) mod balanced;
#[cfg(unix)]
pub(crate) mod balancer;
// The example's own code: the tests run its nodes as it does itself.
#[path = "../../../examples/hit_counter/src/browser.rs"]
pub(crate) mod browser;
#[cfg(unix)]
pub(crate) mod chromium;
#[path = "../../../examples/hit_counter/src/data_dir.rs"]
pub(crate) mod data_dir;
pub(crate) mod hostile;
pub(crate) mod load;
#[cfg(target_os = "linux")]
pub(crate) mod name_server;
#[cfg(target_os = "linux")]
pub(crate) mod namespaces;
#[path = "../../../examples/hit_counter/src/process.rs"]
pub(crate) mod process;
pub(crate) mod processes;
#[path = "../../support/proxy.rs"]
pub(crate) mod proxy;
pub(crate) mod quick_start;
#[cfg(unix)]
pub(crate) mod sealed;
#[path = "../../../examples/hit_counter/src/secret.rs"]
pub(crate) mod secret;
#[cfg(unix)]
pub(crate) mod stand_in;
#[path = "../../support/stopwatch.rs"]
pub(crate) mod stopwatch;
pub(crate) mod visitor;
pub(crate) mod words;

//! tower-sessions that are in this process's memory and nowhere else.

#[path = "../app.rs"]
mod app;
#[path = "../../../cluster/clock.rs"]
mod clock;
#[path = "../../../cluster/fill.rs"]
mod fill;
#[path = "../../../cluster/pages.rs"]
mod pages;
#[path = "../../../cluster/served.rs"]
mod served;

use clap::Parser;
use tower_sessions::{MemoryStore, SessionManagerLayer};
use tower_sessions_new as tower_sessions;

use crate::app::serve;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Parser)]
struct Options {
    #[arg(long)]
    http: String,
}

fn main() -> Result<(), BoxError> {
    let options = Options::parse();
    let layer = SessionManagerLayer::new(MemoryStore::default()).with_secure(false);
    served::run(async move { serve(&options.http, layer).await })
}

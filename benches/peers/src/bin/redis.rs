//! tower-sessions that are in a Redis, which several processes can share.

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
use tower_sessions::SessionManagerLayer;
use tower_sessions_old as tower_sessions;
use tower_sessions_redis_store::{
    RedisStore,
    fred::{
        interfaces::ClientLike as _,
        prelude::{Config, Pool},
    },
};

use crate::app::serve;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Parser)]
struct Options {
    #[arg(long)]
    http: String,
    /// As 127.0.0.1:6379
    #[arg(long)]
    redis: String,
}

fn main() -> Result<(), BoxError> {
    served::run(run(Options::parse()))
}

async fn run(options: Options) -> Result<(), BoxError> {
    let config = Config::from_url(&format!("redis://{}", options.redis))?;
    let pool = Pool::new(config, None, None, None, CONNECTIONS)?;
    pool.init().await?;
    let layer = SessionManagerLayer::new(RedisStore::new(pool)).with_secure(false);
    serve(&options.http, layer).await
}

/// As in the store's own example.
const CONNECTIONS: usize = 6;

//! How every server runs: one worker thread, and a line that says where it listens.

use axum::Router;
use mimalloc::MiMalloc;
use tokio::{net::TcpListener, runtime::Builder};

use crate::BoxError;

/// That of the example, for all servers alike: it gives back what ended sessions took.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

pub(crate) fn run<F>(server: F) -> Result<(), BoxError>
where
    F: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    // What `block_on` gets runs on the main thread, which would be a second one.
    runtime.block_on(runtime.spawn(server))?
}

/// Serves until it is killed.
pub(crate) async fn serve(name: &str, http: &str, app: Router) -> Result<(), BoxError> {
    let listener = TcpListener::bind(http).await?;
    println!("{name} serves http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

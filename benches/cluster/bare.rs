//! Bare axum with the same texts and headers: what everything else is compared with.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    Extension, Router,
    extract::State,
    http::{HeaderName, HeaderValue, header::SET_COOKIE},
    routing::get,
};
use clap::Args;

use crate::{
    BoxError,
    pages::{PLAIN, sentences},
    served,
};

#[derive(Debug, Args)]
pub(crate) struct BareArgs {
    #[arg(long)]
    http: String,
}

pub(crate) async fn serve(args: BareArgs) -> Result<(), BoxError> {
    let app = Router::new()
        .route("/plain", get(|| async { PLAIN }))
        .route("/hit", get(hit))
        .route("/hit-cookie", get(hit_cookie))
        .with_state(Arc::default())
        .merge(extended());
    served::serve("bare", &args.http, app).await
}

/// Behind a layer that does nothing but put something into the request's extensions, which any layer
/// of sessions must do.
fn extended() -> Router {
    Router::new()
        .route("/plain-extension", get(|| async { PLAIN }))
        .layer(Extension(Arc::<str>::from(ID)))
}

async fn hit(State(hits): State<Arc<AtomicU64>>) -> String {
    // A visitor has some hundred hits, so the text of the others is as long as this.
    let hits = hits.fetch_add(1, Ordering::Relaxed) % 1000;
    sentences(hits, ID)
}

/// As servers answer that send the cookie with each change of the session.
async fn hit_cookie(hits: State<Arc<AtomicU64>>) -> ([(HeaderName, HeaderValue); 1], String) {
    let cookie = (SET_COOKIE, HeaderValue::from_static(COOKIE));
    ([cookie], hit(hits).await)
}

const ID: &str = "zVgsCmrkLjvtoeYNl05I7A";
const COOKIE: &str = "id=zVgsCmrkLjvtoeYNl05I7A; HttpOnly; SameSite=Strict; Path=/";

//! The pages as responses, and what browsers are told of all of them.

use std::sync::Arc;

use askama::Template;
use axum::{
    Json,
    extract::{OriginalUri, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode, Uri,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
            X_FRAME_OPTIONS,
        },
    },
    response::{Html, IntoResponse, Response},
};

use super::{
    StatusPage,
    figures::Moment,
    links::Links,
    overview::{Overview, OverviewJson},
};
use crate::node::Cluster;

/// The first page. Without scripts it loads itself anew.
#[derive(Template)]
#[template(path = "status/overview.html")]
struct OverviewPage {
    frame: Frame,
    view: Overview,
}

/// What is around each page.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) links: Links,
    pub(super) cluster: String,
    pub(super) node: String,
    pub(super) started: Moment,
    pub(super) version: &'static str,
}

impl Frame {
    pub(super) fn of(cluster: &Cluster, links: Links) -> Self {
        let stats = cluster.stats();
        Self {
            links,
            started: Moment::past(stats.uptime_ms, cluster.node().now().wall_ms),
            cluster: stats.cluster,
            node: stats.node,
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

pub(super) async fn overview(
    State(page): State<Arc<StatusPage>>,
    OriginalUri(original): OriginalUri,
    own: Uri,
) -> Response {
    html(&OverviewPage {
        frame: Frame::of(&page.cluster, Links::of(&own, &original)),
        view: Overview::of(&page.cluster),
    })
}

pub(super) async fn overview_json(State(page): State<Arc<StatusPage>>) -> Response {
    Json(OverviewJson::of(&page.cluster)).into_response()
}

/// Writes a page.
pub(super) fn html(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => Html(text).into_response(),
        // Only what is written into the text could fail, and numbers and texts do not.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Tells browsers to load nothing from elsewhere, to run no script but the page's own, to show it in
/// no frame, and to keep nothing of it.
pub(super) async fn add_headers(mut response: Response) -> Response {
    let headers: &mut HeaderMap = response.headers_mut();
    for (name, value) in &HEADERS {
        headers.insert(name.clone(), HeaderValue::from_static(value));
    }
    response
}

static HEADERS: [(HeaderName, &str); 6] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

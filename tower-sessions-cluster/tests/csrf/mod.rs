//! axum-tower-sessions-csrf on both ways in.

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode, header::COOKIE},
    middleware::from_fn,
    routing::get,
};
use axum_tower_sessions_csrf::{CsrfMiddleware, TOKEN_HEADER, get_or_create_token};
use tower_cluster_sessions::{Cluster, test_util::TestCluster};

use crate::{
    both::visitor::{DOORS, Door, Seal, Visitor, layered, receive, send},
    tower_sessions::Session,
};

fn app(cluster: &Cluster, door: Door) -> Router {
    let form = async |session: Session| get_or_create_token(&session).await;
    let routes = Router::new()
        .route("/", get(form).post(async || "done"))
        .layer(from_fn(CsrfMiddleware::middleware));
    layered(routes, cluster, door, Seal::None)
}

#[tokio::test(start_paused = true)]
async fn token_of_one_node_is_valid_on_the_other_and_a_forged_one_nowhere() {
    for door in DOORS {
        let cluster = TestCluster::start(2).await;
        let mut visitor = Visitor::new(&cluster, door, &[0]);
        let (_, token, headers) = send(app(cluster.cluster(0), door), "/", None).await;
        visitor.keep(&headers);
        let cookie = visitor.cookie.expect("a session");
        for (node, token, expected) in [
            (1, &*token, StatusCode::OK),
            (0, &*token, StatusCode::OK),
            (1, "forged", StatusCode::FORBIDDEN),
        ] {
            let request = Request::post("/")
                .header(COOKIE, &cookie)
                .header(TOKEN_HEADER, token);
            let request = request.body(Body::empty()).expect("a request");
            let (status, _, _) = receive(app(cluster.cluster(node), door), request).await;
            assert_eq!(status, expected, "{door:?} {node}");
        }
    }
}

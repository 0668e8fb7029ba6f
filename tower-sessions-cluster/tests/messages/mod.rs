//! axum-messages on both ways in.

use axum::{Router, routing::get};
use axum_messages::{Messages, MessagesManagerLayer};
use tower_cluster_sessions::{Cluster, test_util::TestCluster};

use crate::both::visitor::{DOORS, Door, Seal, Visitor, layered, send};

fn app(cluster: &Cluster, door: Door) -> Router {
    let say = async |messages: Messages| {
        messages.info("saved");
    };
    let hear = async |messages: Messages| {
        let heard: Vec<String> = messages
            .into_iter()
            .map(|message| message.to_string())
            .collect();
        heard.join(" ")
    };
    let routes = Router::new()
        .route("/say", get(say))
        .route("/hear", get(hear))
        .layer(MessagesManagerLayer);
    layered(routes, cluster, door, Seal::None)
}

#[tokio::test(start_paused = true)]
async fn message_is_shown_once_on_whatever_node() {
    for door in DOORS {
        let cluster = TestCluster::start(2).await;
        let mut visitor = Visitor::new(&cluster, door, &[0]);
        let pages = [
            (0, "/say", ""),
            (1, "/hear", "saved"),
            (0, "/hear", ""),
            (1, "/hear", ""),
        ];
        for (node, path, expected) in pages {
            let app = app(cluster.cluster(node), door);
            let (_, text, headers) = send(app, path, visitor.cookie.as_deref()).await;
            assert_eq!(text, expected, "{door:?} {node} {path}");
            visitor.keep(&headers);
        }
    }
}

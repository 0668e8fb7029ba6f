//! HTTP/2, whose clients split the `Cookie` field.

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{Request, header::COOKIE};
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tower_cluster_sessions::{Session, SessionError, test_util::TestCluster};

use crate::{
    app_support::{Server, in_time, layer_on, text},
    http_support::cookie,
};

#[tokio::test]
async fn split_cookie_fields_of_an_http2_connection_are_all_read() {
    async fn hit(session: Session) -> Result<String, SessionError> {
        Ok(session.increment("hits", 1)?.to_string())
    }

    let cluster = TestCluster::start(1).await;
    let app = Router::new()
        .route("/", get(hit))
        .layer(layer_on(&cluster, 0));
    let server = Server::start(app).await;
    let stream = TcpStream::connect(server.address)
        .await
        .expect("it listens");
    let dialled = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut client, connection) = dialled.await.expect("it speaks HTTP/2");
    tokio::spawn(connection);
    let mut send = async |cookies: &[&str]| {
        let mut request = Request::get(format!("http://{}/", server.address));
        for field in cookies {
            request = request.header(COOKIE, *field);
        }
        let request = request.body(Empty::<Bytes>::new()).expect("a request");
        let response = in_time("an answer", client.send_request(request)).await;
        response.expect("an answer")
    };

    let first = send(&["theme=dark", "lang=en"]).await;
    assert_eq!(first.version(), http::Version::HTTP_2);
    let cookie = cookie(&first).expect("a session");
    assert_eq!(text(first).await, "1");
    let last = send(&["theme=dark", "lang=en", &cookie]).await;
    assert_eq!(text(last).await, "2");
    let middle = send(&["__Host-id=planted", &cookie, "lang=en"]).await;
    assert_eq!(text(middle).await, "3");
}

//! What a balancer takes for a node, to see what it asks for: ready or not as it is told, and
//! breaking off on most requests.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use http::StatusCode;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    browser::Browser,
    processes::{PATIENCE, PAUSE, TRIES},
};

/// Listens until it is dropped.
#[derive(Debug)]
pub(crate) struct StandIn {
    http: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    name: &'static str,
    ready: AtomicBool,
    broken_off: AtomicUsize,
}

impl StandIn {
    /// One that is ready.
    pub(crate) async fn new(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("loopback has a free port");
        let shared = Arc::new(Shared {
            name,
            ready: AtomicBool::new(true),
            broken_off: AtomicUsize::new(0),
        });
        Self {
            http: listener.local_addr().expect("it is bound"),
            shared: Arc::clone(&shared),
            accepting: AbortOnDropHandle::new(tokio::spawn(accept(listener, shared))),
        }
    }

    pub(crate) const fn http(&self) -> SocketAddr {
        self.http
    }

    /// Ends it. Connections are refused from now on.
    pub(crate) async fn stop(self) {
        self.accepting.abort();
        let ended = self.accepting.await;
        assert!(ended.is_err_and(|error| error.is_cancelled()));
    }

    fn set_ready(&self, ready: bool) {
        self.shared.ready.store(ready, Ordering::Relaxed);
    }

    fn broken_off(&self) -> usize {
        self.shared.broken_off.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        // A balancer that gives up is as good as one that has been answered.
        tokio::spawn(async move { shared.answer(stream).await.ok() });
    }
}

impl Shared {
    async fn answer(&self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let status = match head.split(' ').nth(1) {
            Some("/plain") => "200 OK",
            Some("/ready") if self.ready.load(Ordering::Relaxed) => "200 OK",
            Some("/ready") => "503 Service Unavailable",
            _ => {
                self.broken_off.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
        };
        let name = self.name;
        let answer = format!(
            "HTTP/1.1 {status}\r\nX-Served-By: {name}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await
    }
}

/// Two nodes of which one says for a while that it is not ready. It gets no request then.
pub(crate) async fn node_that_is_not_ready_gets_nothing(http: SocketAddr, nodes: &[StandIn; 2]) {
    let [one, other] = nodes;
    let names = [one, other].map(|node| node.shared.name);
    for name in names {
        until(name, async || served_by(http).await == name).await;
    }

    one.set_ready(false);
    let left_alone = async || {
        for _ in 0..10 {
            if served_by(http).await == names[0] {
                return false;
            }
        }
        true
    };
    until("left alone", left_alone).await;
    for _ in 0..20 {
        assert_eq!(served_by(http).await, names[1]);
    }

    one.set_ready(true);
    until(names[0], async || served_by(http).await == names[0]).await;
}

/// A request without a body that nodes begin to work on, and then break off, is sent so often.
pub(crate) async fn times_sent(method: &str, http: SocketAddr, nodes: &[StandIn]) -> usize {
    let count = || nodes.iter().map(StandIn::broken_off).sum::<usize>();
    let before = count();
    let exchange = async {
        let mut stream = TcpStream::connect(http).await?;
        let request = format!(
            "{method} /order HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let answer = timeout(PATIENCE, exchange).await.expect("an answer");
    let answer = answer.expect("the balancer is there");
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    count() - before
}

async fn served_by(http: SocketAddr) -> String {
    let page = Browser::new().get(http, "/plain").await;
    let page = page.expect("the balancer is there");
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    page.served_by().expect("every node says so").to_owned()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..TRIES {
        if holds().await {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("never: {what}");
}

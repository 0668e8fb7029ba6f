//! Load: clients who hit the page one request after another, each at the next node, and trust no
//! count.
//!
//! A client keeps its connections and its cookie. When a connection cannot be made it goes on to
//! the next node at once, as a balancer does. A request that breaks off midway may have counted or
//! not, so the next count may be one higher for each of these, and never lower.

use std::{
    fmt::{self, Write as _},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{
    Request, StatusCode,
    header::{COOKIE, SET_COOKIE},
};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{task::JoinSet, time::timeout};

use super::processes::{PAUSE, TRIES};

/// Clients at work until [`Load::stop`].
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<Client>,
}

#[derive(Debug)]
struct Shared {
    nodes: Vec<SocketAddr>,
    /// How long a client waits for an answer before it turns to the next node.
    patience: Duration,
    answered: AtomicU64,
    stop: AtomicBool,
}

impl Load {
    pub(crate) fn start(nodes: Vec<SocketAddr>, clients: usize, patience: Duration) -> Self {
        let shared = Arc::new(Shared {
            nodes,
            patience,
            answered: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let clients = (0..clients)
            .map(|first| Client::new(Arc::clone(&shared), first).run())
            .collect();
        Self { shared, clients }
    }

    /// Requests that were answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many further requests were answered.
    pub(crate) async fn until_answered(&self, further: u64) {
        let goal = self.answered() + further;
        let (mut seen, mut idle) = (0, 0);
        while self.answered() < goal {
            idle = if self.answered() > seen { 0 } else { idle + 1 };
            seen = self.answered();
            assert!(idle < TRIES, "the load has come to a halt at {seen}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Lets every client end its request. Then every node must show every client its own count.
    pub(crate) async fn stop(self) -> Report {
        let nodes = self.shared.nodes.clone();
        self.stop_at(&nodes).await
    }

    /// As [`Load::stop`], where only these nodes are left.
    pub(crate) async fn stop_at(self, nodes: &[SocketAddr]) -> Report {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut clients = self.clients.join_all().await;
        let mut report = Report::default();
        for client in &mut clients {
            client.compare_nodes(nodes).await;
            report.add(client);
        }
        report
    }
}

/// What came of a load.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Requests that were answered.
    pub(crate) answered: u64,
    /// Requests that broke off, whose outcome nobody knows.
    pub(crate) unknown: u64,
    /// Connections that could not be made.
    pub(crate) refused: u64,
    /// Counts of answered requests that went missing.
    pub(crate) lost: u64,
    /// Answers with another session than before.
    pub(crate) changed_ids: u64,
    complaints: Vec<String>,
}

impl Report {
    /// Panics unless every answered request still counts, in the session it was made in.
    pub(crate) fn assert_nothing_lost(&self) {
        assert!(self.is_clean(), "{self}");
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.lost == 0 && self.changed_ids == 0 && self.complaints.is_empty()
    }

    fn add(&mut self, client: &mut Client) {
        self.answered += client.answered;
        self.unknown += client.unknown;
        self.refused += client.refused;
        self.lost += client.lost;
        self.changed_ids += client.changed_ids;
        self.complaints.append(&mut client.complaints);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            answered,
            unknown,
            refused,
            lost,
            changed_ids,
            complaints,
        } = self;
        write!(
            f,
            "{answered} answered, {unknown} broken off, {refused} connections refused, \
             {lost} counts lost, {changed_ids} ids changed"
        )?;
        for complaint in complaints.iter().take(20) {
            write!(f, "\n  {complaint}")?;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Client {
    shared: Arc<Shared>,
    http: HttpClient<HttpConnector, Empty<Bytes>>,
    next: usize,
    cookie: Option<String>,
    id: Option<String>,
    /// The last count seen.
    count: u64,
    /// Requests that may still raise the count by themselves.
    pending: u64,
    answered: u64,
    unknown: u64,
    refused: u64,
    lost: u64,
    changed_ids: u64,
    complaints: Vec<String>,
}

/// Why there is no answer.
enum NoAnswer {
    /// The node cannot have seen the request.
    NotSent,
    /// It may have.
    Unknown,
}

struct Answer {
    status: StatusCode,
    cookie: Option<String>,
    text: String,
}

impl Client {
    fn new(shared: Arc<Shared>, first: usize) -> Self {
        Self {
            shared,
            http: HttpClient::builder(TokioExecutor::new()).build_http(),
            next: first,
            cookie: None,
            id: None,
            count: 0,
            pending: 0,
            answered: 0,
            unknown: 0,
            refused: 0,
            lost: 0,
            changed_ids: 0,
            complaints: Vec::new(),
        }
    }

    async fn run(mut self) -> Self {
        while !self.shared.stop.load(Ordering::Relaxed) {
            self.hit().await;
        }
        self
    }

    /// One hit, at the next node that takes connections.
    async fn hit(&mut self) {
        for _ in 0..self.shared.nodes.len() {
            let host = self.next_node();
            match self.get(host, "/hit").await {
                Ok(answer) => {
                    self.shared.answered.fetch_add(1, Ordering::Relaxed);
                    self.answered += 1;
                    self.judge(host, answer);
                    return;
                }
                Err(NoAnswer::NotSent) => self.refused += 1,
                Err(NoAnswer::Unknown) => {
                    self.unknown += 1;
                    // Without a cookie it was in a session that this client will never see.
                    self.pending += u64::from(self.cookie.is_some());
                    return;
                }
            }
        }
        self.complain("no node takes connections");
        tokio::time::sleep(PAUSE).await;
    }

    fn judge(&mut self, host: SocketAddr, answer: Answer) {
        let Some((count, id)) = parse(&answer) else {
            let Answer { status, text, .. } = answer;
            self.complain(&format!("{host} answers {status}: {text:?}"));
            return;
        };
        let expected = self.count + 1;
        if count < expected {
            self.lost += expected - count;
            self.complain(&format!(
                "{host} counts {count} instead of {expected} for {id}"
            ));
        } else if count - expected > self.pending {
            self.complain(&format!("{host} counts {count}, which is too much"));
        } else {
            self.pending -= count - expected;
        }
        self.count = count;
        if self.id.as_ref().is_some_and(|known| *known != id) {
            self.changed_ids += 1;
            self.complain(&format!("{host} changes the id {:?} to {id}", self.id));
        }
        self.id = Some(id);
        if let Some(cookie) = answer.cookie {
            self.cookie = Some(cookie);
        }
    }

    /// After the load all nodes must come to show the same, and nothing may be missing.
    async fn compare_nodes(&mut self, nodes: &[SocketAddr]) {
        if self.cookie.is_none() {
            return;
        }
        let mut shown = String::new();
        for _ in 0..COMPARISONS {
            let mut counts = Vec::new();
            for host in nodes {
                let answer = self.get(*host, "/peek").await.ok();
                counts.push(answer.as_ref().and_then(parse).map(|(count, _)| count));
            }
            shown = format!("{counts:?}");
            let span = self.count..=self.count + self.pending;
            if counts.iter().all(|count| *count == counts[0])
                && counts[0].is_some_and(|count| span.contains(&count))
            {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let (count, pending) = (self.count, self.pending);
        self.complain(&format!(
            "after the load the nodes count {shown}, not all {count} (or up to {pending} more)"
        ));
    }

    async fn get(&self, host: SocketAddr, path: &str) -> Result<Answer, NoAnswer> {
        let mut request = Request::get(format!("http://{host}{path}"));
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE, cookie);
        }
        let request = request.body(Empty::new()).expect("a plain request");
        let exchange = async {
            let response = self.http.request(request).await.map_err(|error| {
                if error.is_connect() {
                    NoAnswer::NotSent
                } else {
                    NoAnswer::Unknown
                }
            })?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.map_err(|_| NoAnswer::Unknown)?;
            let cookie = head.headers.get(SET_COOKIE).map(|value| {
                let text = value.to_str().expect("cookies are ASCII");
                text.split(';').next().unwrap_or_default().to_owned()
            });
            Ok(Answer {
                status: head.status,
                cookie,
                text: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
            })
        };
        let exchanged = timeout(self.shared.patience, exchange).await;
        exchanged.unwrap_or(Err(NoAnswer::Unknown))
    }

    fn next_node(&mut self) -> SocketAddr {
        self.next += 1;
        self.shared.nodes[self.next % self.shared.nodes.len()]
    }

    fn complain(&mut self, what: &str) {
        let mut complaint = format!("answer {}: ", self.answered);
        complaint.write_str(what).expect("a string takes text");
        self.complaints.push(complaint);
    }
}

/// The count and the id of a page.
fn parse(answer: &Answer) -> Option<(u64, String)> {
    let rest = answer.text.strip_prefix("You have hit this page ")?;
    let (count, rest) = rest.split_once(" times.\nSession ID: ")?;
    let (id, _) = rest.split_once('\n')?;
    (answer.status == StatusCode::OK).then_some(())?;
    Some((count.parse().ok()?, id.to_owned()))
}

/// How often nodes that differ are looked at, with a pause after each.
const COMPARISONS: u32 = 500;

//! Browsers behind a balancer that picks nodes at random: each has a cookie jar and two tabs, which
//! send requests side by side.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::Body,
    http::{
        HeaderMap, Request,
        header::{CONNECTION, COOKIE, HOST, SET_COOKIE},
    },
};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use turmoil::net::TcpStream;

use super::{
    app::{ALONE_AFTER, HTTP_PORT, OP},
    history::{Kind, Outcome},
    plan::Dice,
    stage::{Phase, Stage, name},
};

/// All browsers, from the beginning of the storm until each has looked at its session everywhere.
pub(super) async fn visit(stage: Arc<Stage>) -> turmoil::Result {
    let mut tabs = JoinSet::new();
    for browser in 0..BROWSERS {
        let jar = Arc::new(Mutex::new(Jar::default()));
        for tab in 0..TABS {
            let visitor = Visitor {
                stage: Arc::clone(&stage),
                jar: Arc::clone(&jar),
                dice: Dice::new(stage.plan.seed, 0xB0_0000 | browser << 8 | tab),
            };
            stage.goes_out();
            tabs.spawn(visitor.stay(tab == 0));
        }
    }
    while let Some(left) = tabs.join_next().await {
        left?;
    }
    Ok(())
}

#[derive(Default)]
struct Jar {
    cookie: Option<String>,
    /// Cookies that were replaced or removed.
    stale: Vec<String>,
}

struct Visitor {
    stage: Arc<Stage>,
    jar: Arc<Mutex<Jar>>,
    dice: Dice,
}

enum Reply {
    Answered {
        ok: bool,
        set_cookie: Option<String>,
        body: String,
    },
    /// Nobody got the request.
    Refused,
    /// Somebody may have.
    Lost,
}

impl Visitor {
    async fn stay(mut self, looks_around: bool) {
        while self.stage.phase() == Phase::Storm {
            sleep(self.dice.ms(20, 200)).await;
            let kind = self.choose();
            let nodes = self.balance();
            self.act(kind, &nodes).await;
        }
        self.stage.calm().await;
        if looks_around {
            self.look_around().await;
        }
    }

    /// Writes once more and then finds the same on every node.
    async fn look_around(&mut self) {
        let nodes = self.balance();
        if self.act(Kind::Write, &nodes[..1]).await.is_none() {
            let what = format!("n{} takes no request in calm weather", nodes[0]);
            self.stage.history().violated(what);
        }
        let mut views = Vec::new();
        for node in nodes {
            views.push((node, self.act(Kind::Show, &[node]).await));
        }
        if views
            .iter()
            .any(|(_, view)| view.is_none() || *view != views[0].1)
        {
            let what = format!("nodes show different things: {views:?}");
            self.stage.history().violated(what);
        }
    }

    fn choose(&mut self) -> Kind {
        match self.dice.below(100) {
            0..55 => Kind::Write,
            55..85 => Kind::Show,
            85..91 => Kind::Stale,
            91..96 => Kind::Cycle,
            _ => Kind::Logout,
        }
    }

    /// All nodes, in the order in which the balancer tries them.
    fn balance(&mut self) -> Vec<usize> {
        let mut nodes: Vec<usize> = (0..self.stage.plan.nodes).collect();
        for at in (1..nodes.len()).rev() {
            nodes.swap(at, self.dice.below(at + 1));
        }
        nodes
    }

    /// One operation, tried at one node after the other until one takes it. The page, if any.
    async fn act(&mut self, kind: Kind, nodes: &[usize]) -> Option<String> {
        let cookie = self.cookie(kind);
        let op = self.stage.history().begin(kind, cookie.as_deref());
        let mut reply = Reply::Refused;
        for node in nodes {
            reply = self.ask(*node, kind, op, cookie.as_deref()).await;
            if !matches!(reply, Reply::Refused) {
                break;
            }
        }
        let (outcome, set_cookie, body) = match reply {
            Reply::Answered {
                ok: true,
                set_cookie,
                body,
            } => (Outcome::Ok, set_cookie, Some(body)),
            Reply::Answered { ok: false, .. } | Reply::Refused => (Outcome::Failed, None, None),
            Reply::Lost => (Outcome::Unknown, None, None),
        };
        let value = set_cookie.as_deref().filter(|value| !value.is_empty());
        self.stage.history().end(op, outcome, value);
        let mut jar = self.jar();
        if let Some(value) = &set_cookie {
            let fresh = (!value.is_empty()).then(|| value.clone());
            let old = std::mem::replace(&mut jar.cookie, fresh);
            jar.stale.extend(old);
        }
        // Whoever does not know whether he has a new cookie logs in again.
        if outcome != Outcome::Ok && kind == Kind::Cycle {
            let old = jar.cookie.take();
            jar.stale.extend(old);
        }
        body
    }

    fn cookie(&mut self, kind: Kind) -> Option<String> {
        let pick = self.dice.below(1 << 16);
        let jar = self.jar();
        match kind {
            Kind::Stale if jar.stale.is_empty() => None,
            Kind::Stale => Some(jar.stale[pick % jar.stale.len()].clone()),
            _ => jar.cookie.clone(),
        }
    }

    async fn ask(&self, node: usize, kind: Kind, op: u32, cookie: Option<&str>) -> Reply {
        let connecting = TcpStream::connect((name(node), HTTP_PORT));
        let Ok(Ok(stream)) = timeout(CONNECT_TIMEOUT, connecting).await else {
            return Reply::Refused;
        };
        let Ok((mut sender, connection)) = handshake(TokioIo::new(stream)).await else {
            return Reply::Refused;
        };
        // It ends with the response, because each request has a connection of its own.
        tokio::spawn(connection);
        let life = self.stage.life(node);
        let began = turmoil::elapsed();
        let answer = async {
            let response = sender.send_request(request(kind, op, cookie)).await.ok()?;
            let ok = response.status().is_success();
            let set_cookie = told(response.headers());
            let body = response.into_body().collect().await.ok()?.to_bytes();
            Some((ok, set_cookie, String::from_utf8_lossy(&body).into_owned()))
        };
        let answer = timeout(PATIENCE, answer).await;
        let took = turmoil::elapsed().saturating_sub(began);
        if took > PROMPT && life.is_some() && self.stage.life(node) == life {
            let what = format!("{op} took {took:?} at n{node}");
            self.stage.history().violated(what);
        }
        match answer {
            Ok(Some((ok, set_cookie, body))) => Reply::Answered {
                ok,
                set_cookie,
                body,
            },
            Ok(None) | Err(_) => Reply::Lost,
        }
    }

    fn jar(&self) -> MutexGuard<'_, Jar> {
        self.jar.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn request(kind: Kind, op: u32, cookie: Option<&str>) -> Request<Body> {
    let path = match kind {
        Kind::Write => "/write",
        Kind::Show | Kind::Stale => "/show",
        Kind::Cycle => "/cycle",
        Kind::Logout => "/logout",
    };
    let mut request = Request::get(path)
        .header(HOST, "app")
        .header(CONNECTION, "close")
        .header(OP, op);
    if let Some(value) = cookie {
        request = request.header(COOKIE, format!("__Host-id={value}"));
    }
    request.body(Body::empty()).expect("a valid request")
}

/// The cookie's new value; empty when it is removed.
fn told(headers: &HeaderMap) -> Option<String> {
    let field = headers.get(SET_COOKIE)?.to_str().ok()?;
    let value = field.strip_prefix("__Host-id=")?.split(';').next()?;
    Some(value.to_owned())
}

const BROWSERS: u64 = 3;
const TABS: u64 = 2;
const CONNECT_TIMEOUT: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(5);
/// No request takes longer at a node that lives: the time for which a node that begins looks for its
/// peers, the time a session is asked for during a transfer, `ack_timeout` and a tick twice, the way there and back. The handler waits for its own writes, and
/// then its response for what others wrote to the session meanwhile.
const PROMPT: Duration = ALONE_AFTER.saturating_add(Duration::from_millis(2_900));

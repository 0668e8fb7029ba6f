//! The app that every node serves: the real layer, axum, HTTP. Each handler tells the history what
//! it saw and, once peers have acknowledged, who really holds what it wrote.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, header::COOKIE},
    routing::get,
};

use super::{
    history::View,
    look::{has_write, is_deleted, write_name, written},
    network,
    plan::LONG_LOG,
    stage::{Life, Stage, name},
};
use crate::{
    Cluster, ClusterConfig, ClusterSessionLayer, Session, SessionError, session::SessionKey,
};

pub(super) const HTTP_PORT: u16 = 80;
const LINK_PORT: u16 = 4100;
const SECRET: &str = "0e9d3fbd27f2b1f9a0f1c4677d9a1e5b88c6c1a25ddf7a4c903bfe6f2240d7e3";
/// How long a node that begins looks for its peers, and its requests with it.
pub(super) const ALONE_AFTER: Duration = Duration::from_secs(1);
/// Tells which operation of the history a request is.
pub(super) const OP: &str = "x-op";

/// One life of a node.
pub(super) async fn serve(stage: Arc<Stage>, node: usize) -> turmoil::Result {
    let life = stage.born(node);
    let plan = &stage.plan;
    let address = |node: usize| format!("{}:{LINK_PORT}", name(node));
    let config = ClusterConfig::new(name(node))
        .listen(address(node))
        .peers((0..plan.nodes).filter(|other| *other != node).map(address))
        .alone_after(ALONE_AFTER)
        .log_records(plan.log_records);
    let config = if plan.encrypted {
        config.secret(SECRET)
    } else {
        config.insecure_plaintext()
    };
    let sockets = Arc::default();
    let env = network::env(plan.seed, life, plan.skews_ms[node], &sockets);
    let cluster = Cluster::start_in(&config, env)?;
    let app = Router::new()
        .route("/write", get(write))
        .route("/show", get(show))
        .route("/cycle", get(cycle))
        .route("/logout", get(logout))
        .with_state(Here {
            stage: Arc::clone(&stage),
            life,
        })
        .layer(ClusterSessionLayer::from_cluster(&cluster));
    let listener = network::bind(HTTP_PORT, &sockets)?;
    stage.lives(life, cluster, sockets);
    Ok(axum::serve(listener, app).await?)
}

#[derive(Clone)]
struct Here {
    stage: Arc<Stage>,
    life: Life,
}

async fn show(
    State(here): State<Here>,
    headers: HeaderMap,
    session: Session,
) -> Result<String, SessionError> {
    let view = here.look(&headers, &session)?;
    Ok(view.map_or_else(String::new, |view| view.to_string()))
}

async fn write(
    State(here): State<Here>,
    headers: HeaderMap,
    session: Session,
) -> Result<String, SessionError> {
    here.look(&headers, &session)?;
    here.mark(&headers, &session).await
}

async fn cycle(
    State(here): State<Here>,
    headers: HeaderMap,
    session: Session,
) -> Result<String, SessionError> {
    here.look(&headers, &session)?;
    session.cycle_id()?;
    here.mark(&headers, &session).await
}

async fn logout(
    State(here): State<Here>,
    headers: HeaderMap,
    session: Session,
) -> Result<String, SessionError> {
    here.look(&headers, &session)?;
    let Some(key) = key(&session) else {
        return Ok(String::new());
    };
    let before = Before::of(&here);
    session.destroy()?;
    let reported = session.replicated().await;
    let holders = here.stage.where_(|node| is_deleted(node, &key));
    before.check(&here, op(&headers), reported, &holders);
    let mut history = here.stage.history();
    history.deleted(here.life, op(&headers), key, &holders);
    Ok(String::new())
}

impl Here {
    /// Tells the history what the session looks like here.
    fn look(&self, headers: &HeaderMap, session: &Session) -> Result<Option<View>, SessionError> {
        let presented = headers.get(COOKIE).and_then(|value| value.to_str().ok());
        let presented = presented.and_then(|cookie| Some(cookie.split_once('=')?.1));
        let view = match key(session) {
            None => None,
            Some(key) => Some(View {
                key,
                count: session.counter("count")?,
                last: session.get("last")?,
                written: session.keys()?.iter().filter_map(|n| written(n)).collect(),
            }),
        };
        let ready = self.stage.is_ready(self.life.node);
        let mut history = self.stage.history();
        history.seen(self.life, ready, presented, view.as_ref());
        Ok(view)
    }

    /// Writes an attribute of this request's own, a shared one and a counter, and waits for peers.
    async fn mark(&self, headers: &HeaderMap, session: &Session) -> Result<String, SessionError> {
        let op = op(headers);
        let before = Before::of(self);
        session.insert(&write_name(op), op)?;
        session.insert("last", op)?;
        session.increment("count", 1)?;
        let key = key(session).expect("a session that was just written to");
        let reported = session.replicated().await;
        let held = self.stage.where_(|node| has_write(node, &key, op));
        let deleted = self.stage.where_(|node| is_deleted(node, &key));
        before.check(self, op, reported, &(&held | &deleted));
        self.stage.history().wrote(self.life, op, key, held);
        Ok(String::new())
    }
}

/// How things were when a request began to wait for peers.
struct Before {
    alive: Vec<Option<Life>>,
    up: BTreeSet<Life>,
}

impl Before {
    fn of(here: &Here) -> Self {
        Self {
            alive: here.stage.alive(),
            up: here.stage.up_at(here.life.node),
        }
    }

    /// Acknowledged means held: by as many as were reported, and by every peer that was up all the
    /// time. Peers that died meanwhile may have held it.
    fn check(self, here: &Here, op: u32, reported: usize, holders: &BTreeSet<Life>) {
        let alive = here.stage.alive();
        let gone = alive
            .iter()
            .zip(&self.alive)
            .filter(|(now, then)| now != then);
        let others = holders.iter().filter(|life| **life != here.life).count();
        let up = &self.up & &here.stage.up_at(here.life.node);
        let missing = &up - holders;
        let mut history = here.stage.history();
        if reported > others + gone.count() {
            history.violated(format!(
                "{op} at {:?}: {reported} peers are said to hold it, {holders:?} do",
                here.life
            ));
        }
        // A peer that has just linked up and would need a longer log than there is skips to its end,
        // and whoever began to wait in that moment does not wait for it.
        let may_skip = here.stage.plan.log_records < LONG_LOG;
        if !missing.is_empty() && !may_skip {
            history.violated(format!(
                "{op} at {:?}: answered although {missing:?} are up and do not hold it",
                here.life
            ));
        }
    }
}

fn key(session: &Session) -> Option<SessionKey> {
    SessionKey::from_public_id(&session.id()?)
}

fn op(headers: &HeaderMap) -> u32 {
    let value = headers.get(OP).expect("visitors number their requests");
    let text = value.to_str().expect("a number");
    text.parse().expect("a number")
}

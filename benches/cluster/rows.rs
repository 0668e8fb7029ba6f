//! The rows of the table: what is asked of which servers.

use crate::{
    BoxError,
    client::Connection,
    group::{Group, Links},
    load::{Plan, Routing},
    peers::Peers,
    visitor::{Checks, Visitor},
};

#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) name: &'static str,
    pub(crate) group: &'a Group,
    pub(crate) servers: usize,
    path: &'static str,
    routing: Routing,
    checks: Checks,
    /// The row of bare axum that answers the same.
    pub(crate) baseline: &'static str,
}

/// The servers of all rows.
#[derive(Debug)]
pub(crate) struct Servers {
    bare: Group,
    alone: Group,
    two: Group,
    three: Group,
}

impl Servers {
    pub(crate) async fn start(links: Links) -> Result<Self, BoxError> {
        Ok(Self {
            bare: Group::bare(3).await?,
            alone: Group::standalone().await?,
            two: Group::cluster(2, links, &[]).await?,
            three: Group::cluster(3, links, &[]).await?,
        })
    }

    /// Each baseline comes before what is compared with it.
    pub(crate) fn rows<'a>(&'a self, peers: Option<&'a Peers>) -> Vec<Row<'a>> {
        let mut rows = vec![
            self.bare(PLAIN, 1, "/plain"),
            Row {
                baseline: PLAIN,
                ..self.bare("/plain, axum's layer `Extension`", 1, "/plain-extension")
            },
            row("/plain through the layer", &self.alone, "/plain", PLAIN),
            self.bare(HIT, 1, "/hit"),
            row("/hit, one node", &self.alone, "/hit", HIT),
            self.bare(TWO, 2, "/hit"),
            row("/hit, two nodes, Ack::None", &self.two, "/hit-none", TWO),
            row("/hit, two nodes, Ack::All", &self.two, "/hit", TWO),
            row("/hit, two nodes, Ack::All, sticky", &self.two, "/hit", TWO).sticky(),
            self.bare(THREE, 3, "/hit"),
            row(
                "/hit, three nodes, Ack::None",
                &self.three,
                "/hit-none",
                THREE,
            ),
            row("/hit, three nodes, Ack::All", &self.three, "/hit", THREE),
        ];
        if let Some(Peers { memory, redis }) = peers {
            rows.extend([
                row("/plain, tower-sessions", memory, "/plain", PLAIN).on(1),
                self.bare(ONE_COOKIE, 1, "/hit-cookie"),
                row("/hit, tower-sessions", memory, "/hit", ONE_COOKIE).on(1),
                self.bare(TWO_COOKIES, 2, "/hit-cookie"),
                row(
                    "/hit, two tower-sessions, sticky",
                    memory,
                    "/hit",
                    TWO_COOKIES,
                )
                .sticky(),
            ]);
            if let Some(redis) = redis {
                let name = "/hit, two tower-sessions, Redis";
                rows.push(row(name, redis, "/hit", TWO_COOKIES));
            }
        }
        rows
    }

    fn bare(&self, name: &'static str, servers: usize, path: &'static str) -> Row<'_> {
        let row = row(name, &self.bare, path, name).on(servers);
        let checks = Checks::Success;
        Row { checks, ..row }
    }
}

/// By turns on all servers of the group.
fn row<'a>(
    name: &'static str,
    group: &'a Group,
    path: &'static str,
    baseline: &'static str,
) -> Row<'a> {
    Row {
        name,
        group,
        servers: group.addresses().len(),
        path,
        routing: Routing::RoundRobin,
        checks: if path == "/plain" {
            Checks::Success
        } else {
            Checks::Count
        },
        baseline,
    }
}

impl Row<'_> {
    fn on(mut self, servers: usize) -> Self {
        self.servers = servers;
        self
    }

    fn sticky(mut self) -> Self {
        self.routing = Routing::Sticky;
        self
    }

    /// Whether a visitor may meet a server that does not have the last count yet.
    pub(crate) fn may_be_behind(&self) -> bool {
        self.path == "/hit-none" && self.routing == Routing::RoundRobin
    }

    pub(crate) fn plan(&self, connections: usize) -> Plan {
        let mut servers = self.group.addresses();
        servers.truncate(self.servers);
        Plan {
            servers,
            path: self.path,
            checks: self.checks,
            routing: self.routing,
            connections,
        }
    }

    /// One for each connection.
    pub(crate) async fn visitors(&self, connections: usize) -> Result<Vec<Visitor>, BoxError> {
        let mut visitors = Vec::new();
        for at in 0..connections {
            let cookie = match self.checks {
                // The first answer brings one.
                Checks::Count => String::new(),
                Checks::Success => self.cookie().await?,
            };
            visitors.push(Visitor::new(&cookie, 0, at % self.servers));
        }
        Ok(visitors)
    }

    /// A comparison with a server that answers something else would be none.
    pub(crate) async fn compare_answers(&self, baseline: &Self) -> Result<(), BoxError> {
        let ((fields, bytes), (expected, about)) = (self.answer().await?, baseline.answer().await?);
        if fields == expected && bytes.abs_diff(about) <= DIGITS {
            return Ok(());
        }
        let (name, other) = (self.name, baseline.name);
        Err(format!(
            "{name} answers {fields:?} and {bytes} bytes, {other} {expected:?} and {about} bytes"
        )
        .into())
    }

    /// The header fields and the size of an answer to somebody who has a session.
    async fn answer(&self) -> Result<(Vec<String>, usize), BoxError> {
        let mut connection = Connection::open(self.group.addresses()[0]).await?;
        let cookie = self.cookie().await?;
        let answer = connection.get(self.path, &cookie).await?;
        Ok((answer.fields(), answer.body.len()))
    }

    /// That of a new session, or as long a one where there are none, so that all servers have as
    /// much to read.
    async fn cookie(&self) -> Result<String, BoxError> {
        let mut connection = Connection::open(self.group.addresses()[0]).await?;
        let answer = connection.get("/hit", "").await?;
        Ok(answer.cookie().unwrap_or(COOKIE).to_owned())
    }
}

/// Two counts may differ by so many digits.
const DIGITS: usize = 3;
const COOKIE: &str = "id=zVgsCmrkLjvtoeYNl05I7AzVgsCmrkLjvtoeYNl05I7";
const PLAIN: &str = "/plain, bare axum";
const HIT: &str = "/hit, bare axum";
const TWO: &str = "/hit, two bare axum";
const THREE: &str = "/hit, three bare axum";
const ONE_COOKIE: &str = "/hit, bare axum, Set-Cookie";
const TWO_COOKIES: &str = "/hit, two bare axum, Set-Cookie";

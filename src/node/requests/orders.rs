//! Orders that reach every node: to destroy what another node may hold and this one does not know.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::{JoinError, spawn_blocking},
    time::timeout,
};

use super::sessions::DestroyedBy;
use crate::node::Node;
use crate::{
    cluster::MemberStatus,
    config::Ack,
    session::{
        CookieValue, Order, OrderContent, OrderId, Proof, Search, SessionError, SessionKey, Stamp,
    },
    wire::Position,
};

/// The result of [`Sessions::destroy_where`](crate::Sessions::destroy_where).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DestroyedWhere {
    /// How many sessions were destroyed: those that this node held, and those that only others
    /// held. One that several others destroyed at the same time counts once for each.
    pub sessions: usize,
    /// The names of the other nodes that have carried it out, sorted.
    pub answered: Vec<String>,
    /// The members that have not said so in time: the name of each, or its address if this node has
    /// never met it. Each of them carries it out as soon as a path of links reaches it, within
    /// 24 hours.
    pub unanswered: Vec<String>,
}

impl Node {
    /// Has every node destroy the session of an id that a client presents and this node does not
    /// know. Returns the position to wait for, `None` when no other node can hold it.
    ///
    /// # Errors
    ///
    /// [`SessionError::Busy`] when there are too many such ids.
    pub(crate) fn destroy_elsewhere(
        &self,
        context: &Arc<str>,
        CookieValue { key, secret }: &CookieValue,
    ) -> Result<Option<Position>, SessionError> {
        let proof = Proof {
            context: Arc::clone(context),
            secret: secret.hash(),
        };
        if self.is_alone() || self.replica.is_spent(key, &proof) {
            return Ok(None);
        }
        if !self.requests.orders.takes_turn(self.now()) {
            return Err(SessionError::Busy);
        }
        Ok(Some(self.give_order(OrderContent::Session {
            key: *key,
            proof: Some(proof),
        })))
    }

    /// Has every node destroy a session that this node does not know, as the app wants it.
    pub(crate) fn destroy_everywhere(&self, key: SessionKey) -> Position {
        self.give_order(OrderContent::Session { key, proof: None })
    }

    /// Destroys what a search finds here, and has every other node do so.
    pub(crate) async fn destroy_where(self: Arc<Self>, search: Search) -> DestroyedWhere {
        let began_ms = self.now().mono_ms;
        let id = OrderId::from_bytes(self.env.random());
        let reports = ReportsOf::begin(&self, id);
        let found = self.search_and_order(id, search).await;
        // A search takes others about as long as this node.
        let took = Duration::from_millis(self.now().mono_ms.saturating_sub(began_ms));
        let patience = self.settings.ack_timeout.saturating_add(took);
        let reported = reports.until(|answered| self.unanswered(answered).is_empty());
        // Who has not answered by then is in the result.
        let _ = timeout(patience, reported).await;
        let answers = reports.answers();
        let names: BTreeSet<Arc<str>> = answers.keys().cloned().collect();
        let elsewhere: u64 = answers
            .values()
            .fold(0, |sum, one| sum.saturating_add(*one));
        DestroyedWhere {
            sessions: found.saturating_add(usize::try_from(elsewhere).unwrap_or(usize::MAX)),
            unanswered: self.unanswered(&names),
            answered: names.iter().map(|name| name.to_string()).collect(),
        }
    }

    /// Destroys what a search finds here, and has every other node do so, without waiting for what they
    /// find.
    pub(crate) async fn end_where(self: &Arc<Self>, search: Search) {
        let id = OrderId::from_bytes(self.env.random());
        self.search_and_order(id, search).await;
    }

    /// Destroys what a search finds here, and then gives an order for it, which live peers have when
    /// this is over. Returns how many sessions were destroyed here.
    async fn search_and_order(self: &Arc<Self>, id: OrderId, mut search: Search) -> usize {
        search.upto = latest_stamp(self.now().wall_ms);
        let search = Arc::new(search);
        // What is here was written before, whatever the clocks of those who wrote it.
        let found = self
            .search(DestroyedBy::Request, Arc::clone(&search), Stamp::MAX)
            .await;
        let last = found.iter().copied().max().flatten();
        self.acknowledged(last, Ack::All).await;
        // Others have learned what was destroyed here, so they count the rest.
        let position = self.give_with(id, OrderContent::Search((*search).clone()));
        self.acknowledged(Some(position), Ack::All).await;
        found.len()
    }

    /// Destroys what a search finds here, if it was written up to then. Returns the position of
    /// each, to wait for.
    async fn search(
        self: &Arc<Self>,
        by: DestroyedBy,
        search: Arc<Search>,
        upto: Stamp,
    ) -> Vec<Option<Position>> {
        let node = Arc::clone(self);
        let searching = spawn_blocking(move || {
            let keys = node.replica.find(&search, upto);
            let destroyed = keys.iter().filter_map(|key| {
                node.destroy_for(by, key).ok()?;
                Some(node.commit(key))
            });
            let positions = destroyed.collect();
            node.wake_links();
            positions
        });
        match searching.await {
            Ok(positions) => positions,
            Err(error) if error.is_panic() => resume(error),
            // The runtime shuts down, which ends this future, too.
            Err(_) => Vec::new(),
        }
    }

    /// Destroys a session that is here. Returns the position to wait for.
    pub(crate) fn destroy_now(&self, key: &SessionKey) -> Result<Option<Position>, SessionError> {
        self.destroy(key)?;
        Ok(self.commit(key))
    }

    fn give_order(&self, content: OrderContent) -> Position {
        self.give_with(OrderId::from_bytes(self.env.random()), content)
    }

    fn give_with(&self, id: OrderId, content: OrderContent) -> Position {
        let now = self.now();
        let order = Order {
            id,
            issued_ms: now.mono_ms,
            hops: 0,
            content,
        };
        let position = self.replica.give(order, now);
        self.wake_links();
        position
    }

    /// Returns whether there is no other node, and none can come.
    fn is_alone(&self) -> bool {
        self.net.local_address.is_none() && self.peers.table().rows().is_empty()
    }

    /// Returns the members that are not among these.
    fn unanswered(&self, answered: &BTreeSet<Arc<str>>) -> Vec<String> {
        let rows = self.peers.table().rows();
        let silent = rows.into_iter().filter(|row| {
            let has_answered = row
                .name
                .as_ref()
                .is_some_and(|name| answered.contains(name));
            row.status != MemberStatus::Left && !has_answered
        });
        silent
            .map(|row| row.name.unwrap_or(row.address).to_string())
            .collect()
    }
}

/// Carries out the searches of other nodes, one after the other.
pub(crate) async fn carry_out_searches(node: Arc<Node>) {
    let searching = async {
        loop {
            let news = node.requests.orders.search_noted();
            while let Some(order) = node.replica.orders().next_search() {
                let OrderContent::Search(search) = &order.content else {
                    continue;
                };
                let search = Arc::new(search.clone());
                let upto = search.upto;
                let destroyed = node.search(DestroyedBy::Order, search, upto).await;
                node.give_order(OrderContent::Report {
                    search: order.id,
                    node: (*node.settings.node).into(),
                    destroyed: destroyed.len() as u64,
                });
            }
            news.await;
        }
    };
    tokio::select! {
        biased;
        () = node.net.shutdown.cancelled() => {}
        () = searching => {}
    }
}

/// The reports of one search. Dropping it forgets them.
struct ReportsOf<'a> {
    node: &'a Node,
    search: OrderId,
}

impl<'a> ReportsOf<'a> {
    fn begin(node: &'a Node, search: OrderId) -> Self {
        node.requests
            .orders
            .reports()
            .insert(search, BTreeMap::new());
        Self { node, search }
    }

    fn answers(&self) -> BTreeMap<Arc<str>, u64> {
        let reports = self.node.requests.orders.reports();
        reports.get(&self.search).cloned().unwrap_or_default()
    }

    /// Waits until those are enough that have answered.
    async fn until(&self, are_enough: impl Fn(&BTreeSet<Arc<str>>) -> bool) {
        loop {
            // Before looking, so that no report falls in between.
            let news = self.node.requests.orders.report_noted();
            if are_enough(&self.answers().into_keys().collect()) {
                return;
            }
            news.await;
        }
    }
}

impl Drop for ReportsOf<'_> {
    fn drop(&mut self) {
        self.node.requests.orders.reports().remove(&self.search);
    }
}

/// Returns the last stamp that a write of this millisecond or before has by a clock like this one.
fn latest_stamp(wall_ms: u64) -> Stamp {
    let next_ms = wall_ms.saturating_add(1);
    Stamp::new(next_ms.saturating_mul(1 << 16)).map_or(Stamp::MAX, Stamp::before)
}

pub(super) fn resume(error: JoinError) -> ! {
    std::panic::resume_unwind(error.into_panic())
}

//! Listed names, each of which may stand for several nodes.

use std::{
    future::ready,
    io,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures_core::future::BoxFuture;

use super::*;
use crate::{
    config::{ListenAddress, PeerAddress, StartError},
    node::net::transport::{Acceptor, BoxIo, TcpTransport, Transport},
};

/// A network in memory with a name server.
#[derive(Debug, Default)]
pub(super) struct NamedNetwork {
    pub(super) network: MemoryNetwork,
    pub(super) names: Names,
}

impl NamedNetwork {
    pub(super) fn set(&self, ports: &[u16]) {
        let loopback = |port: &u16| SocketAddr::from(([127, 0, 0, 1], *port));
        self.names.set(ports.iter().map(loopback).collect());
    }

    /// Starts a node of this configuration.
    pub(super) fn start_as(&self, port: u16, config: &ClusterConfig) -> Cluster {
        let (network, names) = (self.network.transport(port), self.names.clone());
        Cluster::start_with(config, Arc::new(Named { network, names })).expect("the port is free")
    }

    fn start(&self, port: u16) -> Cluster {
        let transport = self.network.transport(port);
        start_by_name(&self.names, &format!("n{port}"), &address(port), transport)
    }
}

/// Starts a node that lists nothing but the name.
fn start_by_name(names: &Names, name: &str, listen: &str, network: impl Transport) -> Cluster {
    let config = ClusterConfig::new(name)
        .listen(listen)
        .peer("nodes.test:4100")
        .insecure_plaintext();
    let names = names.clone();
    Cluster::start_with(&config, Arc::new(Named { network, names })).expect("the port is free")
}

/// The addresses of the one name there is, or `None` if it is not found.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(Arc<Mutex<Option<Vec<SocketAddr>>>>);

impl Names {
    fn set(&self, found: Vec<SocketAddr>) {
        *self.lock() = Some(found);
    }

    /// The name server knows it no more.
    pub(super) fn forget(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<SocketAddr>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Named<T> {
    network: T,
    names: Names,
}

impl<T: Transport> Transport for Named<T> {
    fn bind(&self, listen: &ListenAddress) -> Result<Box<dyn Acceptor>, StartError> {
        self.network.bind(listen)
    }

    fn resolve<'a>(&'a self, _: &'a PeerAddress) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        let found = self.names.lock().clone();
        Box::pin(ready(found.ok_or_else(|| io::ErrorKind::NotFound.into())))
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<BoxIo>> {
        self.network.connect(address)
    }
}

pub(super) async fn are_all_linked(nodes: &[&Cluster]) {
    for one in nodes {
        for other in nodes
            .iter()
            .filter(|other| one.node_name() != other.node_name())
        {
            until_seen(one, other.node_name(), MemberState::Up).await;
        }
        let links = one.node().peers.live().len();
        assert_eq!(links, nodes.len() - 1, "{one:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_that_list_one_name_of_all_are_a_mesh() {
    let network = NamedNetwork::default();
    network.set(&[1, 2, 3]);
    let nodes = [1, 2, 3].map(|port| network.start(port));
    let [one, two, three] = &nodes;
    are_all_linked(&[one, two, three]).await;
    for node in &nodes {
        let ready = node.ready().await;
        assert_eq!(ready, Readiness::Synced);
        assert_eq!(node.members().len(), 2, "{:?}", node.members());
        assert_eq!(node.stats().refused, 0, "its own address is no failure");
    }
    let key = create(one.node());
    wait_until("it is on all", || holds(two, &key) && holds(three, &key)).await;
}

/// Other systems have one loopback address.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn nodes_of_one_name_at_several_hosts_are_a_mesh() {
    let names = Names::default();
    let nodes = [2, 3, 4].map(|host| {
        let listen = format!("127.0.0.{host}:0");
        start_by_name(&names, &format!("n{host}"), &listen, TcpTransport)
    });
    let addresses = nodes.iter().filter_map(Cluster::local_address);
    names.set(addresses.collect());
    let [one, two, three] = &nodes;
    are_all_linked(&[one, two, three]).await;
}

#[tokio::test(start_paused = true)]
async fn address_that_a_name_gets_later_is_linked_and_one_that_it_loses_is_let_go_when_it_is_down()
{
    let network = NamedNetwork::default();
    network.set(&[1, 2]);
    let (one, two) = (network.start(1), network.start(2));
    are_all_linked(&[&one, &two]).await;
    // The third lists nobody that it could reach, so that it has to be dialled.
    network.set(&[1, 3]);
    let three = start(&network.network, "n3", 3, &[]);
    until_seen(&one, "n3", MemberState::Up).await;
    until_seen(&two, "n3", MemberState::Up).await;
    are_all_linked(&[&one, &two, &three]).await;
    two.leave().await;
    wait_until("nobody is left at that address", || {
        one.members()
            .iter()
            .all(|member| member.address != address(2))
    })
    .await;
    assert_eq!(state_of(&one, "n3"), Some(MemberState::Up));
}

#[tokio::test(start_paused = true)]
async fn name_that_is_not_found_any_more_keeps_its_members() {
    let network = NamedNetwork::default();
    network.set(&[1, 2]);
    let (one, two) = (network.start(1), network.start(2));
    are_all_linked(&[&one, &two]).await;
    network.names.forget();
    tokio::time::sleep(Duration::from_secs(60)).await;
    are_all_linked(&[&one, &two]).await;
    network.network.cut();
    until_seen(&one, "n2", MemberState::Down).await;
    network.network.heal();
    are_all_linked(&[&one, &two]).await;
}

#[tokio::test(start_paused = true)]
async fn node_is_not_alone_while_a_member_may_be_at_one_address_of_a_name() {
    let network = NamedNetwork::default();
    network.set(&[1, 2, 3]);
    // Something listens at the last address and says nothing.
    let listen = ListenAddress::parse(&address(3), 1).expect("valid");
    let silent = network.network.transport(3).bind(&listen).expect("free");
    let one = network.start(1);
    tokio::time::sleep(3 * one.node().settings.alone_after).await;
    assert!(!one.is_ready());
    drop(silent);
    assert_eq!(one.ready().await, Readiness::Alone);
}

#[tokio::test(start_paused = true)]
async fn name_that_is_found_late_is_linked_then() {
    let network = NamedNetwork::default();
    let one = network.start(1);
    assert_eq!(one.ready().await, Readiness::Alone);
    let two = network.start(2);
    network.set(&[1, 2]);
    are_all_linked(&[&one, &two]).await;
}

#[tokio::test(start_paused = true)]
async fn removing_a_name_ends_the_links_to_all_its_members() {
    let network = NamedNetwork::default();
    network.set(&[1, 2, 3]);
    let two = start(&network.network, "n2", 2, &[]);
    let three = start(&network.network, "n3", 3, &[]);
    let one = network.start(1);
    until_seen(&one, "n2", MemberState::Up).await;
    until_seen(&one, "n3", MemberState::Up).await;
    assert!(one.remove_peer("nodes.test:4100"));
    assert!(!one.remove_peer("nodes.test:4100"));
    until_seen(&two, "n1", MemberState::Down).await;
    until_seen(&three, "n1", MemberState::Down).await;
    assert!(one.members().is_empty() && one.node().peers.live().is_empty());
}

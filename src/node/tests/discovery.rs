//! Nodes without a list of all others: by a name, by what an app brings, and by each other.

use std::{error::Error, io, net::SocketAddr};

use tokio::sync::mpsc;

use super::{
    logging::Lines,
    names::{NamedNetwork, are_all_linked},
    *,
};
use crate::config::{Discovery, ListenAddress};
use crate::node::net::transport::Transport as _;

/// Tells what a test has it tell.
struct Told(mpsc::UnboundedReceiver<Result<Vec<SocketAddr>, io::Error>>);

impl Discovery for Told {
    async fn next(&mut self) -> Result<Vec<SocketAddr>, Box<dyn Error + Send + Sync>> {
        match self.0.recv().await {
            Some(told) => Ok(told?),
            None => std::future::pending().await,
        }
    }
}

type Tell = mpsc::UnboundedSender<Result<Vec<SocketAddr>, io::Error>>;

fn told() -> (Tell, Told) {
    let (tell, told) = mpsc::unbounded_channel();
    (tell, Told(told))
}

fn at(port: &u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], *port))
}

fn tell(to: &Tell, ports: &[u16]) {
    to.send(Ok(ports.iter().map(at).collect()))
        .expect("the node runs");
}

/// A node that lists nobody, and asks for a name.
fn finding(port: u16) -> ClusterConfig {
    config(&format!("n{port}"), port, &[])
        .discover("dns:nodes.test:4100")
        .insecure_plaintext()
}

fn knowing(port: u16, peers: &[u16]) -> ClusterConfig {
    config(&format!("n{port}"), port, peers).secret(SECRET)
}

fn all(nodes: &[Cluster]) -> Vec<&Cluster> {
    nodes.iter().collect()
}

fn names(cluster: &Cluster) -> Vec<String> {
    let members = cluster.members().into_iter();
    let mut names: Vec<_> = members.filter_map(|member| member.name).collect();
    names.sort();
    names
}

#[tokio::test(start_paused = true)]
async fn nodes_that_look_up_one_name_grow_from_one_to_five_and_shrink_to_two() {
    let network = NamedNetwork::default();
    network.set(&[1]);
    let mut nodes = vec![network.start_as(1, &finding(1))];
    assert_eq!(nodes[0].ready().await, Readiness::Alone);
    let key = create(nodes[0].node());
    for port in 2..=5 {
        network.set(&(1..=port).collect::<Vec<_>>());
        let node = network.start_as(port, &finding(port));
        assert_eq!(node.ready().await, Readiness::Synced);
        assert!(holds(&node, &key));
        nodes.push(node);
    }
    are_all_linked(&all(&nodes)).await;
    for node in nodes.drain(..3) {
        node.leave().await;
    }
    network.set(&[4, 5]);
    for (node, other) in [(&nodes[0], "n5"), (&nodes[1], "n4")] {
        wait_until("the others are no members any more", || {
            names(node) == [other]
        })
        .await;
        assert_eq!(node.members().len(), 1, "{:?}", node.members());
        assert!(holds(node, &key));
    }
    are_all_linked(&all(&nodes)).await;
}

#[tokio::test(start_paused = true)]
async fn replaced_nodes_leave_the_list_by_themselves() {
    let network = NamedNetwork::default();
    network.set(&[1, 2]);
    let one = network.start_as(1, &finding(1));
    let two = network.start_as(2, &finding(2));
    are_all_linked(&[&one, &two]).await;
    // It is killed, and another one comes at another address and under another name.
    two.node().kill();
    network.set(&[1, 3]);
    let three = network.start_as(3, &finding(3));
    are_all_linked(&[&one, &three]).await;
    until_seen(&one, "n2", MemberState::Down).await;
    let forget_after = one.node().settings.forget_after;
    tokio::time::sleep(forget_after + Duration::from_secs(20)).await;
    assert_eq!(names(&one), ["n3"]);
    assert_eq!(names(&three), ["n1"]);
}

#[tokio::test(start_paused = true)]
async fn members_stay_while_a_discovery_fails_tells_of_nobody_or_of_others() {
    let network = MemoryNetwork::default();
    let (to_one, told) = told();
    let one = start_with(&network, 1, &config("n1", 1, &[]).discover_with(told));
    let two = start(&network, "n2", 2, &[]);
    tell(&to_one, &[1, 2]);
    are_all_linked(&[&one, &two]).await;
    let mut events = one.events();
    for turn in 0..5 {
        to_one
            .send(Err(io::ErrorKind::TimedOut.into()))
            .expect("it runs");
        tell(&to_one, &[]);
        tell(&to_one, &[1, 7 + turn]);
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    are_all_linked(&[&one, &two]).await;
    let quiet = timeout(Duration::from_millis(1), events.recv()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    // A cut that is shorter than the time for which it is looked for.
    network.cut();
    until_seen(&one, "n2", MemberState::Down).await;
    tell(&to_one, &[]);
    tokio::time::sleep(Duration::from_secs(30)).await;
    network.heal();
    are_all_linked(&[&one, &two]).await;
}

#[tokio::test(start_paused = true)]
async fn failing_name_server_does_not_make_a_node_alone() {
    let network = NamedNetwork::default();
    let one = network.start_as(1, &finding(1));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(!one.is_ready());
    assert_eq!(one.awaited().missing, ["dns:nodes.test:4100"]);
    let answer = timeout(Duration::from_secs(31), one.ready()).await;
    assert_eq!(answer, Ok(Readiness::TimedOut));
    // An answer that comes late counts.
    let strict = network.start_as(2, &finding(2).min_peers(1));
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(!strict.is_ready());
    network.set(&[1, 2]);
    are_all_linked(&[&one, &strict]).await;
    wait_until("it is ready", || strict.is_ready()).await;
    assert_eq!(strict.awaited().linked, ["n1"]);
}

#[tokio::test(start_paused = true)]
async fn ready_says_whom_it_waited_for() {
    let (lines, _guard) = Lines::kept();
    let network = NamedNetwork::default();
    network.set(&[1, 2, 3]);
    let one = network.start_as(1, &finding(1).min_peers(2));
    let two = network.start_as(2, &finding(2));
    assert_eq!(one.ready().await, Readiness::TimedOut);
    let awaited = one.awaited();
    assert_eq!(
        (&*awaited.linked, awaited.min_peers),
        (&["n2".to_owned()][..], 2)
    );
    assert_eq!(awaited.missing, ["127.0.0.1:3"]);
    let told = "linked with [n2], which must be [2] at least, no link with [127.0.0.1:3]";
    assert_eq!(awaited.to_string(), told);
    assert_eq!(lines.with(&["WARN", "node=n1", told]).len(), 1);
    let three = network.start_as(3, &finding(3));
    wait_until("it is ready", || one.is_ready()).await;
    assert_eq!(one.awaited().linked, ["n2", "n3"]);
    drop((two, three));
}

/// Nothing else than those lines, and few of them.
#[tokio::test(start_paused = true)]
async fn name_server_that_fails_makes_few_lines() {
    let (lines, _guard) = Lines::kept();
    let network = NamedNetwork::default();
    network.set(&[1, 2]);
    let one = network.start_as(1, &finding(1));
    let two = network.start_as(2, &finding(2));
    are_all_linked(&[&one, &two]).await;
    one.ready().await;
    two.ready().await;
    let count = |words: &[&str]| lines.with(&[words, &["node=n1"]].concat()).len();
    let before = count(&[]);
    network.names.forget();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(count(&["cannot find members by [dns:nodes.test:4100]"]), 3);
    assert_eq!(count(&[]) - before, 3, "at once, after 10 and 30 s");
    // It comes and goes: that is no reason for more.
    for _ in 0..6 {
        network.set(&[1, 2]);
        tokio::time::sleep(Duration::from_secs(10)).await;
        network.names.forget();
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    let lines = count(&[]) - before;
    assert!(lines <= 5, "{lines} lines in three minutes");
    are_all_linked(&[&one, &two]).await;
    let figures = one.prometheus();
    let failures = figures.lines().find_map(|line| {
        let of_one = "cluster_sessions_discovery_failures_total{cluster=\"sessions\",node=\"n1\"} ";
        line.strip_prefix(of_one)
    });
    let failures: u64 = failures.expect("a figure").parse().expect("a number");
    assert!(failures > 20, "{failures}");
    assert!(
        figures
            .contains("cluster_sessions_discovered_addresses{cluster=\"sessions\",node=\"n1\"} 2")
    );
}

#[tokio::test(start_paused = true)]
async fn name_server_that_is_down_for_an_hour_makes_some_ten_lines() {
    let (lines, _guard) = Lines::kept();
    let network = NamedNetwork::default();
    network.set(&[1]);
    let one = network.start_as(1, &finding(1));
    one.ready().await;
    let count = || lines.with(&["node=n1"]).len();
    let before = count();
    network.names.forget();
    tokio::time::sleep(Duration::from_secs(60 * 60)).await;
    let lines = count() - before;
    assert!((8..=12).contains(&lines), "{lines} lines");
}

#[tokio::test(start_paused = true)]
async fn clusters_behind_one_name_leave_each_other_alone() {
    let (lines, _guard) = Lines::kept();
    let network = NamedNetwork::default();
    network.set(&[1, 2, 3, 4]);
    let nodes = [1, 2, 3, 4].map(|port| {
        let cluster = if port < 3 { "shop" } else { "staging" };
        network.start_as(port, &finding(port).cluster(cluster))
    });
    let [one, two, three, four] = &nodes;
    for node in &nodes {
        let ready = timeout(Duration::from_secs(10), node.ready()).await;
        assert_eq!(ready, Ok(Readiness::Synced), "{node:?}");
        assert!(node.is_ready());
    }
    are_all_linked(&[one, two]).await;
    are_all_linked(&[three, four]).await;
    assert_eq!(names(one), ["n2"]);
    assert_eq!(one.members().len(), 1, "{:?}", one.members());
    let told = || lines.with(&["WARN", "node=n1", "different clusters"]).len();
    assert!(told() > 0);
    tokio::time::sleep(Duration::from_secs(150)).await;
    are_all_linked(&[one, two]).await;
    assert!(told() <= 12, "{} lines", told());
}

#[tokio::test(start_paused = true)]
async fn strangers_that_a_name_leads_to_hold_nobody_up() {
    let network = NamedNetwork::default();
    network.set(&[1, 2, 8, 9]);
    // One says nothing, and at the other address nobody listens.
    let listen = ListenAddress::parse(&address(8), 1).expect("valid");
    let silent = network.network.transport(8).bind(&listen).expect("free");
    let one = start_with(&network.network, 1, &config("n1", 1, &[]));
    one.ready().await;
    let two = network.start_as(2, &finding(2));
    assert_eq!(two.ready().await, Readiness::Synced);
    assert_eq!(names(&two), ["n1"]);
    drop(silent);
}

#[tokio::test(start_paused = true)]
async fn one_seed_makes_a_full_mesh_of_five() {
    let network = MemoryNetwork::default();
    let nodes: Vec<Cluster> = (1..=5)
        .map(|port| {
            let peers: &[u16] = if port == 1 { &[] } else { &[1] };
            start_with(&network, port, &knowing(port, peers))
        })
        .collect();
    are_all_linked(&all(&nodes)).await;
    for node in &nodes {
        assert_eq!(node.members().len(), 4, "{:?}", node.members());
        assert_eq!(node.stats().refused, 0, "{node:?}");
    }
    // Without the seed the others stay, and a break between two of them heals.
    nodes[0].node().kill();
    until_seen(&nodes[1], "n1", MemberState::Down).await;
    network.cut_between(2, 3);
    until_seen(&nodes[1], "n3", MemberState::Down).await;
    network.heal_between(2, 3);
    are_all_linked(&all(&nodes[1..])).await;
}

#[tokio::test(start_paused = true)]
async fn nodes_that_prove_nothing_do_not_tell_of_each_other() {
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[]);
    let two = start(&network, "n2", 2, &[1]);
    let three = start(&network, "n3", 3, &[1]);
    until_seen(&one, "n2", MemberState::Up).await;
    until_seen(&one, "n3", MemberState::Up).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    for node in [&two, &three] {
        assert_eq!(names(node), ["n1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn node_that_does_not_take_part_is_neither_told_of_others_nor_told_of() {
    let network = MemoryNetwork::default();
    let one = start_with(&network, 1, &knowing(1, &[]));
    let two = start_with(&network, 2, &knowing(2, &[1]));
    let apart = start_with(&network, 3, &knowing(3, &[1]).peer_exchange(false));
    let _four = start_with(&network, 4, &knowing(4, &[1]));
    until_seen(&two, "n4", MemberState::Up).await;
    until_seen(&one, "n3", MemberState::Up).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(names(&apart), ["n1"]);
    assert_eq!(names(&two), ["n1", "n4"]);
}

#[tokio::test(start_paused = true)]
async fn discovery_of_an_app_is_for_one_node() {
    let network = MemoryNetwork::default();
    let (_to_one, told) = told();
    let one = config("n1", 1, &[]).discover_with(told);
    let first = start_with(&network, 1, &one);
    let transport = Arc::new(network.transport(2));
    let second = Cluster::start_with(&one.listen(address(2)), transport);
    let error = second.expect_err("it is taken").to_string();
    assert!(error.contains("`discover_with`"), "{error}");
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn plaintext_leads_no_discovery_out_of_this_machine() {
    let (lines, _guard) = Lines::kept();
    let network = MemoryNetwork::default();
    let (to_one, told) = told();
    let one = start_with(&network, 1, &config("n1", 1, &[]).discover_with(told));
    let outside: SocketAddr = "10.0.0.7:2".parse().expect("valid");
    to_one.send(Ok(vec![outside])).expect("it runs");
    assert_eq!(one.ready().await, Readiness::Alone);
    assert!(!lines.with(&["WARN", "left out [1] addresses"]).is_empty());
}

const SECRET: &str = "0e9d3fbd27f2b1f9a0f1c4677d9a1e5b88c6c1a25ddf7a4c903bfe6f2240d7e3";

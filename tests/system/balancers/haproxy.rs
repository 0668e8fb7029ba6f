//! HAProxy in front of two nodes, configured by the file that `examples/haproxy` documents.

use std::{fs, net::SocketAddr, process::Command, slice};

use crate::support::{
    balanced::{
        Comeback, die_by_turns, keep_operators_pages_from_visitors, start_two,
        stick_while_the_node_lives,
    },
    balancer::{Balancer, program, run_dir},
    process::free_addr,
    sealed::{SEALS, start_two_alone, stick_by_sealed_cookies},
    stand_in::{StandIn, node_that_is_not_ready_gets_nothing, times_sent},
};

#[tokio::test]
#[ignore = "needs haproxy"]
async fn no_hit_is_lost_behind_haproxy_while_nodes_die_by_turns() {
    let nodes = start_two().await;
    let haproxy = haproxy("turns", [nodes[0].http(), nodes[1].http()], &[]).await;
    die_by_turns(haproxy.http(), nodes, Comeback::Probed).await;
}

#[tokio::test]
#[ignore = "needs haproxy"]
async fn route_makes_haproxy_stick_while_the_node_lives() {
    let nodes = start_two().await;
    let haproxy = haproxy("sticky", [nodes[0].http(), nodes[1].http()], &["STICKY"]).await;
    stick_while_the_node_lives(haproxy.http(), nodes).await;
}

#[tokio::test]
#[ignore = "needs haproxy"]
async fn haproxy_keeps_operators_pages_from_visitors() {
    let nodes = start_two().await;
    let haproxy = haproxy("denied", [nodes[0].http(), nodes[1].http()], &[]).await;
    keep_operators_pages_from_visitors(haproxy.http(), &nodes).await;
}

#[tokio::test]
#[ignore = "needs haproxy"]
async fn route_behind_a_sealed_cookie_makes_haproxy_stick() {
    for (kind, seal) in SEALS {
        let haproxy = haproxy(kind, start_two_alone(seal).await, &["STICKY"]).await;
        stick_by_sealed_cookies(haproxy.http()).await;
    }
}

#[tokio::test]
#[ignore = "needs haproxy"]
async fn haproxy_asks_only_ready_nodes() {
    let nodes = [StandIn::new("one").await, StandIn::new("other").await];
    let haproxy = haproxy("ready", [nodes[0].http(), nodes[1].http()], &[]).await;
    node_that_is_not_ready_gets_nothing(haproxy.http(), &nodes).await;
}

#[tokio::test]
#[ignore = "needs haproxy"]
async fn haproxy_sends_again_only_what_could_not_be_sent() {
    let nodes = [StandIn::new("one").await, StandIn::new("other").await];
    let haproxy = haproxy("repeat", [nodes[0].http(), nodes[1].http()], &[]).await;
    for method in ["POST", "GET"] {
        assert_eq!(times_sent(method, haproxy.http(), &nodes).await, 1);
    }
    let [gone, other] = nodes;
    gone.stop().await;
    for _ in 0..4 {
        let times = times_sent("POST", haproxy.http(), slice::from_ref(&other)).await;
        assert_eq!(times, 1);
    }
}

async fn haproxy(test: &str, nodes: [SocketAddr; 2], switches: &[&str]) -> Balancer {
    haproxy_with(test, nodes, switches, &[]).await
}

/// Starts HAProxy with the example's configuration, in which some lines are replaced.
pub(crate) async fn haproxy_with(
    test: &str,
    nodes: [SocketAddr; 2],
    switches: &[&str],
    changes: &[(&str, &str)],
) -> Balancer {
    const PLACES: [&str; 3] = [
        "/usr/sbin/haproxy",
        "/usr/bin/haproxy",
        "/usr/local/sbin/haproxy",
    ];
    const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../haproxy/haproxy.cfg");
    let run_dir = run_dir(&format!("haproxy-{test}"));
    let http = free_addr().expect("there are free ports");
    let mut text = fs::read_to_string(CONFIG).expect("the example is there");
    for (written, meant) in changes {
        assert!(text.contains(written), "the example has no {written}");
        text = text.replace(written, meant);
    }
    let changed = run_dir.join("haproxy.cfg");
    fs::write(&changed, text).expect("the directory is new");

    let mut command = Command::new(program(&PLACES, "haproxy"));
    command
        .arg("-db")
        .arg("-f")
        .arg(&changed)
        .env("HTTP_PORT", http.port().to_string())
        .env("NODE1", nodes[0].to_string())
        .env("NODE2", nodes[1].to_string());
    for switch in switches {
        command.env(switch, "1");
    }
    Balancer::start(command, http, run_dir).await
}

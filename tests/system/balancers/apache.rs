//! Apache httpd in front of two nodes, configured by the file that `examples/apache` documents.

use std::{net::SocketAddr, process::Command, slice};

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
#[ignore = "needs apache2"]
async fn no_hit_is_lost_behind_apache_while_nodes_die_by_turns() {
    let nodes = start_two().await;
    let apache = apache("turns", [nodes[0].http(), nodes[1].http()], &[]).await;
    die_by_turns(apache.http(), nodes, Comeback::Tried).await;
}

#[tokio::test]
#[ignore = "needs apache2"]
async fn no_hit_is_lost_behind_apache_that_probes() {
    let nodes = start_two().await;
    let apache = apache("probed", [nodes[0].http(), nodes[1].http()], &["PROBE"]).await;
    die_by_turns(apache.http(), nodes, Comeback::Probed).await;
}

#[tokio::test]
#[ignore = "needs apache2"]
async fn route_makes_apache_stick_while_the_node_lives() {
    let nodes = start_two().await;
    let apache = apache("sticky", [nodes[0].http(), nodes[1].http()], &["STICKY"]).await;
    stick_while_the_node_lives(apache.http(), nodes).await;
}

#[tokio::test]
#[ignore = "needs apache2"]
async fn apache_keeps_operators_pages_from_visitors() {
    let nodes = start_two().await;
    let apache = apache("denied", [nodes[0].http(), nodes[1].http()], &[]).await;
    keep_operators_pages_from_visitors(apache.http(), &nodes).await;
}

#[tokio::test]
#[ignore = "needs apache2"]
async fn route_behind_a_sealed_cookie_makes_apache_stick() {
    for (kind, seal) in SEALS {
        let apache = apache(kind, start_two_alone(seal).await, &["STICKY"]).await;
        stick_by_sealed_cookies(apache.http()).await;
    }
}

#[tokio::test]
#[ignore = "needs apache2"]
async fn apache_that_probes_asks_only_ready_nodes() {
    let nodes = [StandIn::new("one").await, StandIn::new("other").await];
    let apache = apache("ready", [nodes[0].http(), nodes[1].http()], &["PROBE"]).await;
    node_that_is_not_ready_gets_nothing(apache.http(), &nodes).await;
}

#[tokio::test]
#[ignore = "needs apache2"]
async fn apache_sends_again_only_what_could_not_be_sent() {
    let nodes = [StandIn::new("one").await, StandIn::new("other").await];
    let apache = apache("repeat", [nodes[0].http(), nodes[1].http()], &[]).await;
    for method in ["POST", "GET"] {
        assert_eq!(times_sent(method, apache.http(), &nodes).await, 1);
    }
    let [gone, other] = nodes;
    gone.stop().await;
    for _ in 0..4 {
        let times = times_sent("POST", apache.http(), slice::from_ref(&other)).await;
        assert_eq!(times, 1);
    }
}

async fn apache(test: &str, nodes: [SocketAddr; 2], defines: &[&str]) -> Balancer {
    apache_with(test, nodes, defines, &[]).await
}

/// Starts Apache httpd with the example's configuration, and some lines behind it.
pub(crate) async fn apache_with(
    test: &str,
    nodes: [SocketAddr; 2],
    defines: &[&str],
    lines: &[&str],
) -> Balancer {
    const PLACES: [&str; 3] = ["/usr/sbin/apache2", "/usr/sbin/httpd", "/usr/bin/httpd"];
    let run_dir = run_dir(&format!("apache-{test}"));
    let http = free_addr().expect("there are free ports");
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../apache/httpd.conf");

    let mut command = Command::new(program(&PLACES, "apache2"));
    command.args(["-f", config, "-D", "FOREGROUND"]);
    for line in lines {
        command.args(["-c", line]);
    }
    for define in defines {
        command.args(["-D", define]);
    }
    for (name, value) in [
        ("RUN_DIR", run_dir.display().to_string()),
        ("HTTP_PORT", http.port().to_string()),
        ("NODE1", nodes[0].to_string()),
        ("NODE2", nodes[1].to_string()),
    ] {
        command.args(["-C", &format!("Define {name} {value}")]);
    }
    Balancer::start(command, http, run_dir).await
}

//! Apache httpd in front of two nodes, configured by the file that `examples/apache` documents.
#![cfg(unix)]

mod support;

use std::{net::SocketAddr, process::Command};

use crate::support::{
    balanced::{Comeback, die_by_turns, start_two, stick_while_the_node_lives},
    balancer::{Balancer, program, run_dir},
    process::free_addr,
    sealed::{SEALS, start_two_alone, stick_by_sealed_cookies},
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
async fn route_makes_apache_stick_while_the_node_lives() {
    let nodes = start_two().await;
    let apache = apache("sticky", [nodes[0].http(), nodes[1].http()], &["STICKY"]).await;
    stick_while_the_node_lives(apache.http(), nodes).await;
}

#[tokio::test]
#[ignore = "needs apache2"]
async fn route_behind_a_sealed_cookie_makes_apache_stick() {
    for (kind, seal) in SEALS {
        let apache = apache(kind, start_two_alone(seal).await, &["STICKY"]).await;
        stick_by_sealed_cookies(apache.http()).await;
    }
}

async fn apache(test: &str, nodes: [SocketAddr; 2], defines: &[&str]) -> Balancer {
    const PLACES: [&str; 3] = ["/usr/sbin/apache2", "/usr/sbin/httpd", "/usr/bin/httpd"];
    let run_dir = run_dir(&format!("apache-{test}"));
    let http = free_addr().expect("there are free ports");
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/apache/httpd.conf");

    let mut command = Command::new(program(&PLACES, "apache2"));
    command.args(["-f", config, "-D", "FOREGROUND"]);
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

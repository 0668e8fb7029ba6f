//! nginx in front of two nodes, configured by the files that `examples/nginx` documents.

use std::{fs, net::SocketAddr, path::Path, process::Command, slice};

use crate::support::{
    balanced::{
        Comeback, die_by_turns, keep_operators_pages_from_visitors, start_two,
        stick_while_the_node_lives,
    },
    balancer::{Balancer, program, run_dir},
    browser::Browser,
    process::free_addr,
    sealed::{SEALS, start_two_alone, stick_by_sealed_cookies},
    stand_in::{StandIn, times_sent},
    visitor::Visitor,
};

#[tokio::test]
#[ignore = "needs nginx"]
async fn no_hit_is_lost_behind_nginx_while_nodes_die_by_turns() {
    let nodes = start_two().await;
    let nginx = nginx("turns", "turns.conf", [nodes[0].http(), nodes[1].http()]).await;
    die_by_turns(nginx.http(), nodes, Comeback::Tried).await;
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn route_makes_nginx_stick_while_the_node_lives() {
    let nodes = start_two().await;
    let nginx = nginx("sticky", "sticky.conf", [nodes[0].http(), nodes[1].http()]).await;
    stick_while_the_node_lives(nginx.http(), nodes).await;
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn nginx_keeps_operators_pages_from_visitors() {
    let nodes = start_two().await;
    let addresses = [nodes[0].http(), nodes[1].http()];
    for (test, config) in [("denied", "turns.conf"), ("denied-sticky", "sticky.conf")] {
        let nginx = nginx(test, config, addresses).await;
        keep_operators_pages_from_visitors(nginx.http(), &nodes).await;
    }
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn route_behind_a_sealed_cookie_makes_nginx_stick() {
    for (kind, seal) in SEALS {
        let nginx = nginx(kind, "sticky.conf", start_two_alone(seal).await).await;
        stick_by_sealed_cookies(nginx.http()).await;
    }
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn nginx_repeats_a_get_that_broke_off_and_no_post() {
    for config in ["turns.conf", "sticky.conf"] {
        let nodes = [StandIn::new("one").await, StandIn::new("other").await];
        let nginx = nginx("repeat", config, [nodes[0].http(), nodes[1].http()]).await;
        assert_eq!(times_sent("POST", nginx.http(), &nodes).await, 1);
        assert_eq!(times_sent("GET", nginx.http(), &nodes).await, 2);
        let [gone, other] = nodes;
        gone.stop().await;
        for _ in 0..4 {
            let times = times_sent("POST", nginx.http(), slice::from_ref(&other)).await;
            assert_eq!(times, 1);
        }
    }
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn nginx_that_caches_gives_nobody_the_page_of_another() {
    let nodes = start_two().await;
    let caches = [
        (
            "http {",
            "http {\nproxy_cache_path cache keys_zone=pages:1m;",
        ),
        (
            "location / {",
            "location / {\nproxy_cache pages;\nproxy_cache_valid 200 10m;\n\
             add_header x-cache $upstream_cache_status;",
        ),
    ];
    let addresses = [nodes[0].http(), nodes[1].http()];
    let nginx = nginx_with("caches", "turns.conf", addresses, &caches).await;
    let http = nginx.http();
    let mut visitor = Visitor::new();
    for cache in ["MISS", "HIT"] {
        visitor.hit(http).await;
        visitor.peek(http).await;
        visitor.peek(http).await;
        let stranger = Browser::new().get(http, "/peek").await;
        let page = stranger.expect("a page");
        assert_eq!(page.hits(), Some(0), "{page:?}");
        // The cache works: what depends on no session comes out of it.
        assert_eq!(page.headers["x-cache"], cache, "{page:?}");
    }
}

async fn nginx(test: &str, config: &str, nodes: [SocketAddr; 2]) -> Balancer {
    nginx_with(test, config, nodes, &[]).await
}

/// Starts nginx with an example's configuration, in which some lines are replaced.
pub(crate) async fn nginx_with(
    test: &str,
    config: &str,
    nodes: [SocketAddr; 2],
    changes: &[(&str, &str)],
) -> Balancer {
    const PLACES: [&str; 3] = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/bin/nginx"];
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../nginx");
    let text = fs::read_to_string(Path::new(examples).join(config));
    let mut text = text.expect("the example is there");
    let http = free_addr().expect("there are free ports");
    for (written, meant) in [
        ("127.0.0.1:8080", http),
        ("127.0.0.1:8081", nodes[0]),
        ("127.0.0.1:8082", nodes[1]),
    ] {
        assert!(text.contains(written), "{config} has no {written}");
        text = text.replace(written, &meant.to_string());
    }
    for (written, meant) in changes {
        assert!(text.contains(written), "{config} has no {written}");
        text = text.replace(written, meant);
    }
    let run_dir = run_dir(&format!("nginx-{test}"));
    let changed = run_dir.join(config);
    fs::write(&changed, text).expect("the directory is new");

    let mut command = Command::new(program(&PLACES, "nginx"));
    command.arg("-p").arg(&run_dir).arg("-c").arg(&changed);
    command.args(["-e", "stderr", "-g", "daemon off;"]);
    Balancer::start(command, http, run_dir).await
}

//! What one address may do behind the balancers, with the lines that docs/operations.md gives.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpSocket,
};

use super::{apache::apache_with, haproxy::haproxy_with, nginx::nginx_with};
use crate::support::stand_in::StandIn;

const MODULES: &str = "/usr/lib/apache2/modules";

#[tokio::test]
#[ignore = "needs nginx, haproxy and apache2 with libapache2-mod-qos"]
async fn one_address_is_held_back_and_the_others_are_served() {
    let nodes = [StandIn::new("one").await, StandIn::new("other").await];
    let addresses = [nodes[0].http(), nodes[1].http()];

    let http = documented("nginx", &["limit_req_zone", "limit_req_status"]);
    let location = documented("nginx", &["limit_req zone"]);
    let changes = [("http {", &*http), ("location / {", &*location)];
    let changes = changes.map(|(head, lines)| (head, format!("{head}\n{lines}")));
    let changes: Vec<_> = changes.iter().map(|(head, all)| (*head, &**all)).collect();
    let nginx = nginx_with("limits", "turns.conf", addresses, &changes).await;
    holds_one_back(nginx.http()).await;

    let head = "frontend browsers";
    let lines = documented("haproxy", &["stick-table", "http-request"]);
    let changed = format!("{head}\n{lines}");
    let haproxy = haproxy_with("limits", addresses, &[], &[(head, &changed)]).await;
    holds_one_back(haproxy.http()).await;

    let limits = documented("apache", &[""]);
    let set_env_if = format!("LoadModule setenvif_module {MODULES}/mod_setenvif.so");
    let lines: Vec<_> = [&*set_env_if].into_iter().chain(limits.lines()).collect();
    let apache = apache_with("limits", addresses, &[], &lines).await;
    holds_one_back(apache.http()).await;
}

/// The lines of the guide's example in this language that have one of these words.
fn documented(language: &str, words: &[&str]) -> String {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");
    let guide = fs::read_to_string(guide).expect("it is there");
    let (_, section) = guide.split_once("### Limits for one address").expect("it");
    let (_, block) = section.split_once(&format!("```{language}\n")).expect("it");
    let (block, _) = block.split_once("```").expect("its end");
    let lines = block
        .lines()
        .filter(|line| words.iter().any(|word| line.contains(word)));
    let lines: Vec<_> = lines.collect();
    assert!(!lines.is_empty(), "{language} has none of {words:?}");
    lines.join("\n")
}

/// Somebody who asks on and on is refused after a while, and somebody else is not.
async fn holds_one_back(balancer: SocketAddr) {
    let [one, other] = [2, 3].map(|last| IpAddr::from(Ipv4Addr::new(127, 0, 0, last)));
    let mut served = 0;
    loop {
        match status(balancer, one).await {
            200 => served += 1,
            status => {
                assert_eq!(status, 429);
                break;
            }
        }
        assert!(served < 10_000, "nobody counts");
    }
    assert!(served >= 100, "only {served} were served");
    assert_eq!(status(balancer, other).await, 200);
}

/// The status of a page for a client at this address.
async fn status(balancer: SocketAddr, client: IpAddr) -> u16 {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((client, 0).into()).expect("loopback has it");
    let mut stream = socket.connect(balancer).await.expect("it listens");
    let request = "GET /plain HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("answered");
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|text| text.parse().ok());
    status.unwrap_or_else(|| panic!("no status in {answer:?}"))
}

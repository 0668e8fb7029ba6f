//! Apache httpd in front of two nodes, configured by the file that `examples/apache` documents.
#![cfg(unix)]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tower_cluster_sessions::{
    ClusterConfig, ClusterSessionLayer, CookieKey, Session, SessionError,
};

use crate::support::{
    browser::Browser,
    process::{NodePlan, free_addr},
    processes::{Node, PAUSE, Signal, TRIES, plans, send_signal, start_all},
    visitor::Visitor,
};

#[tokio::test]
#[ignore = "needs apache2"]
async fn no_hit_is_lost_while_nodes_die_by_turns() {
    const ROUNDS: usize = 3;
    let mut nodes = start_all(routed_plans()).await;
    let apache = Apache::start("turns", http_of(&nodes), &[]).await;
    let mut visitor = Visitor::new();
    let mut served_by = Vec::new();

    for _ in 0..ROUNDS {
        for _ in 0..nodes.len() {
            for _ in 0..6 {
                served_by.push(node_of(&visitor.hit(apache.http).await));
            }
            // The one that was hit last dies, with nothing but its answer sent.
            let last = served_by.last().expect("there were hits");
            let victim = nodes.iter().position(|node| node.name() == last);
            let plan = nodes.remove(victim.expect("it runs")).kill().await;
            for _ in 0..6 {
                let page = visitor.hit(apache.http).await;
                assert_eq!(node_of(&page), nodes[0].name(), "{page:?}");
            }
            let back = Node::start(plan).await;
            back.until_ready().await;
            nodes.push(back);
        }
    }
    for name in ["node1", "node2"] {
        assert!(served_by.iter().any(|node| node == name), "{served_by:?}");
    }
    println!("{} kept over {served_by:?}", visitor.id());
}

#[tokio::test]
#[ignore = "needs apache2"]
async fn route_makes_apache_stick_while_the_node_lives() {
    let mut nodes = start_all(routed_plans()).await;
    let apache = Apache::start("sticky", http_of(&nodes), &["STICKY"]).await;
    let mut visitors: Vec<_> = (0..4).map(|_| Visitor::new()).collect();
    let mut homes = BTreeSet::new();
    for visitor in &mut visitors {
        let home = node_of(&visitor.hit(apache.http).await);
        homes.insert(home.clone());
        assert!(visitor.id().ends_with(&format!(".{home}")), "{visitor:?}");
        for _ in 0..5 {
            assert_eq!(node_of(&visitor.hit(apache.http).await), home);
        }
    }
    assert_eq!(homes.len(), 2, "new sessions are spread: {homes:?}");

    let plan = nodes.remove(0).kill().await;
    for visitor in &mut visitors {
        assert_eq!(node_of(&visitor.hit(apache.http).await), "node2");
    }

    let back = Node::start(plan).await;
    back.until_ready().await;
    for visitor in &mut visitors {
        let home = visitor.id().rsplit('.').next().expect("there is a part");
        let home = home.to_owned();
        until_served_by(&home, visitor, apache.http).await;
    }
}

#[tokio::test]
#[ignore = "needs apache2"]
async fn route_behind_a_sealed_cookie_makes_apache_stick() {
    let seals: [(&str, Seal); 2] = [
        ("signed", |layer| layer.with_signed(CookieKey::generate())),
        ("private", |layer| layer.with_private(CookieKey::generate())),
    ];
    for (kind, seal) in seals {
        let nodes = [
            start_alone("node1", seal).await,
            start_alone("node2", seal).await,
        ];
        let apache = Apache::start(kind, nodes, &["STICKY"]).await;
        let mut homes = BTreeSet::new();
        for _ in 0..4 {
            let mut browser = Browser::new();
            let first = browser.get(apache.http, "/hit").await.expect("a page");
            let (home, _) = first.text.split_once(' ').expect("a name and a count");
            for hits in 2..=6 {
                let page = browser.get(apache.http, "/hit").await.expect("a page");
                assert_eq!(page.text, format!("{home} {hits}"), "{kind}");
            }
            homes.insert(home.to_owned());
        }
        assert_eq!(homes.len(), 2, "new sessions are spread: {homes:?}");
    }
}

type Seal = fn(ClusterSessionLayer) -> ClusterSessionLayer;

/// An app without peers: a request that goes astray finds no session there.
async fn start_alone(name: &'static str, seal: Seal) -> SocketAddr {
    let config = ClusterConfig::standalone().route(name);
    let sessions = ClusterSessionLayer::new(config).insecure_for_development();
    let hit = async move |session: Session| {
        let hits = session.increment("hits", 1)?;
        Ok::<_, SessionError>(format!("{name} {hits}"))
    };
    let app = Router::new().route("/hit", get(hit)).layer(seal(sessions));
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("loopback has a free port");
    let http = listener.local_addr().expect("it is bound");
    tokio::spawn(axum::serve(listener, app).into_future());
    http
}

/// Hits until Apache has found out that the node is back.
async fn until_served_by(node: &str, visitor: &mut Visitor, http: SocketAddr) {
    for _ in 0..TRIES {
        if node_of(&visitor.hit(http).await) == node {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{node} never serves {visitor:?}");
}

fn routed_plans() -> Vec<NodePlan> {
    let mut plans = plans(&["node1", "node2"]);
    for plan in &mut plans {
        plan.flags = vec!["--route".to_owned(), plan.name.clone()];
    }
    plans
}

fn http_of(nodes: &[Node]) -> [SocketAddr; 2] {
    [nodes[0].http(), nodes[1].http()]
}

fn node_of(page: &support::browser::Page) -> String {
    page.served_by().expect("every node says so").to_owned()
}

/// Apache httpd. Dropping it stops it with all its processes.
#[derive(Debug)]
struct Apache {
    child: Child,
    http: SocketAddr,
    run_dir: PathBuf,
}

impl Apache {
    async fn start(test: &str, nodes: [SocketAddr; 2], defines: &[&str]) -> Self {
        let run_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("apache-{test}"));
        fs::create_dir_all(&run_dir).expect("the target directory can be written");
        let http = free_addr().expect("there are free ports");
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/apache/httpd.conf");

        let mut command = Command::new(httpd());
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
        let child = command.stdin(Stdio::null()).spawn().expect("it is there");
        let mut apache = Self {
            child,
            http,
            run_dir,
        };
        apache.until_it_serves().await;
        apache
    }

    async fn until_it_serves(&mut self) {
        for _ in 0..TRIES {
            if Browser::new().get(self.http, "/plain").await.is_ok() {
                return;
            }
            let exited = self.child.try_wait().expect("a child can be waited for");
            assert_eq!(exited, None, "httpd ended: {}", self.error_log());
            tokio::time::sleep(PAUSE).await;
        }
        panic!("httpd never serves: {}", self.error_log());
    }

    fn error_log(&self) -> String {
        fs::read_to_string(self.run_dir.join("error.log")).unwrap_or_default()
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        // Only the parent knows its workers: it must not be killed before it has ended them.
        send_signal(self.child.id(), Signal::Terminate);
        for _ in 0..TRIES {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(PAUSE);
        }
        eprintln!("httpd does not end: {}", self.error_log());
    }
}

fn httpd() -> PathBuf {
    const PLACES: [&str; 3] = ["/usr/sbin/apache2", "/usr/sbin/httpd", "/usr/bin/httpd"];
    let found = PLACES.iter().map(PathBuf::from).find(|path| path.exists());
    found.expect("Apache httpd is missing: run `apt-get install apache2`")
}

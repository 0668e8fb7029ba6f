//! Nodes that a file configures, and what a Tomcat's server.xml becomes, as real processes.
#![cfg(unix)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, Stdio},
};

use serde_json::Value;
use tokio::process::Command;
use tower_cluster_sessions::Configuration;

use crate::support::{
    browser::Browser,
    process::NodeProcess,
    processes::{PAUSE, TRIES, hit_counter, plans},
    visitor::Visitor,
};

#[tokio::test]
async fn nodes_that_a_file_configures_count_as_one() {
    let plans = plans(&["node1", "node2"]);
    let mut nodes = Vec::new();
    for plan in &plans {
        let secret = plan.secret.as_ref().expect("one for both");
        let text = format!(
            "node = \"{}\"\nlisten = \"{}\"\npeers = [\"{}\"]\nmin_peers = 1\n\
             secrets = [{{ file = '{}' }}]\n\
             [layer.cookie]\nname = \"counter\"\ninsecure_for_development = true\n",
            plan.name,
            plan.listen,
            plan.peers[0],
            secret.path().display(),
        );
        let file = TextFile::new(&format!("{}.toml", plan.name), &text);
        let mut command = Command::new(hit_counter());
        command
            .args(["node", "--drain", "0", "--http", &plan.http.to_string()])
            .arg("--config")
            .arg(&file.0)
            .stderr(Stdio::null());
        let started = NodeProcess::start(command).await;
        // It has been read by then.
        nodes.push(started.expect("the file is right"));
    }
    for node in &nodes {
        until_ready(node).await;
    }
    let mut visitor = Visitor::new();
    for _ in 0..3 {
        for node in &nodes {
            let page = visitor.hit(node.http).await;
            if visitor.hits() == 1 {
                let field = page.headers.get("set-cookie").expect("a new session");
                let field = field.to_str().expect("text");
                assert!(field.starts_with("counter="), "{field}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_server_xml_becomes_is_a_configuration_or_tells_what_it_lacks() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/server_xml");
    for (name, lacks) in [
        ("explained.xml", None),
        ("server2_cut_short.xml", None),
        // Their addresses are placeholders.
        ("server1.xml", Some("`listen`")),
        ("server2.xml", Some("`listen`")),
    ] {
        let output = Command::new(hit_counter())
            .arg("server-xml")
            .arg(folder.join(name))
            .output()
            .await
            .expect("it runs");
        assert!(output.status.success(), "{name}: {output:?}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(text.contains("# Not carried over"), "{name}: {text}");
        let file = TextFile::new(&format!("{name}.toml"), &text);
        match (Configuration::from_file(&file.0), lacks) {
            (Ok(found), None) => {
                let shown = format!("{:?}", found.cluster);
                assert!(shown.contains("tomcat"), "{name}: {shown}");
            }
            (Err(error), Some(lacks)) => {
                assert!(error.to_string().contains(lacks), "{name}: {error}");
                assert!(text.contains(lacks), "{name}: {text}");
            }
            (found, _) => panic!("{name}: {found:?}\n{text}"),
        }
    }
}

async fn until_ready(node: &NodeProcess) {
    let mut last = Value::Null;
    for _ in 0..TRIES {
        let page = Browser::new().get(node.http, "/cluster.json").await;
        let page = page.expect("a node that runs tells its state");
        last = serde_json::from_str(&page.text).expect("JSON");
        if last["ready"] == true {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("it is never ready: {last:#}");
}

/// A file that is gone when it is dropped.
struct TextFile(PathBuf);

impl TextFile {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("configured-{}-{name}", process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, text).expect("files can be written for a while");
        Self(path)
    }
}

impl Drop for TextFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}

//! Nodes with ports, names, filters and peers that are not as they should be, as real processes.
#![cfg(unix)]

mod support;

use std::{env, fs, net::TcpListener, os::unix::fs::PermissionsExt as _, process, sync::Arc};

use crate::support::{
    process::{NodePlan, StartFailure},
    processes::{Node, Refusal, hit_counter, plan, plans, start_all, state_of},
    secret::SecretFile,
    visitor::Visitor,
};

#[tokio::test]
async fn link_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("port 0 is always free");
    let listen = taken.local_addr().expect("it is bound");
    let refusal = refused(NodePlan {
        listen,
        ..plan("node1")
    })
    .await;
    assert!(refusal.log.contains(&listen.to_string()), "{refusal:?}");
}

#[tokio::test]
async fn http_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("port 0 is always free");
    let http = taken.local_addr().expect("it is bound");
    let refusal = refused(NodePlan {
        http,
        ..plan("node1")
    })
    .await;
    assert!(refusal.log.contains(&http.to_string()), "{refusal:?}");
    assert!(refusal.log.contains("--http"), "{refusal:?}");
}

#[tokio::test]
async fn bad_filter_is_shown() {
    let filter = r".*\.(gif|.*\.(js|.*\.(jpg|.*\.(png|.*\.(htm|.*\.(html|.*\.(css|.*\.(txt|;";
    let mut plan = plan("node1");
    plan.flags = vec!["--filter".to_owned(), filter.to_owned()];
    let refusal = refused(plan).await;
    assert!(refusal.log.contains(filter), "{refusal:?}");
    assert!(refusal.log.contains("unclosed group"), "{refusal:?}");
}

#[tokio::test]
async fn plaintext_beyond_this_machine_must_be_asked_for() {
    let mut plan = plan("node1");
    plan.peers = vec!["192.0.2.1:4100".parse().expect("it is an address")];
    let refusal = refused(plan).await;
    assert!(refusal.log.contains("192.0.2.1:4100"), "{refusal:?}");
    assert!(refusal.log.contains("insecure_plaintext"), "{refusal:?}");
    assert!(refusal.log.contains("openssl rand -hex 32"), "{refusal:?}");
}

#[tokio::test]
async fn plaintext_beyond_this_machine_is_warned_of_at_each_start() {
    let mut plan = plan("node1");
    plan.flags = vec!["--insecure-plaintext".to_owned()];
    for _ in 0..2 {
        let node = Node::start(plan).await;
        node.until_logged(&["WARN", "neither encrypted nor authenticated"])
            .await;
        plan = node.kill().await;
    }
}

#[tokio::test]
async fn weak_and_missing_secrets_are_named_and_not_shown() {
    let weak = env::temp_dir().join(format!("weak-{}", process::id()));
    fs::write(&weak, "correct horse").expect("files can be written for a while");
    let mut plan = plan("node1");
    plan.flags = vec!["--secret-file".to_owned(), weak.display().to_string()];
    let refusal = refused(plan.clone()).await;
    assert!(refusal.log.contains(&plan.flags[1]), "{refusal:?}");
    assert!(refusal.log.contains("openssl rand -hex 32"), "{refusal:?}");
    assert!(!refusal.log.contains("horse"), "{refusal:?}");
    fs::remove_file(&weak).expect("just written");
    let refusal = refused(plan).await;
    assert!(refusal.log.contains("cannot be read"), "{refusal:?}");
}

#[tokio::test]
async fn secret_that_others_can_read_is_warned_of_and_taken() {
    let secret = SecretFile::new().expect("files can be written for a while");
    let path = secret.path().to_owned();
    let mut plan = plan("node1");
    plan.secret = Some(Arc::new(secret));
    let node = Node::start(plan).await;
    assert!(!node.log().contains("holds a secret"), "{}", node.log());
    let plan = node.kill().await;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("it is ours");
    let node = Node::start(plan).await;
    let path = path.display().to_string();
    node.until_logged(&["WARN", &path, "mode 666", "`chmod 600`"])
        .await;
}

#[tokio::test]
async fn secret_in_a_named_pipe_is_refused_at_once() {
    let pipe = env::temp_dir().join(format!("pipe-{}", process::id()));
    let made = process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("there is `mkfifo`").success());
    let mut plan = plan("node1");
    plan.flags = vec!["--secret-file".to_owned(), pipe.display().to_string()];
    let refusal = refused(plan.clone()).await;
    fs::remove_file(&pipe).expect("just made");
    assert!(refusal.log.contains(&plan.flags[1]), "{refusal:?}");
    assert!(refusal.log.contains("not a regular file"), "{refusal:?}");
}

#[tokio::test]
async fn nodes_with_different_secrets_do_not_meet_and_both_say_why() {
    let [first, mut second] = plans(&["node1", "node2"])
        .try_into()
        .expect("two were asked for");
    let other = SecretFile::new().expect("files can be written for a while");
    second.secret = Some(Arc::new(other));
    let first = Node::start(first).await;
    let second = Node::start(second).await;
    // A balancer must not take them for two nodes of one cluster.
    for node in [&first, &second] {
        node.until_logged(&["same `secret`"]).await;
        let status = node.status().await;
        assert!(status["refused"].as_u64() > Some(0), "{status:#}");
        assert_eq!(status["ready"], false, "{status:#}");
    }
}

#[tokio::test]
async fn two_nodes_of_one_name_refuse_each_other_and_say_so() {
    let [first, mut second] = plans(&["node1", "node2"])
        .try_into()
        .expect("two were asked for");
    second.name = "node1".to_owned();
    let first = Node::start(first).await;
    let second = Node::start(second).await;
    // Each serves whom it is sent, and tells balancers to send nobody.
    for node in [&first, &second] {
        node.until_logged(&["two nodes are called `node1`"]).await;
        assert_eq!(node.status().await["ready"], false);
        Visitor::new().hit(node.http()).await;
    }
}

#[tokio::test]
async fn node_whose_peer_is_absent_is_alone_until_it_comes() {
    let [first, second] = plans(&["node1", "node2"])
        .try_into()
        .expect("two were asked for");
    let first = Node::start(first).await;
    let status = first.until_ready().await;
    assert_eq!(status["members"][0]["state"], "down", "{status:#}");
    let mut visitor = Visitor::new();
    visitor.hit(first.http()).await;

    let second = Node::start(second).await;
    second.until_ready().await;
    visitor.hit(second.http()).await;
    first.until_sees(&second, &["up"]).await;
    visitor.hit(first.http()).await;
}

#[tokio::test]
async fn one_side_that_knows_the_other_is_enough() {
    let known = plan("node1");
    let mut knowing = plan("node2");
    knowing.peers = vec![known.listen];
    let known = Node::start(known).await;
    let knowing = Node::start(knowing).await;
    known.until_sees(&knowing, &["up"]).await;
    knowing.until_sees(&known, &["up"]).await;
    knowing.until_ready().await;

    let mut visitor = Visitor::new();
    visitor.hit(known.http()).await;
    visitor.hit(knowing.http()).await;
    known.kill().await;
    visitor.hit(knowing.http()).await;
}

#[tokio::test]
async fn own_address_in_the_list_does_no_harm() {
    let mut plans = plans(&["node1", "node2"]);
    // The same list for all, as it is deployed to them.
    let all: Vec<_> = plans.iter().map(|plan| plan.listen).collect();
    for plan in &mut plans {
        plan.peers = all.clone();
    }
    let nodes = start_all(plans).await;
    let mut visitor = Visitor::new();
    for _ in 0..3 {
        for node in &nodes {
            visitor.hit(node.http()).await;
        }
    }
    for node in &nodes {
        let status = node.status().await;
        assert_eq!(state_of(&status, node.name()), None, "{status:#}");
    }
}

/// Starts a node that must fail by itself, with an error and a code.
async fn refused(plan: NodePlan) -> Refusal {
    match Node::try_start(plan).await {
        Ok(node) => panic!("it runs:\n{}", node.log()),
        Err(refusal) => {
            assert!(
                matches!(&refusal.failure, StartFailure::Exited(status) if status.code() == Some(1)),
                "{refusal:?}"
            );
            assert!(refusal.log.contains("error: "), "{refusal:?}");
            refusal
        }
    }
}

#[tokio::test]
async fn configuration_in_a_file_is_told_by_line_and_in_a_variable_by_name() {
    let file = env::temp_dir().join(format!("sessions-{}.toml", process::id()));
    let text = "node = \"node1\"\nlisten = \"127.0.0.1:0\"\nack_timeout = 250\n";
    fs::write(&file, text).expect("files can be written for a while");
    let run = |variable, value| {
        let output = process::Command::new(hit_counter())
            .args(["node", "--http", "127.0.0.1:0", "--config"])
            .arg(&file)
            .env(variable, value)
            .output()
            .expect("it runs");
        assert!(!output.status.success());
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let named = format!("{}:3: `ack_timeout`", file.display());
    let log = run("OTHER", "");
    assert!(log.contains(&named) && log.contains("\"250ms\""), "{log}");
    let log = run("SESSIONS_ACK_TIMEOUT", "soon");
    assert!(log.contains("SESSIONS_ACK_TIMEOUT: `ack_timeout`"), "{log}");
    fs::remove_file(&file).expect("just written");
}

//! Secrets that nodes share.

use std::sync::Arc;

use rustls::{
    ClientConfig, ClientConnection, NamedGroup, ServerConfig, ServerConnection,
    crypto::CryptoProvider, pki_types::ServerName,
};

use super::*;
use crate::{
    config::Security,
    node::net::tls::{Protection, Tls, identity, provider::provider},
};

fn of(secrets: &[&str]) -> LinkSecurity {
    let all = secrets.iter().copied();
    security(&all.fold(config("n"), ClusterConfig::secret))
}

#[tokio::test]
async fn nodes_that_know_the_secret_talk_and_nobody_else_understands() {
    let (dialler, listener) = (of(&[OLD]), of(&[OLD]));
    let (by_dialler, by_listener) = recorded(&dialler, &listener).await;
    for wire in [by_dialler, by_listener] {
        assert!(wire.len() > 200, "{}", wire.len());
        assert!(!wire.windows(5).any(|bytes| bytes == b"hello"));
    }
}

#[tokio::test]
async fn a_node_with_another_secret_is_refused_and_both_sides_say_so() {
    let (dialled, accepted) = meet(&of(&[OLD]), &of(&[NEW]), &[]).await;
    let dialled = dialled.err().expect("another secret").to_string();
    assert!(dialled.contains("does not know a secret"), "{dialled}");
    let accepted = accepted.err().expect("another secret").to_string();
    assert!(accepted.contains("same `secret`"), "{accepted}");
}

#[tokio::test]
async fn end_that_does_not_name_the_protocol_is_refused_by_either_end() {
    for (dialler, listener) in [
        (nameless(of(&[OLD])), of(&[OLD])),
        (of(&[OLD]), nameless(of(&[OLD]))),
    ] {
        let (dialled, accepted) = meet(&dialler, &listener, &[]).await;
        for refused in [dialled, accepted] {
            let is_named = matches!(
                refused,
                Err(HandshakeError::Secure(SecureError::OtherProtocol))
            );
            assert!(is_named, "{:?}", refused.err());
        }
    }
}

/// Takes the name of the protocol away from what a node says.
fn nameless(security: LinkSecurity) -> LinkSecurity {
    let LinkSecurity(Protection::Secret(tls)) = security else {
        unreachable!("made of a secret");
    };
    let mut client = ClientConfig::clone(tls.connector.config());
    client.alpn_protocols.clear();
    let mut server = ServerConfig::clone(&tls.server);
    server.alpn_protocols.clear();
    LinkSecurity(Protection::Secret(Tls {
        connector: Arc::new(client).into(),
        server: Arc::new(server),
    }))
}

/// The keys of a link are agreed upon by what both ends know.
#[test]
fn key_exchange_is_post_quantum_where_both_ends_can() {
    let own = || tls(&provider());
    let classical = || tls(&Arc::new(rustls::crypto::ring::default_provider()));
    let best = match cfg!(feature = "aws-lc-rs") {
        true => NamedGroup::X25519MLKEM768,
        false => NamedGroup::X25519,
    };
    assert_eq!(agreed(&own(), &own()), best);
    assert_eq!(agreed(&own(), &classical()), NamedGroup::X25519);
    assert_eq!(agreed(&classical(), &own()), NamedGroup::X25519);
}

fn tls(provider: &Arc<CryptoProvider>) -> Tls {
    let settings = config("n").secret(OLD).settings().expect("valid");
    let Security::Secrets(secrets) = &settings.security else {
        unreachable!("it has a secret");
    };
    let proof = identity::proof(secrets, "sessions").expect("a secret");
    Tls::with_provider(proof, provider).expect("valid")
}

/// By which group two ends agree upon keys.
fn agreed(dialler: &Tls, listener: &Tls) -> NamedGroup {
    let name = ServerName::try_from("node2.test").expect("a name");
    let mut client =
        ClientConnection::new(Arc::clone(dialler.connector.config()), name).expect("valid");
    let mut server = ServerConnection::new(Arc::clone(&listener.server)).expect("valid");
    while client.is_handshaking() || server.is_handshaking() {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        while client.wants_write() {
            client.write_tls(&mut one).expect("memory");
        }
        server.read_tls(&mut &*one).expect("memory");
        server.process_new_packets().expect("proven");
        while server.wants_write() {
            server.write_tls(&mut other).expect("memory");
        }
        client.read_tls(&mut &*other).expect("memory");
        client.process_new_packets().expect("proven");
    }
    let group = client.negotiated_key_exchange_group();
    group.expect("a handshake").name()
}

/// As when a secret is presented first before all nodes have it.
#[tokio::test]
async fn a_node_whose_secret_is_not_taken_is_told_so() {
    let (dialled, accepted) = meet(&of(&[NEW, OLD]), &of(&[OLD]), &[]).await;
    let dialled = dialled.err().expect("not known").to_string();
    assert!(dialled.contains("did not take"), "{dialled}");
    assert!(dialled.contains("same `secret`"), "{dialled}");
    let accepted = accepted.err().expect("not known").to_string();
    assert!(accepted.contains("does not know a secret"), "{accepted}");
}

#[tokio::test]
async fn the_same_secret_in_another_cluster_opens_nothing() {
    let other = security(&config("n").secret(OLD).cluster("other"));
    let (dialled, accepted) = meet(&of(&[OLD]), &other, &[]).await;
    assert!(matches!(
        dialled,
        Err(HandshakeError::Secure(SecureError::OtherSecret))
    ));
    assert!(accepted.is_err());
}

#[tokio::test]
async fn a_secret_is_changed_node_by_node_without_an_interruption() {
    let steps = [&[OLD][..], &[OLD, NEW], &[NEW, OLD], &[NEW]].map(of);
    for neighbours in steps.windows(2) {
        let [before, after] = neighbours else {
            unreachable!("windows of two");
        };
        talk(meet(before, after, &[]).await).await;
        talk(meet(after, before, &[]).await).await;
    }
    let (dialled, accepted) = meet(&steps[0], &steps[3], &[]).await;
    assert!(dialled.is_err() && accepted.is_err());
}

#[tokio::test]
async fn without_encryption_there_is_no_link_to_a_node_with_a_secret() {
    let with = of(&[OLD]);
    let hello = b"\0\0\0\x20\0TwCS\x01\x01\x08sessions\x02n1abcdefgh\0";
    let (refused, alert) = answer_to(hello, async |io| accept(&with, io, &[]).await).await;
    assert!(matches!(
        refused,
        Err(HandshakeError::Secure(SecureError::NotTls))
    ));
    assert!(alert.len() < 16, "{alert:?}");
    let (refused, _) = answer_to(hello, async |io| dial(&with, io).await).await;
    let text = refused.err().expect("no TLS").to_string();
    assert!(
        text.contains("not TLS") && text.contains("`secret`"),
        "{text}"
    );
}

#[tokio::test]
async fn an_unauthenticated_peer_is_read_for_four_kibibytes_at_most() {
    let node = of(&[OLD]);
    // The head of a record that holds a handshake message of 16 000 bytes, and its begin.
    let mut endless = vec![0x16, 3, 1, 0x3e, 0x80, 1, 0, 0x3e, 0x7c];
    endless.resize(100_000, 7);
    let (mut far, near) = duplex(256 * 1024);
    far.write_all(&endless).await.expect("room for it");
    let refused = accept(&node, Box::new(near), &[]).await;
    let text = refused.err().expect("too much").to_string();
    assert!(text.contains("4096 bytes"), "{text}");
}

#[tokio::test]
async fn a_replayed_handshake_proves_nothing() {
    let (dialler, listener) = (of(&[OLD]), of(&[OLD]));
    let (by_dialler, by_listener) = recorded(&dialler, &listener).await;
    let (refused, _) = answer_to(&by_dialler, async |io| accept(&listener, io, &[]).await).await;
    assert!(refused.is_err());
    let (refused, _) = answer_to(&by_listener, async |io| dial(&dialler, io).await).await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn a_reflected_handshake_proves_nothing() {
    let node = of(&[OLD]);
    // What the node says as dialler is all that comes back.
    let (far, near) = duplex(64 * 1024);
    let (mut read, mut write) = tokio::io::split(far);
    let (refused, _) = tokio::join!(
        dial(&node, Box::new(near)),
        tokio::io::copy(&mut read, &mut write),
    );
    assert!(refused.is_err());
}

#[test]
fn neither_secrets_nor_keys_are_shown() {
    let config = config("n").secret(OLD).secret(NEW);
    let shown = format!(
        "{:?} {:?} {:?}",
        config,
        config.settings().expect("valid"),
        security(&config)
    );
    assert!(shown.contains("LinkSecurity(secret)"), "{shown}");
    let shown = shown.to_lowercase();
    assert!(
        !shown.contains(&OLD[..8]) && !shown.contains(&NEW[..8]),
        "{shown}"
    );
    assert!(!shown.contains("14, 157, 63"), "{shown}");
}

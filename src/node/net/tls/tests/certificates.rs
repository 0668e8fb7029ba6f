//! Certificates in files.

use std::{
    error::Error as _,
    fs, io, iter,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};

use super::*;
use crate::node::net::tls::{Protection, certificates::Expiration, read, reload::Change};

/// A directory with the files of one node, gone when it is dropped.
pub(crate) struct Files(PathBuf);

impl Files {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let unique = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tls-{}-{unique}", std::process::id()));
        fs::create_dir(&path).expect("a writable directory");
        Self(path)
    }

    pub(crate) fn put(&self, authority: &Authority, names: &[&str]) {
        self.put_params(authority, &params(names));
    }

    /// Puts a certificate that ends so soon.
    pub(crate) fn put_for(&self, authority: &Authority, names: &[&str], time: Duration) {
        let mut params = params(names);
        let now = Duration::from_secs(now().as_secs());
        params.not_after = date_time_ymd(1970, 1, 1) + now + time;
        self.put_params(authority, &params);
    }

    fn put_params(&self, authority: &Authority, params: &CertificateParams) {
        let key = KeyPair::generate().expect("a key");
        let own = params.signed_by(&key, authority).expect("valid");
        fs::write(self.0.join("cert.pem"), own.pem()).expect("writable");
        fs::write(self.0.join("key.pem"), key.serialize_pem()).expect("writable");
        fs::write(self.0.join("ca.pem"), authority.pem()).expect("writable");
    }

    pub(crate) fn break_certificate(&self) {
        fs::write(self.0.join("cert.pem"), "half a fi").expect("writable");
    }

    fn config(&self) -> ClusterConfig {
        self.protect(config("n"))
    }

    pub(crate) fn protect(&self, config: ClusterConfig) -> ClusterConfig {
        let file = |name| self.0.join(name);
        config.tls(file("cert.pem"), file("key.pem"), file("ca.pem"))
    }

    fn refused(&self, config: &ClusterConfig, words: &[&str]) {
        let text = try_security(config).expect_err(words[0]).to_string();
        let directory = self.0.to_string_lossy();
        assert!(text.contains(&*directory), "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // Nothing depends on it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

pub(crate) fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("valid")
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params
}

fn node(authority: &Authority, name: &str) -> (Files, LinkSecurity) {
    let files = Files::new();
    files.put(authority, &[name]);
    let security = security(&files.config());
    (files, security)
}

#[tokio::test]
async fn nodes_with_certificates_for_their_names_talk() {
    let ca = authority();
    let (_one, one) = node(&ca, "node1.test");
    let (_two, two) = node(&ca, "node2.test");
    talk(meet(&one, &two, &["node3.test", "node1.test"]).await).await;
    let (_by_ip, by_ip) = node(&ca, "10.0.0.1");
    talk(meet(&by_ip, &two, &["10.0.0.1"]).await).await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_either_way() {
    let ca = authority();
    let (_one, one) = node(&ca, "node1.test");
    let (_two, two) = node(&ca, "node2.test");
    let (dialled, accepted) = meet(&one, &one, &["node1.test"]).await;
    let text = dialled.err().expect("dialled as node2.test").to_string();
    assert!(
        text.contains("node2.test") && text.contains("`peer`"),
        "{text}"
    );
    assert!(accepted.is_err());
    let (dialled, accepted) = meet(&one, &two, &["node2.test"]).await;
    for error in [dialled.err(), accepted.err()] {
        let text = error.expect("not on the list").to_string();
        assert!(
            text.contains("`tls_name`") && text.contains("list of peers"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn one_name_for_all_nodes_is_enough() {
    let ca = authority();
    let files = Files::new();
    files.put(&ca, &["sessions.test"]);
    let shared = security(&files.config().tls_name("sessions.test"));
    talk(meet(&shared, &shared, &[]).await).await;
    let (_one, other) = node(&ca, "node1.test");
    let (_, accepted) = meet(&other, &shared, &["node1.test"]).await;
    assert!(accepted.is_err());
    files.refused(
        &files.config().tls_name("else.test"),
        &["cert.pem", "`tls_name`"],
    );
    files.refused(&files.config().tls_name("no name"), &["`tls_name`"]);
}

#[tokio::test]
async fn an_unauthenticated_peer_is_read_for_24_kibibytes_at_most_with_certificates() {
    let (_files, node) = node(&authority(), "node1.test");
    // Heads of records of 16 000 bytes, and of a handshake message of 60 000.
    let mut endless = vec![0x16, 3, 1, 0x3e, 0x80, 1, 0, 0xea, 0x60];
    endless.resize(16_005, 0);
    let endless = endless.repeat(8);
    let (mut far, near) = duplex(256 * 1024);
    far.write_all(&endless).await.expect("room for it");
    let refused = accept(&node, Box::new(near), &[]).await;
    let text = refused.err().expect("too much").to_string();
    assert!(text.contains("24576 bytes"), "{text}");
}

#[tokio::test]
async fn another_authority_is_refused() {
    let (_one, one) = node(&authority(), "node1.test");
    let (_two, two) = node(&authority(), "node2.test");
    let (dialled, accepted) = meet(&one, &two, &["node1.test"]).await;
    assert!(dialled.is_err() && accepted.is_err());
}

#[tokio::test]
async fn a_node_with_a_secret_and_one_with_certificates_refuse_each_other() {
    let (_one, one) = node(&authority(), "node2.test");
    let with_secret = security(&config("n").secret(OLD));
    for (dialler, listener) in [(&one, &with_secret), (&with_secret, &one)] {
        let (dialled, accepted) = meet(dialler, listener, &["node1.test"]).await;
        let text = format!(
            "{} {}",
            dialled.err().expect("a"),
            accepted.err().expect("b")
        );
        assert!(
            text.contains("`secret`") && text.contains("`tls`"),
            "{text}"
        );
    }
}

#[test]
fn files_that_cannot_be_used_are_named_at_start() {
    let (ca, other) = (authority(), authority());
    let files = Files::new();
    let config = files.config();
    files.refused(&config, &["cert.pem", "cannot be read"]);
    let error = try_security(&config).expect_err("there is no file");
    let causes = iter::successors(error.source(), |&cause| cause.source());
    assert!(causes.last().is_some_and(|cause| cause.is::<io::Error>()));
    files.put(&ca, &["node1.test"]);
    assert!(try_security(&config).is_ok());
    let write = |name, text: &str| fs::write(files.0.join(name), text).expect("writable");
    write("ca.pem", &other.pem());
    files.refused(&config, &["cert.pem", "authority"]);
    write("ca.pem", "");
    files.refused(&config, &["ca.pem", "no certificate"]);
    write("ca.pem", &ca.pem());
    write(
        "key.pem",
        &KeyPair::generate().expect("a key").serialize_pem(),
    );
    files.refused(&config, &["key.pem", "not the key"]);
    write("key.pem", "-----BEGIN");
    files.refused(&config, &["key.pem", "no private key"]);
    let mut servers = params(&["node1.test"]);
    servers.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    files.put_params(&ca, &servers);
    files.refused(&config, &["cert.pem", "both server and client"]);
    let mut old = params(&["node1.test"]);
    old.not_after = date_time_ymd(2020, 1, 1);
    files.put_params(&ca, &old);
    files.refused(&config, &["cert.pem", "has expired"]);
}

#[tokio::test]
async fn changed_files_are_taken_in_and_unusable_ones_are_not() {
    let (old, new) = (authority(), authority());
    let (files, one) = node(&old, "node1.test");
    let (_two, two) = node(&new, "node2.test");
    assert_eq!(one.reload(now()).expect("unchanged"), None);
    files.put(&old, &["node1.test"]);
    assert_eq!(one.reload(now()).expect("valid"), Some(Change::Own));
    files.put(&new, &["node1.test"]);
    assert_eq!(one.reload(now()).expect("valid"), Some(Change::Authorities));
    talk(meet(&one, &two, &["node1.test"]).await).await;
    files.break_certificate();
    assert!(one.reload(now()).is_err());
    talk(meet(&one, &two, &["node1.test"]).await).await;
}

#[test]
fn a_certificate_near_its_end_is_noticed() {
    let files = Files::new();
    let mut ends = params(&["node1.test"]);
    ends.not_after = date_time_ymd(2090, 1, 1);
    files.put_params(&authority(), &ends);
    let security = security(&files.config());
    let Protection::Certificates { current, .. } = &security.0 else {
        panic!("made of certificates");
    };
    let expiration = |before: u64| {
        let then = UnixTime::since_unix_epoch(Duration::from_secs(END - before));
        read(current).expiration(then)
    };
    for days in 0..14 {
        assert_eq!(expiration(days * DAY + 1), Expiration::Near { days });
    }
    assert_eq!(
        (expiration(14 * DAY + 1), expiration(100 * DAY)),
        (Expiration::Far, Expiration::Far)
    );
    let later = UnixTime::since_unix_epoch(Duration::from_secs(END + 1));
    assert_eq!(read(current).expiration(later), Expiration::Over);
}

/// The first second of 2090.
const END: u64 = 3_786_912_000;
const DAY: u64 = 24 * 60 * 60;

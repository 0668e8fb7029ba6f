//! What a stranger at the port of the links can make a node keep in memory: 64 KiB at most.
//!
//! The stranger is a process of its own, this program again, so that what is counted here is the
//! node's. Therefore it has a `main` of its own, too.

use std::{env, fs, io, net::SocketAddr, path::PathBuf, process, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    version::TLS13,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsConnector;
use tower_cluster_sessions::{ClusterConfig, internals::Door};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [role, door, files] = arguments.as_slice()
        && role == "stranger"
    {
        let door = door.parse().expect("an address");
        return stranger(door, &Files(files.into())).await;
    }
    // What test runners ask for.
    let is_given = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if is_given("--ignored") {
        return;
    }
    if is_given("--list") {
        return println!("an_unauthenticated_peer_costs_64_kibibytes_at_most: test");
    }
    println!("running 1 test");
    an_unauthenticated_peer_costs_64_kibibytes_at_most().await;
    println!("test an_unauthenticated_peer_costs_64_kibibytes_at_most ... ok");
    println!("\ntest result: ok. 1 passed; 0 failed");
}

async fn an_unauthenticated_peer_costs_64_kibibytes_at_most() {
    let files = Files::new();
    let _profiler = dhat::Profiler::builder().testing().build();
    let secret = "0e9d3fbd27f2b1f9a0f1c4677d9a1e5b88c6c1a25ddf7a4c903bfe6f2240d7e3";
    let knowing = ClusterConfig::standalone().secret(secret);
    let certified = ClusterConfig::new("node")
        .listen("127.0.0.1:0")
        .tls(
            files.path("node.crt"),
            files.path("node.key"),
            files.path("ca.crt"),
        )
        .tls_name("node.test");
    for (name, config) in [("a secret", knowing), ("certificates", certified)] {
        let cost = cost(&config, &files).await;
        println!("a stranger to a node with {name} costs {cost} bytes");
        assert!(cost <= BOUND, "{cost}");
    }
    fs::remove_dir_all(&files.0).expect("made above");
}

/// The most memory that a node has used at a time for one stranger.
async fn cost(config: &ClusterConfig, files: &Files) -> usize {
    let door = Door::new(config).expect("valid");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("free");
    let address = listener.local_addr().expect("bound").to_string();
    let mut stranger = process::Command::new(env::current_exe().expect("it runs"))
        .args(["stranger", &address])
        .arg(&files.0)
        .spawn()
        .expect("it can be run again");
    let (stream, _) = listener.accept().await.expect("the stranger comes");
    let before = dhat::HeapStats::get();
    let error = door.accept(stream).await.err().expect("a stranger");
    let after = dhat::HeapStats::get();
    println!("{error}");
    let status = stranger.wait().expect("a child");
    assert!(status.success(), "{status}");
    after.max_bytes.saturating_sub(before.curr_bytes)
}

/// Goes as far as it can with what it has: a certificate that is as long as it may be, of an
/// authority that nobody knows.
async fn stranger(door: SocketAddr, files: &Files) {
    let read = |name| fs::read(files.path(name)).expect("the other process made it");
    let chain = CertificateDer::pem_slice_iter(&read("stranger.crt"))
        .collect::<Result<Vec<_>, _>>()
        .expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(&read("stranger.key")).expect("PEM");
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(&read("ca.crt")) {
        roots.add(root.expect("PEM")).expect("an authority");
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("ring speaks it")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .expect("they belong together");
    config.alpn_protocols = vec![b"tower-cluster-sessions".to_vec()];
    let name = ServerName::try_from("node.test").expect("a name");
    let stream = TcpStream::connect(door).await.expect("it listens");
    // The listener ends it: at once where it wants no certificates, or when it has read this one.
    let connected = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await;
    let outcome: io::Result<()> = async {
        let mut stream = connected?;
        stream.write_all(&[0; 64]).await?;
        stream.read_u8().await?;
        Ok(())
    }
    .await;
    outcome.expect_err("no node lets it in");
}

/// A directory with certificates: of a node, of its authority, and of the stranger.
struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        let files = Self(env::temp_dir().join(format!("door-{}", process::id())));
        fs::create_dir(&files.0).expect("a writable directory");
        let (ours, theirs) = (authority(), authority());
        files.put("ca.crt", &ours.pem());
        files.issue(&ours, "node", vec!["node.test".to_owned()]);
        // What is sent is about 23 KiB, and so within what is read.
        let names = (0..960).map(|n| format!("stranger-{n:04}.example"));
        files.issue(&theirs, "stranger", names.collect());
        files
    }

    fn issue(&self, authority: &Authority, name: &str, names: Vec<String>) {
        let mut params = CertificateParams::new(names).expect("names");
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, authority).expect("valid");
        println!("{name}: {} bytes", certificate.der().len());
        self.put(&format!("{name}.crt"), &certificate.pem());
        self.put(&format!("{name}.key"), &key.serialize_pem());
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a writable directory");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("valid")
}

const BOUND: usize = 64 * 1024;

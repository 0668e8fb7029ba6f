//! The example against a stand-in for the API of Kubernetes, which speaks HTTPS and asks for the token.

use std::{
    convert::Infallible,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kubernetes_discovery::EndpointSlices;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tower_cluster_sessions::{Cluster, ClusterConfig, Discovery as _, MemberState};

/// What the stand-in knows and is told.
#[derive(Debug)]
struct Known {
    token: String,
    answer: (StatusCode, Value),
    asked: Vec<String>,
}

struct Api {
    address: SocketAddr,
    account: Account,
    known: Arc<Mutex<Known>>,
}

impl Api {
    async fn start(name: &str) -> Self {
        let account = Account::new(name);
        let known = Known {
            token: "first".to_owned(),
            answer: (StatusCode::OK, slices(&[])),
            asked: Vec::new(),
        };
        let known = Arc::new(Mutex::new(known));
        account.write("token", "first\n");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(serve(listener, account.issue(), Arc::clone(&known)));
        Self {
            address,
            account,
            known,
        }
    }

    fn set(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn discovery(&self) -> EndpointSlices {
        let port = self.address.port();
        let found = EndpointSlices::at("127.0.0.1", port, &self.account.0, "counter", "links");
        found
            .expect("the files are there")
            .every(Duration::from_millis(10))
    }
}

/// The files of a service account, and the authority of its API.
struct Account(PathBuf);

impl Account {
    fn new(name: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("it stays: {error}"),
            _ => fs::create_dir_all(&directory).expect("the directory can be written"),
        }
        let account = Self(directory);
        account.write("namespace", "shop");
        account
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).expect("it can be written");
    }

    /// Makes an authority, which it trusts, and a certificate by it.
    fn issue(&self) -> TlsAcceptor {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("randomness");
        let authority = CertifiedIssuer::self_signed(params, key).expect("a key");
        self.write("ca.crt", &authority.pem());
        let key = KeyPair::generate().expect("randomness");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
        let certificate = params.signed_by(&key, &authority).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("of the provider")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("they belong together");
        TlsAcceptor::from(Arc::new(config))
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, known: Arc<Mutex<Known>>) {
    loop {
        let (stream, _) = listener.accept().await.expect("it listens");
        // Who trusts another authority goes away.
        let Ok(stream) = tls.accept(stream).await else {
            continue;
        };
        let known = Arc::clone(&known);
        let answer = service_fn(move |request| {
            let answer = answer(&request, &known);
            async { Ok::<_, Infallible>(answer) }
        });
        let served = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
        // The client closes as it likes.
        let _ = served.await;
    }
}

fn answer(request: &Request<Incoming>, known: &Mutex<Known>) -> Response<Full<Bytes>> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    known.asked.push(request.uri().to_string());
    let token = format!("Bearer {}", known.token);
    let is_known = request
        .headers()
        .get(AUTHORIZATION)
        .is_some_and(|given| *given == token);
    let (status, body) = match is_known {
        true => known.answer.clone(),
        false => (StatusCode::UNAUTHORIZED, json!({"kind": "Status"})),
    };
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    response
}

/// A slice for each pod, with its port; none of them is ready.
fn slices(pods: &[SocketAddr]) -> Value {
    let slice = |pod: &SocketAddr| {
        json!({
            "metadata": {"name": "counter-x", "labels": {"kubernetes.io/service-name": "counter"}},
            "addressType": if pod.is_ipv4() { "IPv4" } else { "IPv6" },
            "endpoints": [{
                "addresses": [pod.ip().to_string()],
                "conditions": {"ready": false, "serving": false, "terminating": false},
                "targetRef": {"kind": "Pod", "name": "counter-x"},
            }],
            "ports": [
                {"name": "http", "port": 8080, "protocol": "TCP"},
                {"name": "links", "port": pod.port(), "protocol": "TCP"},
            ],
        })
    };
    json!({
        "kind": "EndpointSliceList",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"resourceVersion": "1"},
        "items": pods.iter().map(slice).collect::<Vec<_>>(),
    })
}

#[tokio::test]
async fn pods_of_all_slices_are_found_ready_or_not_at_the_port_of_the_name() {
    let api = Api::start("slices").await;
    let pods = ["10.1.2.3:4100", "[fd00::3]:4101"].map(|pod| pod.parse().expect("valid"));
    let mut answer = slices(&pods);
    let items = answer["items"].as_array_mut().expect("a list");
    items.push(json!({"addressType": "IPv4", "endpoints": null, "ports": null}));
    items.push(json!({
        "addressType": "FQDN",
        "endpoints": [{"addresses": ["elsewhere.example"]}],
        "ports": [{"name": "links", "port": 4100}],
    }));
    api.set(|known| known.answer.1 = answer);
    let mut discovery = api.discovery();
    assert_eq!(discovery.next().await.expect("an answer"), pods);
    let asked = api.known.lock().expect("no test failed").asked.clone();
    assert_eq!(
        asked,
        ["/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices\
          ?labelSelector=kubernetes.io%2Fservice-name%3Dcounter"]
    );
}

#[tokio::test]
async fn token_that_is_renewed_is_read_again() {
    let api = Api::start("renewed").await;
    let mut discovery = api.discovery();
    assert!(discovery.next().await.expect("an answer").is_empty());
    api.set(|known| known.token = "second".to_owned());
    let error = discovery.next().await.expect_err("the old one").to_string();
    assert!(error.contains("401"), "{error}");
    api.account.write("token", "second");
    assert!(discovery.next().await.expect("an answer").is_empty());
}

#[tokio::test]
async fn what_is_not_the_api_or_no_answer_is_an_error() {
    let api = Api::start("errors").await;
    let mut discovery = api.discovery();
    for (status, body) in [
        (StatusCode::FORBIDDEN, json!({"kind": "Status"})),
        (StatusCode::OK, json!({"kind": "Status"})),
    ] {
        api.set(|known| known.answer = (status, body));
        assert!(discovery.next().await.is_err());
    }
    // Another authority.
    api.account.issue();
    let error = api.discovery().next().await.expect_err("a stranger");
    assert!(error.to_string().contains("certificate"), "{error}");
    for service in ["", "a/b", "a%2f"] {
        let port = api.address.port();
        assert!(EndpointSlices::at("127.0.0.1", port, &api.account.0, service, "links").is_err());
    }
}

#[tokio::test]
async fn nodes_find_each_other_by_the_api() {
    let api = Api::start("nodes").await;
    let start = async |name: &str| {
        let config = ClusterConfig::new(name).listen("127.0.0.1:0").min_peers(1);
        let cluster = Cluster::start(config.discover_with(api.discovery())).await;
        cluster.expect("a free port")
    };
    let nodes = [start("n1").await, start("n2").await, start("n3").await];
    let pods = nodes
        .each_ref()
        .map(|node| node.local_address().expect("it listens"));
    api.set(|known| known.answer.1 = slices(&pods));
    for node in &nodes {
        let is_linked = || {
            let members = node.members();
            members.len() == 2 && members.iter().all(|member| member.state == MemberState::Up)
        };
        let mut tries = 0;
        while !(is_linked() && node.is_ready()) {
            assert!(tries < 3_000, "{:?}", node.members());
            tries += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

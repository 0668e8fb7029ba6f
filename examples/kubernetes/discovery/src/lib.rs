//! Nodes by the API of Kubernetes, as an example of a [`Discovery`]: the endpoint slices of a service
//! say which pods there are, also those that are not ready yet.
//!
//! A pod needs the right to list them: see `rbac.yaml` beside this package. Where the headless service
//! does, as in `counter.yaml`, `discover("dns:..")` needs no code and no rights. The API tells of a new
//! pod sooner than a name server that caches.

use std::{
    env,
    error::Error,
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{
    Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, HOST},
};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde::Deserialize;
use tokio::{fs, net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tower_cluster_sessions::Discovery;

type BoxError = Box<dyn Error + Send + Sync>;

/// The endpoint slices of a service, asked for every five seconds.
pub struct EndpointSlices {
    api: Api,
    /// The path of the question.
    path: String,
    /// The name of the port at which pods listen for links.
    port: String,
    interval: Duration,
    is_first: bool,
}

/// Where the API is, and by what a pod and it know each other.
struct Api {
    host: String,
    port: u16,
    tls: TlsConnector,
    token: PathBuf,
}

impl EndpointSlices {
    /// Returns those of a service in the pod's own namespace, by what Kubernetes puts into each pod.
    /// `port` is the name of the service's port for links.
    ///
    /// # Errors
    ///
    /// When this is no pod, or one without the files of a service account.
    pub fn in_pod(service: &str, port: &str) -> Result<Self, BoxError> {
        let host = variable("KUBERNETES_SERVICE_HOST")?;
        let api_port = variable("KUBERNETES_SERVICE_PORT")?.parse()?;
        Self::at(&host, api_port, Path::new(ACCOUNT), service, port)
    }

    /// Returns those of a service, by an API elsewhere. `account` is a directory with the files
    /// `token`, `ca.crt` and `namespace`.
    ///
    /// # Errors
    ///
    /// When a file cannot be used.
    pub fn at(
        host: &str,
        api_port: u16,
        account: &Path,
        service: &str,
        port: &str,
    ) -> Result<Self, BoxError> {
        let namespace = std::fs::read_to_string(account.join("namespace"))?;
        let namespace = namespace.trim();
        for name in [namespace, service] {
            // They become a part of a path, and Kubernetes allows no more.
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
            if name.is_empty() || !name.bytes().all(is_name) {
                return Err(format!("{name:?} is no name of Kubernetes").into());
            }
        }
        Ok(Self {
            api: Api {
                host: host.to_owned(),
                port: api_port,
                tls: connector(&account.join("ca.crt"))?,
                token: account.join("token"),
            },
            path: format!(
                "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices\
                 ?labelSelector=kubernetes.io%2Fservice-name%3D{service}"
            ),
            port: port.to_owned(),
            interval: Duration::from_secs(5),
            is_first: true,
        })
    }

    /// Sets how often the API is asked.
    #[must_use]
    pub const fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }
}

impl Discovery for EndpointSlices {
    async fn next(&mut self) -> Result<Vec<SocketAddr>, BoxError> {
        if !std::mem::take(&mut self.is_first) {
            tokio::time::sleep(self.interval).await;
        }
        let answer = timeout(PATIENCE, self.api.get(&self.path)).await;
        let answer = answer.map_err(|_| "the API did not answer in time")??;
        let slices: SliceList = serde_json::from_slice(&answer)?;
        Ok(slices.addresses(&self.port))
    }
}

impl fmt::Debug for EndpointSlices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointSlices")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Api {
    async fn get(&self, path: &str) -> Result<Bytes, BoxError> {
        // It is renewed every hour or so.
        let token = fs::read_to_string(&self.token).await?;
        let stream = TcpStream::connect((&*self.host, self.port)).await?;
        let name = ServerName::try_from(self.host.clone())?;
        let stream = self.tls.connect(name, stream).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get(path)
            .header(HOST, &self.host)
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, format!("Bearer {}", token.trim()))
            .body(Empty::<Bytes>::new())?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            if status != StatusCode::OK {
                return Err(format!("the API answers {status} to {path}").into());
            }
            let body = Limited::new(response.into_body(), MOST_BYTES);
            Ok(body.collect().await?.to_bytes())
        };
        tokio::select! {
            answer = exchange => answer,
            // It ends by itself only when there is no answer to come.
            Err(error) = connection => Err(error.into()),
        }
    }
}

/// What the API answers, as far as it matters here.
#[derive(Debug, Deserialize)]
struct SliceList {
    items: Vec<Slice>,
}

#[derive(Debug, Deserialize)]
struct Slice {
    /// Absent in a slice without pods.
    #[serde(default)]
    endpoints: Option<Vec<Endpoint>>,
    #[serde(default)]
    ports: Option<Vec<Port>>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    addresses: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Port {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    port: Option<u16>,
}

impl SliceList {
    /// Returns the addresses of all pods, ready or not: nodes find each other before they are.
    fn addresses(&self, port: &str) -> Vec<SocketAddr> {
        let mut found = Vec::new();
        for slice in &self.items {
            let ports = slice.ports.iter().flatten();
            let port = ports
                .filter(|candidate| candidate.name.as_deref() == Some(port))
                .find_map(|candidate| candidate.port);
            let Some(port) = port else {
                continue;
            };
            for endpoint in slice.endpoints.iter().flatten() {
                // Those of a slice of names are none.
                let ips = endpoint.addresses.iter();
                let ips = ips.filter_map(|address| address.parse::<IpAddr>().ok());
                found.extend(ips.map(|ip| SocketAddr::new(ip, port)));
            }
        }
        found
    }
}

fn variable(name: &str) -> Result<String, BoxError> {
    env::var(name).map_err(|error| format!("{name}, which each pod has: {error}").into())
}

fn connector(authority: &Path) -> Result<TlsConnector, BoxError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Where each pod has the files of its service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const PATIENCE: Duration = Duration::from_secs(5);
/// A pod takes about a kibibyte.
const MOST_BYTES: usize = 8 << 20;

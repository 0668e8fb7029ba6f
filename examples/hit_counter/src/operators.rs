//! Who may see the page for operators.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{
        StatusCode, Uri,
        header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE},
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use subtle::ConstantTimeEq as _;
use tower_cluster_sessions::{Cluster, StatusPage};

/// How operators are known.
#[derive(Clone, Debug)]
pub(crate) enum Operators {
    /// By a password, whatever name goes with it.
    Password(Arc<str>),
    /// By sitting at this machine.
    Local,
    /// Not at all, so there is no page.
    Nobody,
}

impl Operators {
    /// Reads the password, if there is one. Without it only a node that listens on loopback has the
    /// page.
    pub(crate) fn new(password: Option<&Path>, http: SocketAddr) -> io::Result<Self> {
        let Some(file) = password else {
            return Ok(match http.ip().is_loopback() {
                true => Self::Local,
                false => Self::Nobody,
            });
        };
        let text = fs::read_to_string(file)?;
        let password = text.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} holds no password", file.display()),
            ));
        }
        Ok(Self::Password(password.into()))
    }

    /// The page at `/status`, for those alone.
    pub(crate) fn routes<S>(self, cluster: &Cluster) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        if let Self::Nobody = self {
            return Router::new();
        }
        let page = StatusPage::new(cluster).router();
        let page = page.layer(from_fn_with_state(self, let_in));
        Router::new().nest("/status", page)
    }

    fn know(&self, request: &Request) -> bool {
        match self {
            Self::Password(password) => presented(request)
                .is_some_and(|other| other.as_bytes().ct_eq(password.as_bytes()).into()),
            // Not by a name of somebody else's that leads here: his pages could read the answer.
            Self::Local => is_local(request),
            Self::Nobody => false,
        }
    }
}

async fn let_in(State(operators): State<Operators>, request: Request, next: Next) -> Response {
    if operators.know(&request) {
        return next.run(request).await;
    }
    match operators {
        Operators::Password(_) => {
            let challenge = [(
                WWW_AUTHENTICATE,
                "Basic realm=\"status\", charset=\"UTF-8\"",
            )];
            (StatusCode::UNAUTHORIZED, challenge, "operators only\n").into_response()
        }
        Operators::Local | Operators::Nobody => {
            (StatusCode::FORBIDDEN, "ask for localhost\n").into_response()
        }
    }
}

/// Returns the password that a request presents.
fn presented(request: &Request) -> Option<String> {
    let field = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, pair) = field.split_once(' ')?;
    let pair = STANDARD.decode(pair.trim()).ok()?;
    let pair = String::from_utf8(pair).ok()?;
    let (_, password) = pair.split_once(':')?;
    scheme
        .eq_ignore_ascii_case("basic")
        .then(|| password.to_owned())
}

fn is_local(request: &Request) -> bool {
    let field = request.headers().get(HOST);
    let host = field.and_then(|field| field.to_str().ok()?.parse::<Uri>().ok());
    let host = host.or_else(|| Some(request.uri().clone()));
    let Some(host) = host.as_ref().and_then(Uri::host) else {
        return false;
    };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |ip: IpAddr| ip.is_loopback();
    host.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(is_loopback)
}

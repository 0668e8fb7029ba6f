//! The network of the operating system.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener, ToSocketAddrs as _},
    ops::RangeInclusive,
    time::Duration,
};

use futures_core::future::BoxFuture;
use tokio::{
    net::{TcpListener, TcpStream, lookup_host},
    runtime::Handle,
    time::{sleep, timeout},
};

use super::{Acceptor, BoxIo, Transport};
use crate::config::{ListenAddress, PeerAddress, StartError};

/// Plain TCP.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TcpTransport;

impl Transport for TcpTransport {
    fn bind(&self, listen: &ListenAddress) -> Result<Box<dyn Acceptor>, StartError> {
        if Handle::try_current().is_err() {
            return Err(StartError::NoRuntime);
        }
        match bind_first_free(listen).and_then(TcpAcceptor::new) {
            Ok(acceptor) => Ok(Box::new(acceptor)),
            Err(source) => Err(StartError::Bind {
                address: described(listen),
                source,
            }),
        }
    }

    fn resolve<'a>(&'a self, peer: &'a PeerAddress) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            let found = timeout(LOOKUP_TIMEOUT, lookup_host((&*peer.host, peer.port)))
                .await
                .map_err(|_| timed_out("the name server did not answer in time"))??;
            Ok(found.collect())
        })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<BoxIo>> {
        Box::pin(async move {
            let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address))
                .await
                .map_err(|_| timed_out("the address did not answer within 1 s"))??;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxIo)
        })
    }
}

fn timed_out(text: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, text)
}

/// Binds the first port that is free, as Tomcat's `autoBind` does: only a port in use leads on to the
/// next one.
fn bind_first_free(listen: &ListenAddress) -> io::Result<StdListener> {
    let mut outcome = Err(io::ErrorKind::AddrInUse.into());
    for port in ports(listen) {
        outcome = bind_port(&listen.host, port);
        match &outcome {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            _ => break,
        }
    }
    outcome
}

fn ports(listen: &ListenAddress) -> RangeInclusive<u16> {
    let further = listen.auto_bind.saturating_sub(1);
    listen.port..=listen.port.saturating_add(further)
}

/// Binds the first address of a host that can be bound. Asking a name server blocks, but this
/// happens once, at start, before there is anything to hold up.
fn bind_port(host: &str, port: u16) -> io::Result<StdListener> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match StdListener::bind(address) {
            Ok(listener) => return Ok(listener),
            // `localhost` may have an IPv6 address that this machine does not use; that the port
            // is in use on the other one tells more.
            Err(_) if failure.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn described(listen: &ListenAddress) -> String {
    match *ports(listen).end() {
        last if last > listen.port => format!("{listen} to {last}"),
        _ => listen.to_string(),
    }
}

#[derive(Debug)]
struct TcpAcceptor {
    listener: TcpListener,
    local: SocketAddr,
}

impl TcpAcceptor {
    /// Takes a bound socket. Call it within a runtime.
    fn new(listener: StdListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let local = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        Ok(Self { listener, local })
    }
}

impl Acceptor for TcpAcceptor {
    fn local_address(&self) -> SocketAddr {
        self.local
    }

    fn accept(&mut self) -> BoxFuture<'_, (BoxIo, SocketAddr)> {
        Box::pin(async move {
            loop {
                let error = match self.listener.accept().await {
                    Ok((stream, peer)) => match stream.set_nodelay(true) {
                        Ok(()) => return (Box::new(stream) as BoxIo, canonical(peer)),
                        // The peer is gone already.
                        Err(_) => continue,
                    },
                    Err(error) => error,
                };
                if concerns_one_connection(&error) {
                    continue;
                }
                crate::log::warn!(
                    address = %self.local,
                    %error,
                    "cannot accept peers; trying again in {} ms",
                    ACCEPT_PAUSE.as_millis(),
                );
                sleep(ACCEPT_PAUSE).await;
            }
        })
    }
}

/// Unwraps an IPv4 address. A listener on `[::]` sees IPv4 peers as IPv6 addresses, under which no
/// list names them.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Returns whether the next `accept` may work at once. Otherwise the process is out of descriptors
/// or memory, and only time helps.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A second more than resolvers commonly give a dead name server before they ask the next.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(6);
/// Between two attempts to accept when the process is out of resources.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn listen_on(address: &str, auto_bind: u16) -> ListenAddress {
        ListenAddress::parse(address, auto_bind).expect("valid")
    }

    fn local(port: u16) -> PeerAddress {
        PeerAddress {
            host: "127.0.0.1".to_owned(),
            port,
        }
    }

    /// Dials all addresses of a peer, one of which must be that of the acceptor.
    async fn dial(peer: &PeerAddress) -> Option<BoxIo> {
        let mut dialled = None;
        for address in TcpTransport.resolve(peer).await.expect("it has one") {
            assert_eq!(address.port(), peer.port);
            dialled = dialled.or(TcpTransport.connect(address).await.ok());
        }
        dialled
    }

    async fn meets(acceptor: &mut dyn Acceptor, peer: &PeerAddress) -> SocketAddr {
        let (dialled, accepted) = tokio::join!(dial(peer), acceptor.accept());
        let mut out = dialled.expect("somebody listens");
        let (mut inward, from) = accepted;
        out.write_all(b"x").await.expect("open");
        assert_eq!(inward.read_u8().await.expect("open"), b'x');
        from
    }

    #[tokio::test]
    async fn nodes_meet_at_ips_and_names() {
        let mut acceptor = TcpTransport
            .bind(&listen_on("127.0.0.1:0", 0))
            .expect("a free port");
        let port = acceptor.local_address().port();
        meets(&mut *acceptor, &local(port)).await;
        let name: PeerAddress = format!("localhost:{port}").parse().expect("valid");
        meets(&mut *acceptor, &name).await;
        let mut acceptor = TcpTransport
            .bind(&listen_on("localhost:0", 0))
            .expect("a free port");
        let port = acceptor.local_address().port();
        let name: PeerAddress = format!("localhost:{port}").parse().expect("valid");
        meets(&mut *acceptor, &name).await;
    }

    #[tokio::test]
    async fn an_ipv4_peer_of_an_ipv6_listener_is_seen_as_ipv4() {
        let Ok(mut acceptor) = TcpTransport.bind(&listen_on("[::]:0", 0)) else {
            return; // a machine without IPv6
        };
        let port = acceptor.local_address().port();
        let from = meets(&mut *acceptor, &local(port)).await;
        assert!(from.is_ipv4(), "{from}");
        let v6: PeerAddress = format!("[::1]:{port}").parse().expect("valid");
        assert!(meets(&mut *acceptor, &v6).await.is_ipv6());
    }

    #[tokio::test]
    async fn a_port_in_use_is_an_error_with_advice_or_leads_to_the_next() {
        let first = TcpTransport
            .bind(&listen_on("127.0.0.1:0", 0))
            .expect("a free port");
        let taken = first.local_address();
        let error = TcpTransport
            .bind(&listen_on(&taken.to_string(), 0))
            .err()
            .expect("in use");
        let text = error.to_string();
        assert!(text.contains(&taken.to_string()), "{text}");
        assert!(text.contains("in use"), "{text}");
        assert!(text.contains("`auto_bind`"), "{text}");
        assert!(error.source().is_some());
        // Another process may take some of these, hardly all.
        let wide = listen_on(&taken.to_string(), 200);
        match TcpTransport.bind(&wide) {
            Ok(second) => assert!(second.local_address().port() > taken.port()),
            Err(error) => assert!(taken.port() > u16::MAX - 200, "{error}"),
        }
    }

    #[test]
    fn auto_bind_ends_at_the_last_port() {
        assert_eq!(described(&listen_on("[::1]:4100", 0)), "[::1]:4100");
        assert_eq!(
            described(&listen_on("[::1]:4100", 10)),
            "[::1]:4100 to 4109"
        );
        assert_eq!(described(&listen_on("h:65530", 100)), "h:65530 to 65535");
        assert_eq!(ports(&listen_on("h:65530", 100)), 65530..=65535);
        assert_eq!(ports(&listen_on("h:65530", 2)), 65530..=65531);
    }

    #[tokio::test]
    async fn foreign_addresses_are_errors_with_advice() {
        // 192.0.2.0/24 is for documentation, no machine has it.
        let error = TcpTransport
            .bind(&listen_on("192.0.2.1:0", 5))
            .err()
            .expect("no such address");
        assert!(error.to_string().contains("one of its own"), "{error}");
    }

    #[test]
    fn binding_outside_a_runtime_is_an_error_with_advice() {
        let error = TcpTransport
            .bind(&listen_on("127.0.0.1:0", 0))
            .err()
            .expect("no runtime");
        assert!(matches!(error, StartError::NoRuntime));
        assert!(error.to_string().contains("tokio"), "{error}");
    }

    #[tokio::test]
    async fn dialling_nobody_fails() {
        let acceptor = TcpTransport
            .bind(&listen_on("127.0.0.1:0", 0))
            .expect("a free port");
        let port = acceptor.local_address().port();
        drop(acceptor);
        assert!(dial(&local(port)).await.is_none());
    }

    #[test]
    fn lack_of_descriptors_makes_accept_pause() {
        const EMFILE: i32 = 24;
        assert!(!concerns_one_connection(&io::Error::from_raw_os_error(
            EMFILE
        )));
        assert!(concerns_one_connection(
            &io::ErrorKind::ConnectionAborted.into()
        ));
    }
}

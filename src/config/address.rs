//! Addresses as users write them: `host:port`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use super::error::ConfigError;

/// The address where a peer listens: an IPv4 or IPv6 address or a DNS name, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PeerAddress {
    /// Lower case; IPv6 without brackets and in its shortest form.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl PeerAddress {
    /// Returns whether the address cannot leave this machine. A name other than `localhost` might.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// Returns the address of a socket.
    pub(crate) fn of(at: SocketAddr) -> Self {
        let ip = at.ip().to_canonical();
        Self {
            host: ip.to_string(),
            port: at.port(),
        }
    }

    /// Returns the address as that of a socket, unless it is a name.
    pub(crate) fn socket_address(&self) -> Option<SocketAddr> {
        let ip: IpAddr = self.host.parse().ok()?;
        Some(SocketAddr::new(ip, self.port))
    }

    /// Reads an address.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] about `setting`.
    pub(crate) fn parse(setting: &'static str, address: &str) -> Result<Self, ConfigError> {
        let (host, port) = split(address)
            .and_then(|(host, port)| match port {
                0 => Err(AddressProblem::PortZero),
                _ => Ok((host, port)),
            })
            .map_err(|problem| problem.of(setting, address))?;
        Ok(Self { host, port })
    }
}

impl FromStr for PeerAddress {
    type Err = ConfigError;

    fn from_str(address: &str) -> Result<Self, ConfigError> {
        Self::parse("peer", address)
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(&self.host, self.port, f)
    }
}

/// The address where this node listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenAddress {
    pub(crate) host: String,
    /// 0 leaves the choice to the system.
    pub(crate) port: u16,
    /// The number of ports that are tried, from `port` on. At least 1.
    pub(crate) auto_bind: u16,
}

impl ListenAddress {
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// Reads an address.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] about `listen`.
    pub(crate) fn parse(address: &str, auto_bind: u16) -> Result<Self, ConfigError> {
        let (host, port) = split(address).map_err(|problem| problem.of("listen", address))?;
        Ok(Self {
            host,
            port,
            auto_bind: auto_bind.max(1),
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(&self.host, self.port, f)
    }
}

/// The part of an address that is wrong.
#[derive(Clone, Copy, Debug)]
enum AddressProblem {
    /// It is a URL, or a part of one.
    Url,
    NoHost,
    /// There is no port, or what is there is no port.
    NoPort,
    PortZero,
    /// An IPv6 address is not in brackets, or what is in brackets is none.
    Brackets,
    Host,
}

impl AddressProblem {
    fn of(self, setting: &'static str, address: &str) -> ConfigError {
        let fix = self.fix();
        ConfigError::invalid(setting, format!("{setting} address {address:?}: {fix}"))
    }

    const fn fix(self) -> &'static str {
        match self {
            Self::Url => {
                "write the host and the port alone, as in `host:4100`, without a scheme such as \
                 `tcp://` and without a path"
            }
            Self::NoHost => {
                "the host is missing; `0.0.0.0:4100` or `[::]:4100` means all addresses"
            }
            Self::NoPort => "the port is missing or no number up to 65535; write `host:4100`",
            Self::PortZero => "port 0 cannot be reached; write the port the node listens on",
            Self::Brackets => "write an IPv6 address in brackets: `[::1]:4100`",
            Self::Host => "the host is neither an IP address nor a DNS name",
        }
    }
}

fn split(address: &str) -> Result<(String, u16), AddressProblem> {
    let has_path = |(_, port): (&str, &str)| port.contains('/');
    if address.contains("://") || address.rsplit_once(':').is_some_and(has_path) {
        return Err(AddressProblem::Url);
    }
    if let Some(rest) = address.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or(AddressProblem::Brackets)?;
        let port = port.strip_prefix(':').ok_or(AddressProblem::NoPort)?;
        return Ok((ipv6(host)?, parse_port(port)?));
    }
    if address.parse::<Ipv6Addr>().is_ok() {
        return Err(AddressProblem::Brackets);
    }
    let (host, port) = address.rsplit_once(':').ok_or(AddressProblem::NoPort)?;
    if host.contains(':') {
        return Err(AddressProblem::Brackets);
    }
    Ok((name_or_ipv4(host)?, parse_port(port)?))
}

fn parse_port(text: &str) -> Result<u16, AddressProblem> {
    // `u16::from_str` takes a leading plus.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AddressProblem::NoPort);
    }
    text.parse().map_err(|_| AddressProblem::NoPort)
}

/// Reads an IPv6 address. A link-local one keeps its scope, as in `fe80::1%eth0`; the resolver
/// understands it.
fn ipv6(text: &str) -> Result<String, AddressProblem> {
    let (address, scope) = match text.split_once('%') {
        Some((address, scope)) => (address, Some(scope)),
        None => (text, None),
    };
    let address: Ipv6Addr = address.parse().map_err(|_| AddressProblem::Brackets)?;
    match scope {
        None => Ok(address.to_string()),
        Some(scope) if !scope.is_empty() && scope.bytes().all(is_name_byte) => {
            Ok(format!("{address}%{scope}"))
        }
        Some(_) => Err(AddressProblem::Brackets),
    }
}

fn name_or_ipv4(text: &str) -> Result<String, AddressProblem> {
    if text.is_empty() {
        return Err(AddressProblem::NoHost);
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(address.to_string());
    }
    if text.len() > MAX_NAME || !text.bytes().all(is_name_byte) {
        return Err(AddressProblem::Host);
    }
    Ok(text.to_ascii_lowercase())
}

/// Returns whether the byte may be in a host name. By the book none has underscores, but those of
/// container networks do.
const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost",
    }
}

fn write(host: &str, port: u16, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if host.contains(':') {
        write!(f, "[{host}]:{port}")
    } else {
        write!(f, "{host}:{port}")
    }
}

/// The longest DNS name.
const MAX_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigErrorKind;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for (text, host, port) in [
            ("10.0.0.1:4100", "10.0.0.1", 4100),
            ("[::1]:4100", "::1", 4100),
            ("[fe80::1%eth0]:65535", "fe80::1%eth0", 65535),
            ("node-1.shop_net:1", "node-1.shop_net", 1),
        ] {
            let address: PeerAddress = text.parse().expect(text);
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn one_address_written_in_two_ways_is_equal() {
        for (one, other) in [
            ("[::1]:1", "[0:0::0001]:1"),
            ("Node.Example:1", "node.example:1"),
        ] {
            assert_eq!(one.parse::<PeerAddress>(), other.parse::<PeerAddress>());
        }
    }

    #[test]
    fn each_problem_is_told_apart() {
        use AddressProblem as P;
        for (text, problem) in [
            (":4100", P::NoHost),
            ("", P::NoPort),
            ("node1", P::NoPort),
            ("node1:", P::NoPort),
            ("node1:http", P::NoPort),
            ("node1:+1", P::NoPort),
            ("node1:65536", P::NoPort),
            ("[::1]", P::NoPort),
            ("[::1]4100", P::NoPort),
            ("node1:0", P::PortZero),
            ("::1", P::Brackets),
            ("fe80::1:4100", P::Brackets),
            ("[::1", P::Brackets),
            ("[node1]:1", P::Brackets),
            ("[fe80::1%]:1", P::Brackets),
            ("no de:1", P::Host),
            ("http//x:1", P::Host),
            ("nöde:1", P::Host),
        ] {
            let error = text.parse::<PeerAddress>().expect_err(text);
            let expected = format!("peer address {text:?}: {}", problem.fix());
            assert_eq!(error.to_string(), expected);
            let found = (error.setting(), error.kind());
            assert_eq!(found, ("peer", ConfigErrorKind::Invalid));
        }
        let long = format!("{}:1", "a".repeat(MAX_NAME + 1));
        assert!(long.parse::<PeerAddress>().is_err());
    }

    #[test]
    fn each_problem_shows_the_right_form() {
        use AddressProblem as P;
        for (problem, word) in [
            (P::NoHost, "`[::]:4100`"),
            (P::NoPort, "`host:4100`"),
            (P::PortZero, "listens on"),
            (P::Brackets, "`[::1]:4100`"),
            (P::Host, "DNS name"),
        ] {
            assert!(problem.fix().contains(word), "{}", problem.fix());
        }
    }

    #[test]
    fn listening_on_port_zero_and_on_all_addresses_is_possible() {
        let listen = ListenAddress::parse("[::]:0", 0).expect("valid");
        assert_eq!((listen.port, listen.auto_bind), (0, 1));
        assert_eq!(listen.to_string(), "[::]:0");
    }

    #[test]
    fn loopback_is_what_cannot_leave_the_machine() {
        for inside in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "LocalHost:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(
                inside.parse::<PeerAddress>().expect(inside).is_loopback(),
                "{inside}"
            );
        }
        for outside in [
            "0.0.0.0:1",
            "[::]:1",
            "10.0.0.1:1",
            "node1:1",
            "localhost.example:1",
        ] {
            assert!(
                !outside.parse::<PeerAddress>().expect(outside).is_loopback(),
                "{outside}"
            );
        }
    }
}

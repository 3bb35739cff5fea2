//! Addresses of instances.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use crate::host::{HostError, Hostname};

/// Address of an instance as registered: `http://host:port`, `https://host:port` or `h2c://host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    scheme: Scheme,
    host: TargetHost,
    port: u16,
}

/// Protocol of a [`Target`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// HTTP over TCP.
    Http,
    /// HTTP/2 over TCP with prior knowledge (RFC 9113 §3.3): gRPC servers without TLS.
    H2c,
    /// HTTP over TLS with the app's settings ([`UpstreamTls`](crate::UpstreamTls)).
    Https,
}

impl Scheme {
    /// The scheme of a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::H2c => "h2c",
            Self::Https => "https",
        }
    }

    /// The default port of the scheme.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http | Self::H2c => 80,
            Self::Https => 443,
        }
    }
}

/// The host of a [`Target`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetHost {
    /// An IP address.
    Address(IpAddr),
    /// A name that the control thread resolves and refreshes.
    Name(Hostname),
}

impl Target {
    /// Parses `http://host[:port][/]`, `https://…` or `h2c://…`; the default port is 80 or 443.
    ///
    /// # Errors
    /// The text has another form, or the host is not valid.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let Some((scheme, rest)) = text.split_once("://") else { return Err(TargetError::NoScheme) };
        let schemes = [Scheme::Http, Scheme::H2c, Scheme::Https];
        let Some(scheme) = schemes.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(scheme))
        else {
            return Err(TargetError::Scheme);
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err(TargetError::Path);
        }
        if authority.contains('@') {
            return Err(TargetError::Credentials);
        }
        let (host, port) = split_port(authority)?;
        let port = port.unwrap_or(scheme.default_port());
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(v6) => TargetHost::Address(IpAddr::V6(
                v6.parse().map_err(|_| TargetError::Host(HostError::Address))?,
            )),
            None => match host.parse::<IpAddr>() {
                Ok(address @ IpAddr::V4(_)) => TargetHost::Address(address),
                Ok(IpAddr::V6(_)) => return Err(TargetError::Brackets),
                Err(_) => TargetHost::Name(Hostname::parse(host).map_err(TargetError::Host)?),
            },
        };
        if let TargetHost::Address(address) = &host
            && (address.is_unspecified() || address.is_multicast())
        {
            return Err(TargetError::NotReachable);
        }
        Ok(Self { scheme, host, port })
    }

    /// The protocol.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Host and port in the form of a `Host` header.
    pub fn authority(&self) -> String {
        match &self.host {
            TargetHost::Address(IpAddr::V6(ip)) => format!("[{ip}]:{}", self.port),
            TargetHost::Address(ip) => format!("{ip}:{}", self.port),
            TargetHost::Name(name) => format!("{name}:{}", self.port),
        }
    }

    /// The host.
    pub fn host(&self) -> &TargetHost {
        &self.host
    }

    /// The TCP port, never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The endpoint of a health check on another port of the same host. Only the target's own port speaks
    /// HTTP/2 without TLS: on another port a health check uses HTTP/1.1.
    pub fn on_health_port(&self, port: NonZeroU16) -> Self {
        let scheme = match self.scheme {
            Scheme::H2c => Scheme::Http,
            scheme @ (Scheme::Http | Scheme::Https) => scheme,
        };
        Self { scheme, host: self.host.clone(), port: port.get() }
    }

    /// The socket address, if the host is an IP address.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.host {
            TargetHost::Address(ip) => Some(SocketAddr::new(*ip, self.port)),
            TargetHost::Name(_) => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

/// Parse error of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetError {
    /// `://` is missing.
    NoScheme,
    /// Another scheme than `http`, `https` and `h2c`.
    Scheme,
    /// A path, query or fragment was given.
    Path,
    /// User information was given.
    Credentials,
    /// An IPv6 address without brackets.
    Brackets,
    /// The port is not a number from 1 to 65535.
    Port,
    /// An unspecified or multicast address.
    NotReachable,
    /// The host is not valid.
    Host(HostError),
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoScheme => f.write_str("must be a URL such as http://10.0.0.5:3001"),
            Self::Scheme => f.write_str("must use the scheme http, https or h2c"),
            Self::Path => f.write_str("must not have a path, query or fragment: requests keep their own"),
            Self::Credentials => f.write_str("must not contain credentials"),
            Self::Brackets => f.write_str("must write an IPv6 address in brackets, as in http://[::1]:3001"),
            Self::Port => f.write_str("must have a port from 1 to 65535"),
            Self::NotReachable => f.write_str("must not be an unspecified or multicast address"),
            Self::Host(error) => write!(f, "host {error}"),
        }
    }
}

impl std::error::Error for TargetError {}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), TargetError> {
    let colon = match authority.rfind(']') {
        Some(bracket) => authority[bracket..].find(':').map(|at| bracket + at),
        None => match authority.matches(':').count() {
            0 => None,
            1 => authority.find(':'),
            _ => return Err(TargetError::Brackets),
        },
    };
    let Some(colon) = colon else { return Ok((authority, None)) };
    let digits = &authority[colon + 1..];
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(TargetError::Port);
    }
    match digits.parse() {
        Ok(0) | Err(_) => Err(TargetError::Port),
        Ok(port) => Ok((&authority[..colon], Some(port))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints_the_same() {
        for (text, printed) in [
            ("http://10.0.0.5:3001", "http://10.0.0.5:3001"),
            ("HTTP://10.0.0.5:3001/", "http://10.0.0.5:3001"),
            ("http://App.Internal", "http://app.internal:80"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("https://App.Internal", "https://app.internal:443"),
            ("HTTPS://[::1]:80/", "https://[::1]:80"),
            ("h2c://10.0.0.5:50051", "h2c://10.0.0.5:50051"),
        ] {
            assert_eq!(Target::parse(text).map(|t| t.to_string()), Ok(printed.to_owned()), "{text}");
        }
    }

    #[test]
    fn refuses_each_mistake_by_name() {
        for (text, error) in [
            ("10.0.0.5:3001", TargetError::NoScheme),
            ("ftp://a", TargetError::Scheme),
            ("http://a/b", TargetError::Path),
            ("http://a?x", TargetError::Path),
            ("http://u:p@a", TargetError::Credentials),
            ("http://::1:80", TargetError::Brackets),
            ("http://a:0", TargetError::Port),
            ("http://a:65536", TargetError::Port),
            ("http://a:", TargetError::Port),
            ("http://a:+1", TargetError::Port),
            ("http://0.0.0.0:1", TargetError::NotReachable),
            ("http://", TargetError::Host(HostError::Empty)),
            ("http://a_b:1", TargetError::Host(HostError::Name)),
        ] {
            assert_eq!(Target::parse(text), Err(error), "{text}");
        }
    }
}

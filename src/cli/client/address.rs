//! Address of the admin API in the notation of users.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Default port of the admin API.
pub(crate) const DEFAULT_PORT: u16 = 8080;

/// Address of the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// Host and port; IPv6 in brackets.
    Tcp(String),
    /// Path of a unix socket.
    Unix(PathBuf),
}

/// Invalid address of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressError {
    /// Empty.
    Empty,
    /// `https://`
    Https,
    /// Characters after host and port.
    Path,
    /// Invalid characters in the host.
    Host,
    /// Not a port number, or 0.
    Port,
}

impl Address {
    /// Value of `Host`.
    pub(crate) fn authority(&self) -> &str {
        match self {
            Self::Tcp(authority) => authority,
            Self::Unix(_) => "localhost",
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    /// Parses `HOST`, `HOST:PORT`, `PORT`, `[IPV6]:PORT`, the same after `http://`, `unix:PATH`, or an
    /// absolute path.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(AddressError::Empty) } else { Ok(Self::Unix(path.into())) };
        }
        if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        if text.starts_with("https://") {
            return Err(AddressError::Https);
        }
        let text = text.strip_prefix("http://").unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if text.contains(['/', '?', '#', '@']) {
            return Err(AddressError::Path);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self::Tcp(format!("127.0.0.1:{}", port(text)?)));
        }
        let (host, number) = split(text)?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let is_v6 =
            host.starts_with('[') && host.trim_matches(['[', ']']).parse::<std::net::Ipv6Addr>().is_ok();
        if !is_v6 && (host.is_empty() || !host.bytes().all(is_name)) {
            return Err(AddressError::Host);
        }
        Ok(Self::Tcp(format!("{host}:{}", number.map_or(Ok(DEFAULT_PORT), port)?)))
    }
}

/// Splits host and port. Brackets stay, and an IPv6 address without them gets them.
fn split(text: &str) -> Result<(String, Option<&str>), AddressError> {
    if text.starts_with('[') {
        let end = text.find(']').ok_or(AddressError::Host)?;
        let (host, rest) = text.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host.to_owned(), Some(port))),
            None if rest.is_empty() => Ok((host.to_owned(), None)),
            None => Err(AddressError::Host),
        };
    }
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok((format!("[{text}]"), None));
    }
    match text.split_once(':') {
        Some((host, port)) => Ok((if host.is_empty() { "127.0.0.1" } else { host }.to_owned(), Some(port))),
        None => Ok((text.to_owned(), None)),
    }
}

fn port(text: &str) -> Result<u16, AddressError> {
    text.parse().ok().filter(|port| *port != 0).ok_or(AddressError::Port)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(authority) => f.write_str(authority),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "must be HOST:PORT or unix:PATH",
            Self::Https => "the admin API has no TLS: use http://, over the loopback interface or a tunnel",
            Self::Path => "must be HOST:PORT or unix:PATH, without a path or user",
            Self::Host => "the host must be a name, an IPv4 address or an IPv6 address in brackets",
            Self::Port => "the port must be a number from 1 to 65535",
        })
    }
}

impl std::error::Error for AddressError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_are_parsed_in_all_their_forms() {
        for (text, authority) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("localhost", "localhost:8080"),
            ("9090", "127.0.0.1:9090"),
            (":9090", "127.0.0.1:9090"),
            ("http://proxy.internal:81/", "proxy.internal:81"),
            ("[::1]:81", "[::1]:81"),
            ("[::1]", "[::1]:8080"),
            ("::1", "[::1]:8080"),
        ] {
            assert_eq!(text.parse(), Ok(Address::Tcp(authority.into())), "{text}");
        }
        assert_eq!("unix:/run/ringway/api.sock".parse(), Ok(Address::Unix("/run/ringway/api.sock".into())));
        assert_eq!("/run/ringway/api.sock".parse(), Ok(Address::Unix("/run/ringway/api.sock".into())));
        assert_eq!("unix:///run/api".parse(), Ok(Address::Unix("/run/api".into())));
    }

    #[test]
    fn invalid_addresses_are_refused_with_a_reason() {
        for (text, error) in [
            ("", AddressError::Empty),
            ("unix:", AddressError::Empty),
            ("http://", AddressError::Empty),
            ("https://localhost", AddressError::Https),
            ("localhost:0", AddressError::Port),
            ("localhost:65536", AddressError::Port),
            ("0", AddressError::Port),
            ("localhost:", AddressError::Port),
            ("localhost/api", AddressError::Path),
            ("user@localhost", AddressError::Path),
            ("a b:80", AddressError::Host),
            ("[::1:80", AddressError::Host),
            ("[::1]80", AddressError::Host),
            ("a\r\nb:80", AddressError::Host),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text:?}");
        }
    }
}

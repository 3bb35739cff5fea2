//! Target resolver over HTTP: `GET <path>?host=<host>`, on a TCP port or a unix socket.
//!
//! ```text
//! 200 {"targets": [{"target": "http://127.0.0.1:3001", "healthy": true}]}    its targets; "healthy" is optional
//! 404                                                                        unknown host
//! ```
//! Any other response, or none in time, is a failure.

use std::fmt;
use std::str::FromStr;

use ringway::{Resolved, ResolvedTarget, ResolverError, TargetResolver};
use ringway_model::Target;
use ringway_model::limits::RESOLVER_TIMEOUT;
use ringway_wire::message::Method;
use serde::Deserialize;

use super::client::{Address, AddressError, HttpClient};

/// URL of a resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolverUrl {
    address: Address,
    path: String,
}

/// Invalid URL of a resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResolverUrlError {
    /// Neither `http://` nor `unix:`.
    Scheme,
    /// Its host or port.
    Address(AddressError),
    /// Its path has a query, a fragment or a space.
    Path,
}

impl FromStr for ResolverUrl {
    type Err = ResolverUrlError;

    /// Parses `http://HOST[:PORT][/PATH]` or `unix:PATH`. The default port is 80, the default path
    /// `/targets`.
    fn from_str(text: &str) -> Result<Self, ResolverUrlError> {
        if text.starts_with("unix:") {
            let address = text.parse().map_err(ResolverUrlError::Address)?;
            return Ok(Self { address, path: DEFAULT_PATH.into() });
        }
        let rest = text.strip_prefix("http://").ok_or(ResolverUrlError::Scheme)?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if !path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?' && byte != b'#') {
            return Err(ResolverUrlError::Path);
        }
        // A colon within the brackets of an IPv6 address is not a port's.
        let has_port = authority.rsplit(']').next().is_some_and(|end| end.contains(':'));
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        let address = format!("http://{authority}").parse().map_err(ResolverUrlError::Address)?;
        let path = if matches!(path, "" | "/") { DEFAULT_PATH } else { path };
        Ok(Self { address, path: path.into() })
    }
}

impl fmt::Display for ResolverUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp(authority) => write!(f, "http://{authority}{}", self.path),
            Address::Unix(_) => self.address.fmt(f),
        }
    }
}

impl fmt::Display for ResolverUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => f.write_str("must be http://HOST[:PORT][/PATH] or unix:PATH"),
            Self::Address(error) => error.fmt(f),
            Self::Path => f.write_str("must have a path of visible ASCII without ? and #"),
        }
    }
}

/// Resolver that sends each lookup over a connection of its own.
#[derive(Debug)]
pub(crate) struct HttpResolver {
    client: HttpClient,
    path: String,
}

impl HttpResolver {
    pub(crate) fn new(url: ResolverUrl) -> Self {
        Self { client: HttpClient::new(url.address).timeout(RESOLVER_TIMEOUT), path: url.path }
    }
}

impl TargetResolver for HttpResolver {
    fn resolve(&self, host: &str) -> Result<Resolved, ResolverError> {
        // A host name needs no escaping in a query.
        let response = self
            .client
            .send(Method::Get, &format!("{}?host={host}", self.path), None)
            .map_err(|error| ResolverError::because(&error))?;
        match response.status {
            200 => read(&response.body),
            404 => Ok(Resolved::Unknown),
            status => Err(ResolverError::new(format!("it responded with status {status}"))),
        }
    }
}

fn read(body: &[u8]) -> Result<Resolved, ResolverError> {
    let response: ResponseBody = serde_json::from_slice(body).map_err(|error| {
        ResolverError::new(format!("its response is not in the expected format: {error}"))
    })?;
    let targets =
        response.targets.into_iter().map(|TargetBody { target, healthy }| match Target::parse(&target) {
            Ok(target) => Ok(ResolvedTarget { target, healthy }),
            Err(error) => Err(ResolverError::new(format!("the target {target:?} of its response {error}"))),
        });
    Ok(Resolved::Targets(targets.collect::<Result<_, _>>()?))
}

#[derive(Deserialize)]
struct ResponseBody {
    targets: Vec<TargetBody>,
}

#[derive(Deserialize)]
struct TargetBody {
    target: String,
    #[serde(default = "yes")]
    healthy: bool,
}

fn yes() -> bool {
    true
}

/// Path of a URL without one.
const DEFAULT_PATH: &str = "/targets";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shown(text: &str) -> Result<String, ResolverUrlError> {
        text.parse::<ResolverUrl>().map(|url| url.to_string())
    }

    #[test]
    fn urls_are_normalised_or_refused() {
        for (text, url) in [
            ("http://127.0.0.1:9000/targets", "http://127.0.0.1:9000/targets"),
            ("http://pm.internal", "http://pm.internal:80/targets"),
            ("http://[::1]/find", "http://[::1]:80/find"),
            ("http://[::1]:9000/", "http://[::1]:9000/targets"),
            ("unix:/run/pm.sock", "unix:/run/pm.sock"),
            ("unix:///run/pm.sock", "unix:/run/pm.sock"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(url), "{text}");
        }
        assert_eq!(shown("https://pm"), Err(ResolverUrlError::Scheme));
        assert_eq!(shown("127.0.0.1:9000"), Err(ResolverUrlError::Scheme));
        assert_eq!(shown("http://pm/a?b"), Err(ResolverUrlError::Path));
        assert_eq!(shown("http://a b/"), Err(ResolverUrlError::Address(AddressError::Host)));
        assert_eq!(shown("unix:"), Err(ResolverUrlError::Address(AddressError::Empty)));
    }

    #[test]
    fn what_it_answers() {
        let body = br#"{"targets":[{"target":"http://127.0.0.1:3001"},{"target":"http://127.0.0.1:3002","healthy":false,"pid":7}]}"#;
        let target = |port: u16, healthy| ResolvedTarget {
            target: Target::parse(&format!("http://127.0.0.1:{port}")).unwrap(),
            healthy,
        };
        assert_eq!(read(body), Ok(Resolved::Targets(vec![target(3001, true), target(3002, false)])));
        assert_eq!(read(br#"{"targets":[]}"#), Ok(Resolved::Targets(Vec::new())));
        for wrong in [&b"{}"[..], b"", b"[]", br#"{"targets":[{"target":"nonsense://"}]}"#] {
            assert!(read(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }
}

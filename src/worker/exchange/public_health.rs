//! Reserved health path on the public listeners, for load balancers that probe by address.
//!
//! Answered before routing, redirects and the resolver, on every listener: 200 while the core serves, 503
//! while it drains.

use std::fmt;
use std::net::IpAddr;

use crate::limits;
use ringway_model::{HostError, Hostname};
use ringway_wire::h1::RequestHead;
use ringway_wire::message::Method;

/// Health paths of this process, each on one host or on all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicHealth(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    path: Box<str>,
    /// Normalised host; any when absent.
    host: Option<Box<str>>,
}

/// Error in a list of health paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicHealthError {
    /// There is none, or there are more than `PUBLIC_HEALTH_PATHS_MAX`.
    Count,
    /// An entry has no `@`.
    NoHost,
    /// A path is not in origin-form, has a query, or is too long.
    Path,
    /// A path belongs to the CA's challenges.
    Challenge,
    /// A host is neither `*` nor an address nor a name.
    Host(HostError),
}

impl fmt::Display for PublicHealthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count => write!(
                f,
                "must have 1 to {} entries of the form PATH@HOST, as in /healthz@*",
                limits::PUBLIC_HEALTH_PATHS_MAX
            ),
            Self::NoHost => {
                f.write_str("must say for which host, as in /healthz@lb.example, or /healthz@* for all")
            }
            Self::Path => write!(
                f,
                "must have paths that begin with /, in visible ASCII without ?, # and *, of at most {} bytes",
                ringway_model::limits::HEALTH_PATH_BYTES_MAX
            ),
            Self::Challenge => {
                f.write_str("must not have paths below /.well-known/acme-challenge/, which the CA asks for")
            }
            Self::Host(error) => {
                write!(f, "must have *, an address or a host name behind the @; the host {error}")
            }
        }
    }
}

impl std::error::Error for PublicHealthError {}

impl PublicHealth {
    /// Parses `PATH@HOST`, or several separated by commas; `*` is any host or address.
    ///
    /// # Errors
    /// See [`PublicHealthError`].
    pub fn parse(text: &str) -> Result<Self, PublicHealthError> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let entries: Vec<Entry> = entries.map(Entry::parse).collect::<Result<_, _>>()?;
        match (1..=limits::PUBLIC_HEALTH_PATHS_MAX).contains(&entries.len()) {
            true => Ok(Self(entries)),
            false => Err(PublicHealthError::Count),
        }
    }

    /// Whether a request is for a health path: GET or HEAD, with any query.
    pub(crate) fn is_asked(&self, request: &RequestHead, input: &[u8]) -> bool {
        if !matches!(request.method(), Method::Get | Method::Head) {
            return false;
        }
        let path = request.path(input);
        self.0.iter().any(|entry| {
            *entry.path == *path && entry.host.as_deref().is_none_or(|host| host == request.host())
        })
    }
}

impl Entry {
    fn parse(text: &str) -> Result<Self, PublicHealthError> {
        let (path, host) = text.rsplit_once('@').ok_or(PublicHealthError::NoHost)?;
        let is_path = path.starts_with('/')
            && path.len() <= ringway_model::limits::HEALTH_PATH_BYTES_MAX
            && path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#*@".contains(&byte));
        if !is_path {
            return Err(PublicHealthError::Path);
        }
        if path.starts_with("/.well-known/acme-challenge") {
            return Err(PublicHealthError::Challenge);
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = match (host, bare.parse()) {
            ("*", _) => None,
            (_, Ok(IpAddr::V4(address))) => Some(address.to_string()),
            (_, Ok(IpAddr::V6(address))) => Some(format!("[{address}]")),
            (name, Err(_)) => Some(Hostname::parse(name).map_err(PublicHealthError::Host)?.to_string()),
        };
        Ok(Self { path: path.into(), host: host.map(Into::into) })
    }
}

/// The format that [`PublicHealth::parse`] reads.
impl fmt::Display for PublicHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Entry { path, host }) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{path}@{}", host.as_deref().unwrap_or("*"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ringway_wire::h1::{Limits, Parse};

    fn is_asked(setting: &str, request_line: &str, host: &str) -> bool {
        let text = format!("{request_line} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
        let mut head = RequestHead::default();
        assert_eq!(head.parse(&text, &Limits::default()), Ok(Parse::Complete));
        PublicHealth::parse(setting).unwrap().is_asked(&head, &text)
    }

    #[test]
    fn a_health_path_matches_get_and_head_on_its_hosts() {
        for host in ["10.0.0.1", "[2001:db8::1]:8080", "anything.example", "LB.example:80"] {
            assert!(is_asked("/healthz@*", "GET /healthz", host), "{host}");
        }
        assert!(is_asked("/healthz@*", "HEAD /healthz?from=lb", "a"));
        for line in [
            "POST /healthz",
            "OPTIONS /healthz",
            "GET /healthz/",
            "GET /health",
            "GET /x/healthz",
            "GET //healthz",
        ] {
            assert!(!is_asked("/healthz@*", line, "a"), "{line}");
        }
        let setting = "/up@lb.example, /up@10.0.0.1,/v6@[2001:DB8::1]";
        assert!(is_asked(setting, "GET /up", "LB.example.:8080"));
        assert!(is_asked(setting, "GET /up", "10.0.0.1:80"));
        assert!(is_asked(setting, "GET /v6", "[2001:db8:0::1]"));
        for (line, host) in [("GET /up", "app.example"), ("GET /up", "10.0.0.2"), ("GET /v6", "10.0.0.1")] {
            assert!(!is_asked(setting, line, host), "{line} of {host}");
        }
    }

    #[test]
    fn a_list_is_displayed_as_it_is_parsed_and_invalid_ones_are_rejected() {
        let all = PublicHealth::parse(" /healthz@* , /up@Lb.Example,/up@::1 ").unwrap();
        assert_eq!(all.to_string(), "/healthz@*,/up@lb.example,/up@[::1]");
        assert_eq!(PublicHealth::parse(&all.to_string()), Ok(all));
        for (text, error) in [
            ("", PublicHealthError::Count),
            (",", PublicHealthError::Count),
            ("/healthz", PublicHealthError::NoHost),
            ("healthz@*", PublicHealthError::Path),
            ("/a b@*", PublicHealthError::Path),
            ("/a?b@*", PublicHealthError::Path),
            ("/*@*", PublicHealthError::Path),
            ("@*", PublicHealthError::Path),
            ("/a@b@*", PublicHealthError::Path),
            ("/.well-known/acme-challenge/x@*", PublicHealthError::Challenge),
            ("/up@", PublicHealthError::Host(HostError::Empty)),
            ("/up@*.example", PublicHealthError::Host(HostError::Wildcard)),
            ("/up@lb.example:80", PublicHealthError::Host(HostError::Port)),
        ] {
            assert_eq!(PublicHealth::parse(text), Err(error), "{text:?}");
        }
        let most = ["/a@*"; limits::PUBLIC_HEALTH_PATHS_MAX].join(",");
        assert!(PublicHealth::parse(&most).is_ok());
        assert_eq!(PublicHealth::parse(&(most + ",/a@*")), Err(PublicHealthError::Count));
    }
}

//! Reasons for a failed lookup.

use std::fmt;
use std::net::SocketAddr;

use crate::limits::DNS_ALIASES_MAX;

/// Reason for a failed lookup. NXDOMAIN and an empty record set are results, not errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsError {
    /// No resolver is configured, and `/etc/resolv.conf` names none.
    NoServer,
    /// No server responded in time.
    TimedOut,
    /// The resolver could not be reached.
    Unreachable(SocketAddr),
    /// SERVFAIL or another failure of the resolver: the zone's name servers do not respond, or DNSSEC is
    /// broken.
    ServerFailed,
    /// REFUSED: the resolver does not serve this client.
    Refused,
    /// The response is malformed or belongs to another query.
    Malformed,
    /// The CNAME records form a loop.
    Loop(String),
    /// The CNAME chain is longer than resolvers follow.
    TooManyAliases,
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServer => {
                f.write_str("no DNS resolver is configured: set DNS_RESOLVER or correct /etc/resolv.conf")
            }
            Self::TimedOut => f.write_str("the DNS resolver did not respond in time"),
            Self::Unreachable(server) => write!(f, "the DNS resolver {server} is unreachable"),
            Self::ServerFailed => f.write_str(
                "the DNS resolver failed (SERVFAIL): the domain's name servers do not respond, or its DNSSEC is \
                 broken",
            ),
            Self::Refused => f.write_str("the DNS resolver refuses queries from this machine (REFUSED)"),
            Self::Malformed => f.write_str("the DNS resolver sent a malformed response"),
            Self::Loop(name) => write!(f, "the CNAME records form a loop at {name}"),
            Self::TooManyAliases => write!(f, "the CNAME chain has more than {DNS_ALIASES_MAX} records"),
        }
    }
}

impl std::error::Error for DnsError {}

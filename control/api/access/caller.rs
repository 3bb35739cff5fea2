//! Identity of a client.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use ringway_model::TenantId;

use super::Scopes;

/// The other end of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    /// Address of a TCP client.
    pub(crate) address: Option<SocketAddr>,
    /// User of the process at the other end of a Unix socket.
    pub(crate) uid: Option<u32>,
    /// Subject of the certificate that the handshake has verified; printable ASCII.
    pub(crate) certificate: Option<Arc<str>>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => address.fmt(f),
            None => f.write_str("unix"),
        }
    }
}

/// Client of a request, with its permissions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    pub(crate) identity: Identity,
    pub(crate) scopes: Scopes,
    /// The only tenant whose cache it may see and purge.
    pub(crate) tenant: Option<TenantId>,
}

/// Identity of a caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Not identified: a health probe, or a request that was refused before.
    #[default]
    Unknown,
    /// A client on this machine, where neither token nor certificate is required.
    Loopback,
    /// A process at the other end of a Unix socket, with its user.
    Process(Option<u32>),
    /// Subject of a client certificate, where no token is required.
    Certificate(Arc<str>),
    /// A token, and the certificate beside it. The single token has no name.
    Token { name: Option<Arc<str>>, certificate: Option<Arc<str>> },
}

impl fmt::Display for Identity {
    /// `token:ci`, `token:ci certificate:CN=ops`, `certificate:CN=ops`, `uid:1000`, `loopback`, `unknown`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("unknown"),
            Self::Loopback => f.write_str("loopback"),
            Self::Process(Some(uid)) => write!(f, "uid:{uid}"),
            Self::Process(None) => f.write_str("unix"),
            Self::Certificate(subject) => write!(f, "certificate:{subject}"),
            Self::Token { name, certificate } => {
                write!(f, "token:{}", name.as_deref().unwrap_or("PROXY_API_TOKEN"))?;
                match certificate {
                    Some(subject) => write!(f, " certificate:{subject}"),
                    None => Ok(()),
                }
            }
        }
    }
}

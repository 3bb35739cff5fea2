//! What a probe can bring back.

use std::fmt;

use ringway_wire::h1::ResponseError;

/// What came of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The instance is well.
    Well,
    /// It is not, or could not be reached.
    Failed(Failure),
    /// We could not ask. Says nothing about the instance and changes nothing, or one shortage of ours would take every
    /// instance out of rotation.
    NotAsked(LocalFault),
}

/// What is wrong with an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Nothing listens on the port.
    Refused,
    /// No way to the address, or a firewall says so.
    Unreachable,
    /// No connection within the timeout.
    ConnectTimeout,
    /// Connected, but no complete response head within the timeout.
    ResponseTimeout,
    /// The connection ended before a complete response head.
    ClosedEarly,
    /// What came is no HTTP response.
    Malformed(ResponseError),
    /// A status outside 200 to 399.
    Status(u16),
    /// The target's name has no address.
    NameNotResolved,
    /// It speaks no TLS, or is not the one that was meant.
    Tls,
}

impl Failure {
    /// A word for logs and the API that never changes.
    pub fn code(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::ConnectTimeout => "connect_timeout",
            Self::ResponseTimeout => "response_timeout",
            Self::ClosedEarly => "closed_early",
            Self::Malformed(_) => "malformed_response",
            Self::Status(_) => "status",
            Self::NameNotResolved => "name_not_resolved",
            Self::Tls => "tls",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Unreachable => f.write_str("address not reachable"),
            Self::ConnectTimeout => f.write_str("timed out connecting"),
            Self::ResponseTimeout => f.write_str("timed out waiting for the response"),
            Self::ClosedEarly => f.write_str("connection closed before a response"),
            Self::Malformed(error) => write!(f, "malformed response: {error}"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::NameNotResolved => f.write_str("name did not resolve"),
            Self::Tls => f.write_str("TLS handshake failed: not TLS, or a certificate that is not trusted"),
        }
    }
}

/// Why we could not ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LocalFault {
    /// No file descriptor, port or memory was left, or the system refused in another way.
    NoResources,
    /// Too many names are being resolved.
    ResolverBusy,
    /// The path cannot stand in a request.
    InvalidPath,
    /// Whom to believe is not to be found out: a CA's file, or that of our own certificate.
    NoTrust,
    /// The probe panicked: a defect of ours.
    Panicked,
}

impl fmt::Display for LocalFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoResources => "no file descriptor, port or memory left to connect with",
            Self::ResolverBusy => "too many names are being resolved",
            Self::InvalidPath => "the path cannot stand in a request",
            Self::NoTrust => "the files of the app's upstream_tls cannot be loaded",
            Self::Panicked => "the probe panicked",
        })
    }
}

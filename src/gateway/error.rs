//! Error of a start.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use ringway_model::limits;

/// Error of [`Builder::spawn`](super::Builder::spawn).
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// Zero workers were configured.
    NoWorkers,
    /// No listener was configured.
    NoListener,
    /// More listening sockets than a process may have.
    TooManyListeners(usize),
    /// An address cannot be bound.
    Bind {
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        error: io::Error,
    },
    /// The admin API would be open to the network without a token.
    OpenAdmin(ringway_api::BindError),
    /// The default certificate cannot be served, or the loader's thread did not start.
    Certificates(ringway_certs::StartError),
    /// The random generator failed.
    Tls(ringway_tls::Error),
    /// The rules of the forward proxy cannot be made, or its threads did not start.
    Forward(ringway_forward_control::StartError),
    /// The control thread did not start.
    Control(ringway_control::StartError),
    /// A worker did not start.
    Worker(io::Error),
    /// Too few descriptors, threads or memory.
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoWorkers => f.write_str("there must be at least one worker"),
            Self::NoListener => f.write_str("there must be at least one address to listen on"),
            Self::TooManyListeners(count) => {
                write!(f, "{count} addresses to listen on are more than {}", limits::LISTENERS_MAX)
            }
            Self::Bind { address, error } => {
                write!(f, "cannot listen on {address}")?;
                match error.kind() {
                    ErrorKind::PermissionDenied => f.write_str(
                        ": ports below 1024 need CAP_NET_BIND_SERVICE (the systemd unit grants it); or use another port",
                    ),
                    ErrorKind::AddrInUse => f.write_str(": another process listens there"),
                    _ => Ok(()),
                }
            }
            Self::OpenAdmin(_) => {
                f.write_str("the admin API must not be open to the network without a token")
            }
            Self::Certificates(_) => f.write_str("the certificates cannot be used"),
            Self::Tls(_) => f.write_str("TLS cannot be used"),
            Self::Forward(error) => error.fmt(f),
            Self::Control(_) => f.write_str("the control plane did not start"),
            Self::Worker(_) => f.write_str("a worker did not start"),
            Self::System(_) => f.write_str("the system has no resources left"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoWorkers | Self::NoListener | Self::TooManyListeners(_) => None,
            Self::Bind { error, .. } | Self::Worker(error) | Self::System(error) => Some(error),
            Self::OpenAdmin(error) => Some(error),
            Self::Certificates(error) => Some(error),
            Self::Tls(error) => Some(error),
            Self::Forward(error) => std::error::Error::source(error),
            Self::Control(error) => Some(error),
        }
    }
}

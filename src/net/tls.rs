//! TLS over TCP: the state machine of rustls between a socket and the callers' buffers.
//!
//! ```text
//!  TcpStream ─▶ read_hello ─▶ Hello ─ server_name ─▶ certificate ───────▶ finish ─▶ TlsStream: Stream
//!                  │            └─ refuse(Alert)                            ▲
//!                  └─ NotTls: the stream back, untouched      connect_tls ──┘
//! ```
//!
//! A waiting connection has no buffer here. Bytes are received into one scratch buffer of the core once they
//! have arrived, and pass through rustls into the caller's buffer without a suspension; records are sent to
//! the socket in one call. A cancelled read loses nothing, and reader and writer may both send the records
//! that rustls has queued: the order of the queue is the order on the wire.

mod hello;
mod session;
mod stream;

pub use hello::{Alert, Hello, connect_tls, read_hello};
pub use stream::TlsStream;

use crate::TcpStream;
use std::fmt;
use std::io;

/// Failure of a handshake.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// The first byte is not that of TLS: plain HTTP, most likely. Nothing was read from the stream.
    NotTls(TcpStream),
    /// The peer closed the connection before the end of the handshake.
    Closed,
    /// The deadline has passed.
    TimedOut,
    /// The peer sent more than a handshake needs.
    TooLarge,
    /// Error of rustls: versions, certificates, names, malformed messages, or an alert of the peer.
    Tls(rustls::Error),
    /// The connection failed.
    Io(io::Error),
}

impl From<io::Error> for TlsError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
                Self::Closed
            }
            _ => Self::Io(error),
        }
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotTls(_) => "the peer does not use TLS",
            Self::Closed => "the peer closed the connection during the handshake",
            Self::TimedOut => "the handshake timed out",
            Self::TooLarge => "the peer sent more than a handshake needs",
            Self::Tls(_) => "the handshake failed",
            Self::Io(_) => "the connection failed during the handshake",
        })
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Tls(error) => Some(error),
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

//! TLS over TCP: rustls's state machine between a socket and the buffers of others.
//!
//! ```text
//!  TcpStream ─▶ read_hello ─▶ Hello ─ server_name? which certificate? ─▶ finish ─▶ TlsStream: Stream
//!                  │            └─ refuse(Alert)                            ▲
//!                  └─ NotTls: the stream back, untouched      connect_tls ──┘
//! ```
//!
//! No buffer of ours waits with a connection. Bytes are received into one scratch buffer of the core, only once there
//! are some, and go through rustls into the caller's buffer without a pause in between; what is sent goes from rustls's
//! records to the socket in one call. So there is nothing to lose when a read is cancelled, and whoever is at it, reader
//! or writer, may send what rustls has queued: the order of the queue is the order on the wire.

mod hello;
mod session;
mod stream;

pub use hello::{Alert, Hello, connect_tls, read_hello};
pub use stream::TlsStream;

use crate::TcpStream;
use std::fmt;
use std::io;

/// Why there is no TLS connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsError {
    /// The first byte is none of TLS: plain HTTP, most likely. Nothing was taken from the stream.
    NotTls(TcpStream),
    /// The peer ended the connection before the handshake was over, or before it began.
    Closed,
    /// The deadline has passed.
    TimedOut,
    /// The peer sent more than a handshake needs.
    TooLarge,
    /// What the peer sent, or did not accept: versions, certificates, names, broken messages.
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
            Self::NotTls(_) => "the peer does not speak TLS",
            Self::Closed => "the peer closed the connection during the handshake",
            Self::TimedOut => "the handshake took too long",
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

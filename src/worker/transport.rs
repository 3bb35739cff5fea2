//! Transport of a message: one type for all connections of a core, so that exchanges are compiled once.
//!
//! Its bytes are HTTP/1.1: a stream of HTTP/2 is translated where it is read and written, so that there is
//! one exchange, and one strict parser for all requests.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use ringway_model::Tick;
use ringway_net::tls::TlsStream;
use ringway_net::{Hangup, PeerState, Stream, TcpStream, WriteRate};

use crate::h2::H2Stream;

/// Connection, or stream of an HTTP/2 connection.
pub(crate) enum Transport {
    /// Plain TCP.
    Tcp(TcpStream),
    /// TLS over TCP.
    Tls(TlsStream),
    /// Stream of an HTTP/2 connection.
    H2(Box<H2Stream>),
}

/// Calls the same method on each variant.
macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self {
            Self::Tcp($stream) => $call,
            Self::Tls($stream) => $call,
            Self::H2($stream) => $call,
        }
    };
}

impl Stream for Transport {
    async fn read(&self, buf: Vec<u8>, deadline: Tick) -> (io::Result<usize>, Vec<u8>) {
        each!(self, stream => stream.read(buf, deadline).await)
    }

    async fn write_all_range(
        &self,
        buf: Vec<u8>,
        range: Range<usize>,
        rate: WriteRate,
    ) -> (io::Result<()>, Vec<u8>) {
        each!(self, stream => stream.write_all_range(buf, range, rate).await)
    }

    async fn write_shared<P: AsRef<[u8]>>(
        &self,
        head: Vec<u8>,
        parts: &[P],
        range: Range<usize>,
        rate: WriteRate,
    ) -> (io::Result<()>, Vec<u8>) {
        each!(self, stream => stream.write_shared(head, parts, range, rate).await)
    }

    fn write_held(&self, bytes: &[u8]) -> usize {
        each!(self, stream => stream.write_held(bytes))
    }

    fn read_more(&self, buf: &mut Vec<u8>) {
        each!(self, stream => stream.read_more(buf));
    }

    async fn discard(&self, deadline: Tick) -> io::Result<usize> {
        each!(self, stream => stream.discard(deadline).await)
    }

    async fn readable(&self, deadline: Tick) -> io::Result<()> {
        each!(self, stream => stream.readable(deadline).await)
    }

    fn peek_state(&self) -> PeerState {
        each!(self, stream => stream.peek_state())
    }

    fn hangup(&self) -> Hangup {
        each!(self, stream => stream.hangup())
    }

    fn is_delivered(&self) -> bool {
        each!(self, stream => stream.is_delivered())
    }

    fn set_user_timeout(&self, timeout: Duration) {
        each!(self, stream => stream.set_user_timeout(timeout));
    }

    fn cancel_reads(&self) {
        each!(self, stream => stream.cancel_reads());
    }

    fn resume_reads(&self) {
        each!(self, stream => stream.resume_reads());
    }

    fn cancel_writes(&self) {
        each!(self, stream => stream.cancel_writes());
    }

    fn resume_writes(&self) {
        each!(self, stream => stream.resume_writes());
    }

    async fn shutdown_write(&self, deadline: Tick) -> io::Result<()> {
        each!(self, stream => stream.shutdown_write(deadline).await)
    }

    async fn left(&self) {
        each!(self, stream => stream.left().await);
    }

    fn abort(&self) {
        each!(self, stream => stream.abort());
    }

    fn peer_addr(&self) -> Option<SocketAddr> {
        each!(self, stream => stream.peer_addr())
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        each!(self, stream => stream.local_addr())
    }

    fn as_tcp(&self) -> Option<&TcpStream> {
        each!(self, stream => stream.as_tcp())
    }
}

//! Connections to endpoints: connecting, shared HTTP/2 connections, and copying between sockets in the
//! kernel.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringway_model::Tick;
use ringway_net::sync::Permit;
use ringway_net::tls::TlsError;
use ringway_net::{SenderLimits, Stream};
use ringway_traffic::snapshot::{EndpointId, Snapshot};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

/// Connector of one core. Simulations put a network of their own behind it, with static dispatch.
pub(crate) trait Connector: 'static {
    /// Connection, or a stream of one.
    type Stream: Stream + 'static;

    /// Connects; `TimedOut` at the deadline.
    fn connect(&self, address: SocketAddr, deadline: Tick) -> impl Future<Output = io::Result<Self::Stream>>;

    /// Performs a TLS handshake on a connection of [`connect`](Self::connect), until the deadline.
    fn connect_tls(
        &self,
        stream: Self::Stream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        deadline: Tick,
    ) -> impl Future<Output = Result<Self::Stream, TlsError>>;

    /// Returns a stream of a shared HTTP/2 connection to the endpoint, or the permit to connect; `None` at
    /// the deadline.
    fn acquire(
        &self,
        endpoint: EndpointId,
        deadline: Tick,
    ) -> impl Future<Output = Option<Acquired<Self::Stream>>>;

    /// Whether ALPN selected HTTP/2.
    fn is_http2(&self, stream: &Self::Stream) -> bool;

    /// Starts HTTP/2 on a new connection, which [`acquire`](Self::acquire) shares from then on; returns its
    /// first stream. A peer that takes no bytes for `stall` breaks it.
    fn start_http2(
        &self,
        endpoint: EndpointId,
        stream: Self::Stream,
        stall: Duration,
    ) -> io::Result<Self::Stream>;

    /// Records that the endpoint selected HTTP/1.1: its requests do not wait for a shared connection.
    fn set_http1_only(&self, endpoint: EndpointId);

    /// Whether a failure on this stream does not count against its endpoint. To be called once for each
    /// failure: the end of a shared connection counts for the first of its requests.
    fn is_excused(&self, _stream: &Self::Stream) -> bool {
        false
    }

    /// Drops the shared connections to endpoints that a snapshot sends no new requests to, once their
    /// requests have ended.
    fn retain_endpoints(&self, snapshot: &Snapshot);

    /// Whether [`splice`](Self::splice) copies in the kernel. If not, a caller with a buffer copies faster
    /// itself.
    fn can_splice(&self, from: &Self::Stream, to: &Self::Stream) -> bool;

    /// Copies exactly `bytes` bytes from one connection to the other in the kernel. The receiver may stall no
    /// longer than `stall`; the sender has limits of its own. Sets `progress` to the time of the last byte.
    /// After `SenderStalled` the rest can still be copied.
    fn splice(
        &self,
        from: &Self::Stream,
        to: &Self::Stream,
        bytes: u64,
        stall: Duration,
        sender: SenderLimits,
        progress: &Cell<Tick>,
    ) -> impl Future<Output = Result<(), Splice>>;
}

/// Result of [`Connector::acquire`].
pub(crate) enum Acquired<S> {
    /// Stream of a shared connection.
    Stream(S),
    /// Permit to connect. While it lives, other requests for the endpoint wait for its connection; none for
    /// an endpoint that selected HTTP/1.1, where every request connects for itself.
    Connect(Option<Permit>),
}

/// Early end of a [`Connector::splice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Splice {
    /// Bytes that the receiver has taken.
    pub(crate) moved: u64,
    pub(crate) error: SpliceError,
    /// The receiver took at least [`CLIENT_WAIT_NOTED`](crate::limits::CLIENT_WAIT_NOTED) for a part.
    pub(crate) kept_waiting: bool,
}

/// Reason for the early end of a splice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpliceError {
    /// The sender closed or reset the connection.
    Sender,
    /// The sender stopped sending.
    SenderStalled,
    /// The receiver reset the connection.
    Receiver,
    /// The receiver stopped reading.
    ReceiverStalled,
}

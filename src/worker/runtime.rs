//! What an exchange needs of the world outside it: sockets, time, tasks. One implementation runs on monoio; a
//! simulator with a virtual clock can stand in its place, with static dispatch and at no cost.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{Tick, Timestamp};
use ringway_net::tls::TlsError;
use ringway_net::{PanicMessage, Rate, Stream};
use ringway_traffic::snapshot::{EndpointId, Snapshot};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::h2::client::Joined;
use crate::session::idle::Silent;

/// The world of one core.
pub(crate) trait Runtime: 'static {
    /// A TCP connection.
    type Stream: Stream + 'static;

    /// The time for deadlines.
    fn now(&self) -> Tick;

    /// The same clock in microseconds, for measuring.
    fn now_micros(&self) -> u64;

    /// The time for people.
    fn timestamp(&self) -> Timestamp;

    /// Waits for so long.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;

    /// Runs `future` as a task of this core. When it panics, it ends, alone, and `on_panic` is told.
    fn spawn<F, P>(&self, future: F, on_panic: P)
    where
        F: Future<Output = ()> + 'static,
        P: FnOnce(PanicMessage) + 'static;

    /// Connects; `TimedOut` at the deadline.
    fn connect(&self, address: SocketAddr, deadline: Tick) -> impl Future<Output = io::Result<Self::Stream>>;

    /// Makes a connection that [`connect`](Self::connect) gave a TLS one, until the deadline.
    fn connect_tls(
        &self,
        stream: Self::Stream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        deadline: Tick,
    ) -> impl Future<Output = Result<Self::Stream, TlsError>>;

    /// A stream of a connection to the endpoint that speaks HTTP/2, or the turn to make one; `None` at the deadline.
    fn join(
        &self,
        endpoint: EndpointId,
        deadline: Tick,
    ) -> impl Future<Output = Option<Joined<Self::Stream>>>;

    /// Whether the two sides have agreed on HTTP/2.
    fn agreed_on_http2(&self, stream: &Self::Stream) -> bool;

    /// Begins HTTP/2 on a new connection, which [`Runtime::join`] shares from then on; its first stream.
    fn begin_http2(
        &self,
        endpoint: EndpointId,
        stream: Self::Stream,
        stall: Duration,
    ) -> io::Result<Self::Stream>;

    /// The endpoint chose HTTP/1.1.
    fn note_http1(&self, endpoint: EndpointId);

    /// Whether a failure on this stream says nothing about its endpoint. Called once for a failure: the end of a connection
    /// that many requests shared counts for the first that asks.
    fn is_excused(&self, _stream: &Self::Stream) -> bool {
        false
    }

    /// Takes no more requests to the endpoints that a snapshot does not have.
    fn keep_only(&self, snapshot: &Snapshot);

    /// Takes a silent connection, to begin its session anew when something comes. False where it has to be kept by its
    /// session.
    fn park(&self, _stream: &Self::Stream, _silent: Silent) -> bool {
        false
    }

    /// Gives all of them back; one without a stream is closed.
    fn take_parked(&self) -> Vec<(Option<Self::Stream>, Silent)> {
        Vec::new()
    }

    /// How many connections it has taken that way.
    fn parked(&self) -> usize {
        0
    }

    /// Whether [`Runtime::splice`] would move bytes without copying them; whoever has a buffer copies better itself otherwise.
    fn can_splice(&self, from: &Self::Stream, to: &Self::Stream) -> bool;

    /// Moves exactly `bytes` bytes from one connection to the other without copying them through this process. Neither side may
    /// make the other wait for `stall`, and the sender must keep the rate, if one is given. Sets `progress` to the time of the last
    /// byte. After `SenderStalled` the rest can still be moved.
    fn splice(
        &self,
        from: &Self::Stream,
        to: &Self::Stream,
        bytes: u64,
        stall: Duration,
        rate: Option<Rate>,
        progress: &Cell<Tick>,
    ) -> impl Future<Output = Result<(), Splice>>;
}

/// Which side ended a [`Runtime::splice`], and how far it had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Splice {
    /// Bytes that had reached the receiver.
    pub(crate) moved: u64,
    /// What happened.
    pub(crate) error: SpliceError,
    /// The receiver was slow to take a part of it: [`CLIENT_WAIT_NOTED`](crate::limits::CLIENT_WAIT_NOTED).
    pub(crate) kept_waiting: bool,
}

/// Why a splice ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpliceError {
    /// The sender ended or broke the connection.
    Sender,
    /// The sender stopped sending.
    SenderStalled,
    /// The receiver broke the connection.
    Receiver,
    /// The receiver stopped reading.
    ReceiverStalled,
}

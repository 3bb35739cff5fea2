//! One client connection as exchanges see it: who is there, and what state it is in for the drain.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use ringway_net::{PeerState, Stream};
use ringway_telemetry::RequestId;

use crate::accept::listener::Door;
use crate::settings::Settings;

/// A client connection. Shared with the drain, which may end it while its session waits.
pub(crate) struct DownstreamConn<S> {
    pub(crate) stream: S,
    /// Who connected, or who did to the balancer that says so.
    pub(crate) peer: IpAddr,
    pub(crate) door: Door,
    /// The peer is a proxy whose word about the client is believed.
    pub(crate) trusted: bool,
    /// `X-Forwarded-For`, `X-Real-IP` and `X-Forwarded-Proto` as they are added for a peer that is the client itself.
    pub(crate) address_lines: Rc<[u8]>,
    /// The exchange runs over a stream of HTTP/2.
    pub(crate) is_http2: bool,
    pub(crate) phase: Cell<Phase>,
    /// The exchange in progress, for the log line of a panic.
    pub(crate) request_id: Cell<Option<RequestId>>,
}

/// What a session is doing, as far as the drain must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between two requests: may be ended, once nothing can be on its way any more.
    Idle,
    /// Between two requests, the last of which was told that the connection stays before the drain began: ends by itself, soon.
    Leaving,
    /// In a request: may finish it.
    Busy,
    /// Upgraded: is told to go.
    Tunnel,
}

impl<S> DownstreamConn<S> {
    pub(crate) fn new(stream: S, peer: IpAddr, door: Door, settings: &Settings) -> Self {
        Self {
            stream,
            peer,
            trusted: settings.trusts(peer),
            address_lines: address_lines(peer, door.scheme()),
            door,
            is_http2: false,
            phase: Cell::new(Phase::Idle),
            request_id: Cell::new(None),
        }
    }

    /// The same client on a stream of this connection.
    pub(crate) fn for_stream(&self, stream: S) -> Self {
        Self {
            stream,
            peer: self.peer,
            door: self.door.clone(),
            trusted: self.trusted,
            address_lines: self.address_lines.clone(),
            is_http2: true,
            phase: Cell::new(Phase::Idle),
            request_id: Cell::new(None),
        }
    }
}

impl<S: Stream> DownstreamConn<S> {
    /// Whether the client has gone, as far as that is known without waiting. One that has ended its side counts as gone, unless
    /// something that it sent before is still to be read from the connection. One system call.
    pub(crate) async fn has_left(&self) -> bool {
        let mut left = pin!(self.stream.left());
        let is_reset = poll_fn(|cx| Poll::Ready(left.as_mut().poll(cx).is_ready())).await;
        is_reset || self.stream.peek_state() == PeerState::Closed
    }
}

/// The lines that tell an app where a request came from.
pub(crate) fn address_lines(client: IpAddr, proto: &str) -> Rc<[u8]> {
    format!("X-Forwarded-For: {client}\r\nX-Real-IP: {client}\r\nX-Forwarded-Proto: {proto}\r\n")
        .into_bytes()
        .into()
}

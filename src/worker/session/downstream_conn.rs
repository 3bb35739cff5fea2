//! Client connection as its exchanges see it, with the phase that the drain depends on.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use ringway_model::{ClientAuthNeed, Tick};
use ringway_net::{PeerState, Stream};
use ringway_telemetry::RequestId;
use ringway_traffic::snapshot::Snapshot;
use ringway_traffic::virtual_host::VirtualHost;

use crate::accept::listener::Admission;
use crate::accept::tls_info::{TlsInfo, Unfit};
use crate::exchange::match_rule::Match;
use crate::runtime::IdleConn;
use crate::settings::Settings;

/// Client connection, or one HTTP/2 stream of it. Shared with the drain, which may end it while its session
/// waits.
pub(crate) struct DownstreamConn<S> {
    pub(crate) stream: S,
    /// Address of the client: from the PROXY header where there is one, else of the socket.
    pub(crate) peer: IpAddr,
    /// Its listener, and its place there.
    pub(crate) admission: Admission,
    /// TLS properties; none without TLS.
    pub(crate) tls: Option<Rc<TlsInfo>>,
    /// The peer is a trusted proxy: its forwarding headers are used.
    pub(crate) trusted: bool,
    /// `X-Forwarded-For`, `X-Real-IP` and `X-Forwarded-Proto` for a peer that is the client itself.
    pub(crate) address_lines: Rc<[u8]>,
    /// The exchange runs over a stream of HTTP/2.
    pub(crate) is_http2: bool,
    pub(crate) phase: Cell<Phase>,
    /// Exchange in progress, for the log line of a panic.
    pub(crate) request_id: Cell<Option<RequestId>>,
}

/// Phase of a session, as far as the drain depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between two requests: closed once no request can be on its way.
    Idle,
    /// Between two requests, after a response that announced keep-alive before the drain began: closes by
    /// itself, soon.
    Leaving,
    /// In a request, which may finish.
    Busy,
    /// Upgraded: the drain asks both sides to close.
    Tunnel,
}

impl<S> DownstreamConn<S> {
    pub(crate) fn new(
        stream: S,
        peer: IpAddr,
        admission: Admission,
        tls: Option<Rc<TlsInfo>>,
        settings: &Settings,
    ) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        Self {
            stream,
            peer,
            admission,
            tls,
            trusted: settings.trusts(peer),
            address_lines: address_lines(peer, scheme),
            is_http2: false,
            phase: Cell::new(Phase::Idle),
            request_id: Cell::new(None),
        }
    }

    /// Returns the same client on an HTTP/2 stream of this connection.
    pub(crate) fn for_stream(&self, stream: S) -> Self {
        Self {
            stream,
            peer: self.peer,
            admission: self.admission.of_stream(),
            tls: self.tls.clone(),
            trusted: self.trusted,
            address_lines: self.address_lines.clone(),
            is_http2: true,
            phase: Cell::new(Phase::Idle),
            request_id: Cell::new(None),
        }
    }

    /// Returns the entry of the idle set; none with TLS, whose session cannot be rebuilt from it.
    pub(crate) fn to_idle(&self, exchanges: u32, deadline: Tick) -> Option<IdleConn> {
        let idle = || IdleConn { peer: self.peer, admission: self.admission.clone(), exchanges, deadline };
        self.tls.is_none().then(idle)
    }

    /// Value of `X-Forwarded-Proto`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// TLS version; none without TLS.
    pub(crate) fn tls_version(&self) -> Option<&'static str> {
        self.tls.as_ref().map(|tls| tls.version)
    }

    /// Checks that a request for `host_name` may be served on this connection.
    pub(crate) fn check(
        &self,
        snapshot: &Snapshot,
        matched: Match<'_>,
        host_name: &str,
    ) -> Result<(), Unfit> {
        match &self.tls {
            Some(tls) => tls.check(snapshot, matched, host_name),
            // A client certificate cannot be presented without TLS.
            None if needs_certificate(matched) => Err(Unfit::NoTls),
            None => Ok(()),
        }
    }

    /// Subject of the client's verified certificate.
    pub(crate) fn client_cert_subject(&self) -> Option<&str> {
        self.tls.as_ref()?.client_subject()
    }

    /// Returns the header lines about the client certificate; none unless the host demands one.
    pub(crate) fn client_cert_headers(&self, host: &VirtualHost) -> &[u8] {
        match &self.tls {
            Some(tls) => tls.client_headers(host),
            None if host.tls.client_auth.is_some() => b"X-Client-Cert-Verified: NONE\r\n",
            None => b"",
        }
    }
}

impl<S: Stream> DownstreamConn<S> {
    /// Whether the client has closed, as far as that is known without waiting. A client that has closed its
    /// sending side counts as closed, unless bytes that it sent before are still unread. One system call.
    pub(crate) async fn has_left(&self) -> bool {
        let mut left = pin!(self.stream.left());
        let is_reset = poll_fn(|cx| Poll::Ready(left.as_mut().poll(cx).is_ready())).await;
        is_reset || self.stream.peek_state() == PeerState::Closed
    }
}

fn needs_certificate(Match { host, rule }: Match<'_>) -> bool {
    rule.requires_client_cert
        || host.tls.client_auth.as_ref().is_some_and(|auth| auth.need == ClientAuthNeed::Required)
}

/// Header lines about the origin of a request.
pub(crate) fn address_lines(client: IpAddr, proto: &str) -> Rc<[u8]> {
    format!("X-Forwarded-For: {client}\r\nX-Real-IP: {client}\r\nX-Forwarded-Proto: {proto}\r\n")
        .into_bytes()
        .into()
}

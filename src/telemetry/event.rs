//! Events of a data core, one type each.
//!
//! Texts that came from outside are bytes as they came: whoever renders them escapes them. Metric slots are the
//! numbers that the compiled snapshot gave to routes, pools and endpoints; 0 means "has none of its own" and is
//! counted together with everything else that has none.

use std::net::IpAddr;

use ringway_model::{CoreId, Revision, Serial, TenantHash, Timestamp};

/// An event of a data core.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request and its response are over.
    Exchange(&'a Exchange<'a>),
    /// An attempt failed, and another follows.
    AttemptFailed(AttemptFailed<'a>),
    /// A connection was accepted.
    ConnectionOpened(ConnectionOpened),
    /// A connection was accepted and passed to another core.
    ConnectionHandedOver(ConnectionHandedOver),
    /// A connection was accepted only to be closed.
    ConnectionRefused(ConnectionRefused),
    /// A connection was ended for what its client did.
    ConnectionAbused(ConnectionAbused),
    /// A connection is over.
    ConnectionClosed(ConnectionClosed),
    /// A TLS handshake succeeded.
    HandshakeDone(HandshakeDone),
    /// A TLS handshake failed.
    HandshakeRefused(HandshakeRefused),
    /// A certificate or CA file was loaded, or could not be.
    SecretLoaded(SecretLoaded),
    /// A request was rejected before routing.
    Rejected(Rejected),
    /// A task panicked.
    Panicked(Panicked<'a>),
    /// A connection became a tunnel.
    Upgraded(Upgraded),
    /// A tunnel is over.
    UpgradeEnded(UpgradeEnded),
    /// A core routes by a new snapshot.
    SnapshotApplied(SnapshotApplied),
    /// A circuit breaker opened.
    BreakerOpened(BreakerOpened<'a>),
}

/// Makes an event of each type that a variant carries.
macro_rules! into_event {
    ($($variant:ident($type:ty)),+ $(,)?) => {
        $(impl<'a> From<$type> for Event<'a> {
            #[inline]
            fn from(event: $type) -> Self {
                Self::$variant(event)
            }
        })+
    };
}

into_event! {
    Exchange(&'a Exchange<'a>),
    AttemptFailed(AttemptFailed<'a>),
    ConnectionOpened(ConnectionOpened),
    ConnectionHandedOver(ConnectionHandedOver),
    ConnectionRefused(ConnectionRefused),
    ConnectionAbused(ConnectionAbused),
    ConnectionClosed(ConnectionClosed),
    HandshakeDone(HandshakeDone),
    HandshakeRefused(HandshakeRefused),
    SecretLoaded(SecretLoaded),
    Rejected(Rejected),
    Panicked(Panicked<'a>),
    Upgraded(Upgraded),
    UpgradeEnded(UpgradeEnded),
    SnapshotApplied(SnapshotApplied),
    BreakerOpened(BreakerOpened<'a>),
}

/// One request and its response, told once, when both are over.
///
/// An upgraded connection is one exchange too; it is over when the tunnel is.
#[derive(Clone, Debug)]
pub struct Exchange<'a> {
    /// When it was over.
    pub time: Timestamp,
    /// The id that the request carries in `X-Request-ID`.
    pub request_id: &'a str,
    /// Address of the client: the peer, or the one that a trusted proxy named.
    pub client_ip: IpAddr,
    /// The method as received; empty when the head could not be parsed.
    pub method: &'a [u8],
    /// The host, normalised where that succeeded; empty when unknown.
    pub host: &'a [u8],
    /// The path without its query; empty when unknown.
    pub path: &'a [u8],
    /// The query without its question mark. May hold secrets: the access log shows it only where an operator chose so.
    pub query: Option<&'a [u8]>,
    /// The client's protocol.
    pub protocol: Protocol,
    /// The status sent to the client; 0 when the client got none.
    pub status: u16,
    /// Bytes of the request's body as received.
    pub bytes_in: u64,
    /// Bytes of the response's body as sent.
    pub bytes_out: u64,
    /// From the request's first byte to the response's last, in microseconds.
    pub duration_us: u64,
    /// From the start of the last attempt to the first byte of its response head, in microseconds; `None` when no
    /// upstream was asked.
    pub upstream_us: Option<u64>,
    /// Metric slot of the route, 0 for none.
    pub route: u16,
    /// Metric slot of the pool, 0 for none.
    pub pool: u16,
    /// Metric slot of the endpoint of the last attempt, 0 for none.
    pub endpoint: u16,
    /// The app that the route leads to.
    pub app: Option<&'a str>,
    /// The tenant, unrecognisable.
    pub tenant: Option<TenantHash>,
    /// The instance of the last attempt.
    pub instance: Option<&'a str>,
    /// Attempts upstream, 0 when none was made.
    pub attempts: u32,
    /// The word for what went wrong, from a fixed vocabulary; `None` when nothing did.
    pub failure: Option<&'static str>,
    /// Cause of the failure, where it is the instance's.
    pub upstream_error: Option<UpstreamError<'a>>,
    /// Rule that the request broke, and the field that broke it, where the failure is the client's.
    pub request_error: Option<&'a str>,
    /// The client's `User-Agent`.
    pub user_agent: Option<&'a [u8]>,
    /// The client's `Referer`, where the access log shows it.
    pub referer: Option<&'a [u8]>,
    /// Protocol after an upgrade.
    pub upgrade: Option<Upgrade>,
    /// The version of TLS between client and proxy, `TLSv1.3` or `TLSv1.2`; `None` without TLS.
    pub tls: Option<&'static str>,
}

/// Cause of a failed attempt upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamError<'a> {
    /// The rule that was broken, or the kind of failure; a word from a fixed vocabulary, for metrics.
    pub reason: &'static str,
    /// The same for people, with names of fields, addresses and errors of the system. Printable ASCII, of
    /// [`ringway_model::limits::UPSTREAM_ERROR_BYTES_MAX`](ringway_model::limits::UPSTREAM_ERROR_BYTES_MAX), without values of fields.
    pub text: &'a str,
}

/// The protocol between client and proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

impl Protocol {
    /// The name as in a status line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// Protocol of an upgraded connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Upgrade {
    /// RFC 6455.
    WebSocket,
}

impl Upgrade {
    /// The word in logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
        }
    }
}

/// An attempt upstream that failed and was followed by another. The last attempt is told by its [`Exchange`].
#[derive(Clone, Copy, Debug)]
pub struct AttemptFailed<'a> {
    /// The request's id.
    pub request_id: &'a str,
    /// Metric slot of the pool.
    pub pool: u16,
    /// Metric slot of the endpoint.
    pub endpoint: u16,
    /// The instance that was tried.
    pub instance: &'a str,
    /// The word for what went wrong.
    pub failure: &'static str,
    /// Cause of the failure; `None` for a pooled connection that had ended, which says nothing about the instance.
    pub error: Option<UpstreamError<'a>>,
    /// Duration in microseconds.
    pub duration_us: u64,
}

/// A client's connection was accepted.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionOpened {
    /// The peer.
    pub client_ip: IpAddr,
}

/// A client's connection was accepted and given to another core, which tells [`ConnectionOpened`] of it.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionHandedOver {
    /// The peer.
    pub client_ip: IpAddr,
    /// The core that has it now.
    pub to: CoreId,
}

/// A client's connection was accepted and closed again without being served. Not followed by [`ConnectionClosed`].
#[derive(Clone, Copy, Debug)]
pub struct ConnectionRefused {
    /// The peer.
    pub client_ip: IpAddr,
    /// Why.
    pub reason: RefusalReason,
}

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// The core has as many connections as it may have.
    Full,
    /// The process is ending.
    Draining,
    /// It came from a load balancer without the PROXY header that it owes.
    ProxyHeader,
}

/// A client did too much of something on one connection, or what its protocol forbids; it was ended. [`ConnectionClosed`] follows.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionAbused {
    /// The peer.
    pub client_ip: IpAddr,
    /// The violation, from a fixed vocabulary.
    pub reason: &'static str,
}

/// A client's connection is over. Follows each [`ConnectionOpened`], also after a panic.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionClosed {
    /// The peer.
    pub client_ip: IpAddr,
    /// Exchanges that it carried.
    pub exchanges: u32,
}

/// A TLS handshake was finished; its [`ConnectionOpened`] follows.
#[derive(Clone, Copy, Debug)]
pub struct HandshakeDone {
    /// The peer.
    pub client_ip: IpAddr,
    /// `TLSv1.3` or `TLSv1.2`.
    pub protocol: &'static str,
    /// The client came back with a ticket, which spares the signature.
    pub resumed: bool,
    /// From accept to the end of the handshake, in microseconds.
    pub duration_us: u64,
}

/// A TLS handshake was not finished; the connection is closed and was never told as opened.
#[derive(Clone, Copy, Debug)]
pub struct HandshakeRefused {
    /// The peer.
    pub client_ip: IpAddr,
    /// Why, from a fixed vocabulary.
    pub reason: &'static str,
}

/// A certificate, a CA file or the like was loaded for this core, or could not be.
#[derive(Clone, Copy, Debug)]
pub struct SecretLoaded {
    /// `certificate`, `client_ca` or `upstream`.
    pub kind: &'static str,
    /// It is in use from now on. If not, the one before is, where there is one.
    pub is_good: bool,
}

/// A request that was refused before routing, told beside its [`Exchange`], for the codes are counted.
#[derive(Clone, Copy, Debug)]
pub struct Rejected {
    /// The peer.
    pub client_ip: IpAddr,
    /// The error, from a fixed vocabulary.
    pub code: &'static str,
    /// The status of the answer.
    pub status: u16,
}

/// A task panicked; its connection ended, nothing else did.
#[derive(Clone, Copy, Debug)]
pub struct Panicked<'a> {
    /// The request that was under way, if one was.
    pub request_id: Option<&'a str>,
}

/// A connection became a tunnel.
#[derive(Clone, Copy, Debug)]
pub struct Upgraded {
    /// Its new protocol.
    pub kind: Upgrade,
    /// Metric slot of the route.
    pub route: u16,
}

/// A tunnel is over. Follows each [`Upgraded`], also after a panic.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeEnded {
    /// Its protocol.
    pub kind: Upgrade,
    /// Metric slot of the route.
    pub route: u16,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
}

/// A core routes by a new snapshot from now on.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotApplied {
    /// Which snapshot.
    pub serial: Serial,
    /// The configuration that it was compiled from.
    pub revision: Revision,
}

/// An endpoint's breaker opened.
#[derive(Clone, Copy, Debug)]
pub struct BreakerOpened<'a> {
    /// Metric slot of the pool.
    pub pool: u16,
    /// The instance behind the endpoint.
    pub instance: &'a str,
}

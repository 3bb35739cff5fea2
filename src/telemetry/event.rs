//! Events of a data core, one type each.
//!
//! Text received from peers is unescaped bytes; an observer that renders it must escape it. Metric slots are
//! the numbers that the compiled snapshot assigned to routes, pools and endpoints; slot 0 is shared by all
//! that have no slot of their own.

use std::net::IpAddr;

use ringway_model::{CoreId, Revision, Serial, TenantHash, Timestamp, Variant};

/// An event of a data core.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request and its response were completed.
    Exchange(&'a Exchange<'a>),
    /// An attempt failed, and another follows.
    AttemptFailed(AttemptFailed<'a>),
    /// A connection was accepted.
    ConnectionOpened(ConnectionOpened),
    /// A connection was accepted and migrated to another core.
    ConnectionHandedOver(ConnectionHandedOver),
    /// A connection was accepted and closed without being served.
    ConnectionRefused(ConnectionRefused),
    /// A connection was closed because of a violation by its client.
    ConnectionAbused(ConnectionAbused),
    /// A connection was closed.
    ConnectionClosed(ConnectionClosed),
    /// A TLS handshake was completed.
    HandshakeDone(HandshakeDone),
    /// A TLS handshake failed.
    HandshakeRefused(HandshakeRefused),
    /// A certificate or CA file was loaded, or failed to load.
    SecretLoaded(SecretLoaded),
    /// A request was rejected before routing.
    Rejected(Rejected),
    /// A task panicked.
    Panicked(Panicked<'a>),
    /// A connection became a tunnel.
    Upgraded(Upgraded),
    /// A tunnel was closed.
    UpgradeEnded(UpgradeEnded),
    /// A core switched to a new snapshot.
    SnapshotApplied(SnapshotApplied),
    /// A circuit breaker opened.
    BreakerOpened(BreakerOpened<'a>),
    /// A policy of a route decided on a request.
    PolicyDecided(PolicyDecided),
    /// A copy of a request ended, or was not made.
    Mirrored(Mirrored),
    /// A call of a middleware stage ended, or was not made.
    Called(Called),
    /// An external filter was asked about a request.
    FilterAsked(FilterAsked),
    /// A request begins or ends to wait for another one's response.
    CacheWait(CacheWait),
    /// A request of the cache to an endpoint ended.
    CacheFilled(CacheFilled),
    /// Authentication refused a request or a connection.
    AuthRefused(AuthRefused),
}

/// Implements `From` for the payload of each variant.
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
    PolicyDecided(PolicyDecided),
    Mirrored(Mirrored),
    Called(Called),
    FilterAsked(FilterAsked),
    CacheWait(CacheWait),
    CacheFilled(CacheFilled),
    AuthRefused(AuthRefused),
}

/// One request and its response, reported once, after both are completed.
///
/// An upgraded connection is one exchange too, completed when the tunnel is closed.
#[derive(Clone, Debug)]
pub struct Exchange<'a> {
    /// Time of completion.
    pub time: Timestamp,
    /// Value of the request's `X-Request-ID`.
    pub request_id: &'a str,
    /// Address of the client: the peer, or the address given by a trusted proxy.
    pub client_ip: IpAddr,
    /// Method as received; empty when the head could not be parsed.
    pub method: &'a [u8],
    /// Host, normalised where that succeeded; empty when unknown.
    pub host: &'a [u8],
    /// Path without the query; empty when unknown.
    pub path: &'a [u8],
    /// Query without its question mark. May hold secrets: the access log shows it only if configured.
    pub query: Option<&'a [u8]>,
    /// Protocol of the client's connection.
    pub protocol: Protocol,
    /// Status sent to the client; 0 if none was sent.
    pub status: u16,
    /// Bytes of the request body as received.
    pub bytes_in: u64,
    /// Bytes of the response body as sent.
    pub bytes_out: u64,
    /// Time from the first byte of the request to the last byte of the response, in microseconds.
    pub duration_us: u64,
    /// Time from the start of the last attempt to the first byte of its response head, in microseconds;
    /// `None` without an attempt.
    pub upstream_us: Option<u64>,
    /// Metric slot of the route, 0 for none.
    pub route: u16,
    /// Metric slot of the pool, 0 for none.
    pub pool: u16,
    /// Metric slot of the endpoint of the last attempt, 0 for none.
    pub endpoint: u16,
    /// Id of an operator's route; `None` for a registered domain.
    pub route_id: Option<&'a str>,
    /// App of the route.
    pub app: Option<&'a str>,
    /// Hash of the tenant.
    pub tenant: Option<TenantHash>,
    /// Instance of the last attempt.
    pub instance: Option<&'a str>,
    /// Number of upstream attempts.
    pub attempts: u32,
    /// Failure code, from a fixed vocabulary; `None` on success.
    pub failure: Option<&'static str>,
    /// Cause of the failure, if the instance caused it.
    pub upstream_error: Option<UpstreamError<'a>>,
    /// Rule that the request violated, and the field that violated it, if the client caused the failure.
    pub request_error: Option<&'a str>,
    /// `User-Agent` of the client.
    pub user_agent: Option<&'a [u8]>,
    /// `Referer` of the client, if the access log shows it.
    pub referer: Option<&'a [u8]>,
    /// Protocol after an upgrade.
    pub upgrade: Option<Upgrade>,
    /// TLS version between client and proxy, `TLSv1.3` or `TLSv1.2`; `None` without TLS.
    pub tls: Option<&'static str>,
    /// Variant of the route's canary that served it.
    pub variant: Option<Variant>,
    /// Time in the queue of its route, in microseconds.
    pub queue_us: Option<u64>,
    /// Time for which middleware stages waited, in microseconds; 0 where none did.
    pub stages_us: u64,
    /// Policy or route whose limit refused it.
    pub limited_by: Option<&'a str>,
    /// Result of the retries that a policy admits; `None` when none was due.
    pub retry: Option<RetryOutcome>,
    /// Result of the hedge that a policy asks for; `None` when the response came before it was due.
    pub hedge: Option<HedgeOutcome>,
    /// State of the circuit breaker of pool or route: `closed`, `open` or `half_open`; `None` without one.
    pub breaker: Option<&'static str>,
    /// Type of the middleware stage that replied in place of an endpoint.
    pub middleware: Option<&'static str>,
    /// The last external filter that has given no decision.
    pub filter_failure: Option<FilterFailure>,
    /// Result of the stage `compress`; `None` without one.
    pub compression: Option<Compression>,
    /// Part of the cache in it; `None` where the route has none, and where it ended before the look-up.
    pub cache: Option<CacheUse>,
    /// Whether the access log gets a line; its route may want none.
    pub is_logged: bool,
}

impl Exchange<'_> {
    /// Whether a second attempt was made beside the first one.
    pub fn is_hedged(&self) -> bool {
        matches!(self.hedge, Some(HedgeOutcome::Won | HedgeOutcome::Lost))
    }

    /// Number of attempts that followed a failed one.
    pub fn retries(&self) -> u32 {
        self.attempts.saturating_sub(1 + u32::from(self.is_hedged()))
    }
}

/// Result of a hedge: a second attempt of a request whose response is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HedgeOutcome {
    /// The client got the response of the second attempt.
    Won,
    /// The client got the response, or the failure, of the first attempt.
    Lost,
    /// It was due, and the policy's budget admitted none.
    Budget,
    /// It was due in a dry run.
    DryRun,
}

impl HedgeOutcome {
    /// All values.
    pub const ALL: [Self; 4] = [Self::Won, Self::Lost, Self::Budget, Self::DryRun];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Won => "won",
            Self::Lost => "lost",
            Self::Budget => "budget",
            Self::DryRun => "dry_run",
        }
    }
}

/// Result of the stage `compress` for one response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// The body was coded, as far as it was sent.
    Coded {
        /// The content coding.
        coding: &'static str,
        /// Bytes before it.
        bytes_in: u64,
        /// Bytes behind it.
        bytes_out: u64,
    },
    /// The body was forwarded as it came; the reason, from a fixed vocabulary.
    Skipped(&'static str),
}

impl Compression {
    /// The content coding, if there is one.
    pub fn coding(self) -> Option<&'static str> {
        match self {
            Self::Coded { coding, .. } => Some(coding),
            Self::Skipped(_) => None,
        }
    }
}

/// Part of the cache in an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheUse {
    /// `hit`, `stale`, `revalidated`, `miss` or `bypass`.
    pub status: &'static str,
    /// The same for metrics.
    pub result: CacheResult,
    /// Reason for which a response past its lifetime answered, from a fixed vocabulary.
    pub stale: Option<&'static str>,
    /// Reason for which the response is not stored, from a fixed vocabulary.
    pub not_stored: Option<&'static str>,
    /// Whether another client's request brought the response.
    pub is_coalesced: bool,
}

impl CacheUse {
    /// Whether a stored response answered, and no endpoint was asked.
    pub fn is_hit(self) -> bool {
        self.result == CacheResult::Hit
    }
}

/// Result of a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheResult {
    /// A stored response answered, and no endpoint was asked.
    Hit,
    /// An endpoint was asked, or its response to another request was taken.
    Miss,
    /// There was no look-up.
    Bypass,
}

impl CacheResult {
    /// All values.
    pub const ALL: [Self; 3] = [Self::Hit, Self::Miss, Self::Bypass];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}

/// Result of the retries of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryOutcome {
    /// A later attempt succeeded.
    Success,
    /// All attempts failed.
    Exhausted,
    /// The pool's budget admitted no further attempt.
    Budget,
    /// The request's body was forwarded and not kept.
    Body,
}

impl RetryOutcome {
    /// All values.
    pub const ALL: [Self; 4] = [Self::Success, Self::Exhausted, Self::Budget, Self::Body];

    /// The name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Exhausted => "exhausted",
            Self::Budget => "budget",
            Self::Body => "body",
        }
    }
}

/// Cause of a failed upstream attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamError<'a> {
    /// Violated rule or kind of failure, from a fixed vocabulary, for metrics.
    pub reason: &'static str,
    /// The same as a message, with names of fields, addresses and system errors, without values of fields.
    /// Printable ASCII, at most [`UPSTREAM_ERROR_BYTES_MAX`](ringway_model::limits::UPSTREAM_ERROR_BYTES_MAX)
    /// bytes.
    pub text: &'a str,
}

/// Protocol between client and proxy.
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
    /// Returns the name as in a status line.
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
    /// Tunnel of the forward proxy (RFC 9110 §9.3.6).
    Connect,
}

impl Upgrade {
    /// Returns the name in logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Connect => "connect",
        }
    }
}

/// An upstream attempt that failed and was retried. The last attempt is part of the [`Exchange`].
#[derive(Clone, Copy, Debug)]
pub struct AttemptFailed<'a> {
    /// Id of the request.
    pub request_id: &'a str,
    /// Metric slot of the pool.
    pub pool: u16,
    /// Metric slot of the endpoint.
    pub endpoint: u16,
    /// Instance of the attempt.
    pub instance: &'a str,
    /// Failure code.
    pub failure: &'static str,
    /// Cause of the failure; `None` for a pooled connection that was already closed, which is no failure of
    /// the instance.
    pub error: Option<UpstreamError<'a>>,
    /// Duration in microseconds.
    pub duration_us: u64,
}

/// A client connection was accepted.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionOpened {
    /// The peer.
    pub client_ip: IpAddr,
}

/// A client connection was accepted and migrated to another core, which emits [`ConnectionOpened`] for it.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionHandedOver {
    /// The peer.
    pub client_ip: IpAddr,
    /// New core of the connection.
    pub to: CoreId,
}

/// A client connection was accepted and closed without being served. Not followed by [`ConnectionClosed`].
#[derive(Clone, Copy, Debug)]
pub struct ConnectionRefused {
    /// The peer.
    pub client_ip: IpAddr,
    /// Reason of the refusal.
    pub reason: RefusalReason,
}

/// Reason for which a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// The core or the listener has reached its connection limit.
    Full,
    /// The process is draining before shutdown.
    Draining,
    /// The required PROXY header of the load balancer is missing.
    ProxyHeader,
    /// The forward proxy does not serve the client's network.
    Client,
}

/// A connection was closed for flooding or a protocol violation by its client. [`ConnectionClosed`] follows.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionAbused {
    /// The peer.
    pub client_ip: IpAddr,
    /// Violation, from a fixed vocabulary.
    pub reason: &'static str,
}

/// A client connection was closed. Follows each [`ConnectionOpened`], also after a panic.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionClosed {
    /// The peer.
    pub client_ip: IpAddr,
    /// Number of its exchanges.
    pub exchanges: u32,
}

/// A TLS handshake was completed; its [`ConnectionOpened`] follows.
#[derive(Clone, Copy, Debug)]
pub struct HandshakeDone {
    /// The peer.
    pub client_ip: IpAddr,
    /// `TLSv1.3` or `TLSv1.2`.
    pub protocol: &'static str,
    /// Whether the session was resumed by a ticket, which saves the signature.
    pub resumed: bool,
    /// Time from accept to the end of the handshake, in microseconds.
    pub duration_us: u64,
}

/// A TLS handshake failed; the connection is closed without a [`ConnectionOpened`].
#[derive(Clone, Copy, Debug)]
pub struct HandshakeRefused {
    /// The peer.
    pub client_ip: IpAddr,
    /// Reason, from a fixed vocabulary.
    pub reason: &'static str,
}

/// A certificate, CA file or other TLS secret was loaded for this core, or failed to load.
#[derive(Clone, Copy, Debug)]
pub struct SecretLoaded {
    /// `certificate`, `client_ca` or `upstream`.
    pub kind: &'static str,
    /// Whether it was loaded and is now in use. If not, the previous one stays in use, if there is one.
    pub is_good: bool,
}

/// A request was rejected before routing. Emitted besides its [`Exchange`], to count the codes.
#[derive(Clone, Copy, Debug)]
pub struct Rejected {
    /// The peer.
    pub client_ip: IpAddr,
    /// Error code, from a fixed vocabulary.
    pub code: &'static str,
    /// Status of the response.
    pub status: u16,
}

/// A task panicked; only its connection was closed.
#[derive(Clone, Copy, Debug)]
pub struct Panicked<'a> {
    /// Id of the request in progress, if there was one.
    pub request_id: Option<&'a str>,
}

/// A connection became a tunnel.
#[derive(Clone, Copy, Debug)]
pub struct Upgraded {
    /// Protocol after the upgrade.
    pub kind: Upgrade,
    /// Metric slot of the route.
    pub route: u16,
}

/// A tunnel was closed. Follows each [`Upgraded`], also after a panic.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeEnded {
    /// Protocol of the tunnel.
    pub kind: Upgrade,
    /// Metric slot of the route.
    pub route: u16,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
}

/// A core switched to a new snapshot.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotApplied {
    /// Serial of the snapshot.
    pub serial: Serial,
    /// Configuration revision that it was compiled from.
    pub revision: Revision,
}

/// The circuit breaker of an endpoint opened.
#[derive(Clone, Copy, Debug)]
pub struct BreakerOpened<'a> {
    /// Metric slot of the pool.
    pub pool: u16,
    /// Instance of the endpoint.
    pub instance: &'a str,
}

/// A policy of a route decided on a request. Emitted besides its [`Exchange`], to count the decisions.
#[derive(Clone, Copy, Debug)]
pub struct PolicyDecided {
    /// Metric slot of the route.
    pub route: u16,
    /// The decision.
    pub decision: PolicyDecision,
}

/// Decision of a policy on a request. The refusals of a dry run let the request pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyDecision {
    /// Refused: beyond the rate limit.
    Limited,
    /// Refused: its key is banned.
    Banned,
    /// Beyond the rate limit, in a dry run.
    WouldLimit,
    /// Of a key that would be banned, in a dry run.
    WouldBan,
}

impl PolicyDecision {
    /// All values.
    pub const ALL: [Self; 4] = [Self::Limited, Self::Banned, Self::WouldLimit, Self::WouldBan];

    /// The event of a route with this metric slot.
    pub fn of(self, route: u16) -> PolicyDecided {
        PolicyDecided { route, decision: self }
    }
}

/// A copy of a request for another pool ended, or was not made.
#[derive(Clone, Copy, Debug)]
pub struct Mirrored {
    /// Metric slot of the route.
    pub route: u16,
    /// Metric slot of the pool that served the request itself.
    pub pool: u16,
    /// Result.
    pub outcome: MirrorOutcome,
}

/// Result of a copy of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MirrorOutcome {
    /// A response head came, whatever its status.
    Answered,
    /// None came: no connection, a broken one, or the timeout.
    Failed,
    /// Not made: too many were under way.
    Limit,
    /// Not made: the request's body had not come with its head.
    Body,
    /// Not made: the pool has no available endpoint.
    Unavailable,
}

impl MirrorOutcome {
    /// All values.
    pub const ALL: [Self; 5] = [Self::Answered, Self::Failed, Self::Limit, Self::Body, Self::Unavailable];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Limit => "limit",
            Self::Body => "body",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A call of a middleware stage to a pool ended, or was not made. One that was given up is not reported.
#[derive(Clone, Copy, Debug)]
pub struct Called {
    /// Metric slot of the pool.
    pub pool: u16,
    /// `ok`, or the error, from a fixed vocabulary.
    pub result: &'static str,
}

/// An external filter was asked about a request, or an earlier decision of it holds.
#[derive(Clone, Copy, Debug)]
pub struct FilterAsked {
    /// Metric slot of the pool of its service.
    pub pool: u16,
    /// Decision, or its failure, from a fixed vocabulary.
    pub decision: &'static str,
    /// Reason why there is no decision, from a fixed vocabulary; `None` where there is one.
    pub failure: Option<&'static str>,
    /// Time that it took, in microseconds; `None` for an earlier decision.
    pub duration_us: Option<u64>,
}

/// A request begins or ends to wait for the response to another one.
#[derive(Clone, Copy, Debug)]
pub struct CacheWait {
    /// Metric slot of the route.
    pub route: u16,
    /// Metric slot of its pool.
    pub pool: u16,
    /// Whether the wait ends. Each begun one does, also when its client leaves.
    pub has_ended: bool,
}

/// A request of the cache to an endpoint ended: a miss, a confirmation, or a refresh in the background.
#[derive(Clone, Copy, Debug)]
pub struct CacheFilled {
    /// `stored`, `validated`, or the reason why nothing is stored, from a fixed vocabulary.
    pub outcome: &'static str,
}

/// External filter that has given no decision about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterFailure {
    /// `failed_open` where the request went on, and `failed_closed` where it was refused.
    pub result: &'static str,
    /// The reason, from a fixed vocabulary.
    pub reason: &'static str,
}

/// Authentication refused a request, or a connection for want of a client certificate.
#[derive(Clone, Copy, Debug)]
pub struct AuthRefused {
    /// The reason, from a fixed vocabulary.
    pub reason: &'static str,
}

//! Facts about one exchange while it goes on, and the event made of them at its end.

use std::net::IpAddr;
use std::ops::Range;

use ringway_cache::policy::Outcome;
use ringway_model::AppId;
use ringway_telemetry::{
    AttemptFailed, CacheResult, CacheUse, Compression, Exchange, FilterFailure, HedgeOutcome, Protocol,
    RequestId, RetryOutcome, Upgrade, Variant,
};
use ringway_traffic::policy::Policy;
use ringway_traffic::rate_limit::{Decision, RateLimiter};
use ringway_traffic::snapshot::{Endpoint, Pool};
use ringway_wire::headers::FieldKind;
use ringway_wire::message::Version;

use crate::core::{ConnBuffers, Core};
use crate::exchange::cause::{self, Cause};
use crate::exchange::failure::Failure;
use crate::exchange::forwarded;
use crate::exchange::local_reply::LimitedBy;
use crate::exchange::match_rule::Match;
use crate::exchange::proxied::Proxied;
use crate::runtime::Runtime;
use crate::session::downstream_conn::DownstreamConn;

/// Facts about one exchange. [`StreamInfo::report`] makes one event of them, from which log line and metrics
/// are made.
pub(crate) struct StreamInfo<'a> {
    pub(super) started_us: u64,
    id: RequestId,
    /// Position in `client_in` of a trusted proxy's id for this request.
    kept_id: Option<Range<usize>>,
    pub(crate) client: IpAddr,
    pub(crate) matched: Option<Match<'a>>,
    pub(super) pool: Option<&'a Pool>,
    pub(crate) endpoint: Option<&'a Endpoint>,
    pub(super) attempts: u32,
    /// Start of the last attempt.
    pub(crate) attempt_us: u64,
    /// Time of the final response head of the last attempt.
    pub(crate) response_us: Option<u64>,
    /// Status of the final response; `None` while none has begun.
    pub(super) status: Option<u16>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// Code of the failure, or of an error reply by configuration.
    pub(super) code: Option<&'static str>,
    pub(super) failure: Option<Failure>,
    /// Cause of the failure of the last attempt, or of the request's refusal.
    pub(super) cause: Option<Box<Cause>>,
    /// The client uses gRPC, although its head could not be read.
    pub(super) is_grpc: bool,
    is_http2: bool,
    tls: Option<&'static str>,
    pub(crate) upgraded: Option<Upgrade>,
    /// Variant of the route's canary.
    pub(super) variant: Option<Variant>,
    /// Time in the queue of its route.
    pub(super) queue_us: Option<u64>,
    /// Time for which stages waited.
    pub(super) stages_us: u64,
    /// Policy or route whose limit refused it.
    pub(super) limited_by: Option<LimitedBy<'a>>,
    /// Rate limit whose fields its response gets, and the decision.
    pub(super) rate_limit: Option<(&'a RateLimiter, Decision)>,
    pub(super) retry: Option<RetryOutcome>,
    pub(super) hedge: Option<HedgeOutcome>,
    /// State of the circuit breaker of pool or route that the first attempt met.
    pub(super) breaker: Option<&'static str>,
    /// The request is one to the forward proxy.
    pub(super) proxied: Option<Box<Proxied>>,
    /// Stage that replied.
    pub(super) stage: Option<&'static str>,
    /// External filter that has given no decision.
    pub(super) filter_failure: Option<FilterFailure>,
    /// Use of the cache, where the rule has one.
    pub(super) cache: Option<Outcome>,
    /// Result of the stage `compress`.
    pub(super) compression: Option<Compression>,
}

impl<'a> StreamInfo<'a> {
    /// Begins an exchange, and draws its request id.
    pub(super) fn new<R: Runtime>(
        core: &Core<R>,
        client: &DownstreamConn<R::Stream>,
        buffers: &ConnBuffers,
        started_us: u64,
    ) -> Self {
        let id = core.request_ids.borrow_mut().draw();
        client.request_id.set(Some(id));
        let (mut address, mut kept_id) = (client.peer, None);
        let ConnBuffers { request, client_in, .. } = buffers;
        if client.trusted && request.is_complete() {
            address = forwarded::client_address(&core.settings, client.peer, request, client_in);
            kept_id = forwarded::kept_request_id(request, client_in);
        }
        Self {
            started_us,
            id,
            kept_id,
            client: address,
            matched: None,
            pool: None,
            endpoint: None,
            attempts: 0,
            attempt_us: 0,
            response_us: None,
            status: None,
            bytes_in: 0,
            bytes_out: 0,
            code: None,
            failure: None,
            cause: None,
            is_grpc: false,
            is_http2: client.is_http2,
            tls: client.tls_version(),
            upgraded: None,
            variant: None,
            queue_us: None,
            stages_us: 0,
            limited_by: None,
            rate_limit: None,
            retry: None,
            hedge: None,
            breaker: None,
            proxied: None,
            stage: None,
            filter_failure: None,
            cache: None,
            compression: None,
        }
    }

    /// Id of the request: a trusted proxy's, where it stands in `client_in`, or ours.
    pub(crate) fn request_id<'b>(&'b self, client_in: &'b [u8]) -> &'b [u8] {
        match &self.kept_id {
            Some(range) => &client_in[range.clone()],
            None => self.id.as_bytes(),
        }
    }

    /// The same as text: ids are visible ASCII.
    pub(super) fn request_id_str<'b>(&'b self, client_in: &'b [u8]) -> &'b str {
        std::str::from_utf8(self.request_id(client_in)).unwrap_or_default()
    }

    /// Policy of the matched rule, or the default one before the match.
    pub(super) fn policy<'b, R: Runtime>(&self, core: &'b Core<R>) -> &'b Policy
    where
        'a: 'b,
    {
        self.matched.map_or(&core.settings.policy, |matched| &matched.rule.policy)
    }

    /// Notes a failure.
    pub(super) fn set_failure(&mut self, failure: Failure) {
        self.failure = Some(failure);
        self.code = Some(failure.code());
    }

    /// Whether this exchange adds field lines to its response.
    pub(super) fn has_lines(&self) -> bool {
        self.rate_limit.is_some() || self.cache.is_some()
    }

    /// Appends the field lines that this exchange adds to its response.
    pub(super) fn push_lines(&self, lines: &mut Vec<u8>) {
        if let Some((limiter, decision)) = &self.rate_limit {
            limiter.push_fields(lines, decision);
        }
        if let Some(outcome) = &self.cache {
            lines.extend_from_slice(b"X-Cache-Status: ");
            lines.extend_from_slice(outcome.x_cache_status().as_bytes());
            lines.extend_from_slice(b"\r\nCache-Status: ");
            outcome.write_cache_status(lines);
            lines.extend_from_slice(b"\r\n");
        }
    }

    /// Begins an attempt.
    pub(super) fn begin_attempt(&mut self, now_us: u64, endpoint: &'a Endpoint) {
        self.attempts += 1;
        self.attempt_us = now_us;
        self.response_us = None;
        self.cause = None;
        self.endpoint = Some(endpoint);
    }

    /// Status in logs and metrics: 499 (nginx's, for HTTP has none) when the client left before a response.
    pub(super) fn final_status(&self) -> u16 {
        const CLIENT_CLOSED_REQUEST: u16 = 499;
        self.status.unwrap_or(CLIENT_CLOSED_REQUEST)
    }

    /// Reports a failed attempt that another one follows.
    pub(super) fn report_attempt<R: Runtime>(
        &self,
        core: &Core<R>,
        buffers: &ConnBuffers,
        endpoint: &Endpoint,
        code: &'static str,
    ) {
        core.telemetry.emit(AttemptFailed {
            request_id: self.request_id_str(&buffers.client_in),
            pool: self.pool.map_or(0, |pool| pool.metric.0),
            endpoint: endpoint.metric.0,
            instance: endpoint.instance.as_str(),
            failure: code,
            error: self.cause.as_ref().map(|cause| cause.upstream_error(code)),
            duration_us: core.runtime.now_micros().saturating_sub(self.attempt_us),
        });
    }

    /// Reports the end of the exchange.
    pub(super) fn report<R: Runtime>(&self, core: &Core<R>, buffers: &ConnBuffers) {
        let ConnBuffers { request, client_in, .. } = buffers;
        let complete = request.is_complete();
        let (method, host, path, query) = match complete {
            true => {
                let target = request.path_and_query(client_in);
                let (path, query) =
                    target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
                (request.method_str(client_in), request.host(), path, query)
            }
            false => ("", "", "", None),
        };
        // The cause of a request that was refused before any attempt is its own.
        let cause = self.cause.as_deref().filter(|_| self.failure.is_some());
        let upstream_error = cause.filter(|_| self.attempts > 0).zip(self.code);
        let request_error = self.failure.and_then(cause::request_error);
        let error = cause.filter(|_| self.attempts == 0).map(Cause::text).or(request_error.as_deref());
        let proxied = self.proxied.as_deref();
        let reached = proxied.and_then(|proxied| proxied.address.as_deref());
        let refusal = proxied.and_then(|proxied| proxied.refusal.as_deref());
        let tenant = self.matched.and_then(Match::tenant);
        let wants_referer = complete && core.telemetry.wants_referer();
        core.telemetry.emit(&Exchange {
            time: core.runtime.timestamp(),
            request_id: self.request_id_str(client_in),
            client_ip: self.client,
            method: method.as_bytes(),
            host: host.as_bytes(),
            path: path.as_bytes(),
            query: query.map(str::as_bytes),
            protocol: match request.version() {
                _ if self.is_http2 => Protocol::Http2,
                Version::Http10 => Protocol::Http10,
                Version::Http11 => Protocol::Http11,
            },
            status: self.final_status(),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration_us: core.runtime.now_micros().saturating_sub(self.started_us),
            upstream_us: self.response_us.map(|at| at.saturating_sub(self.attempt_us)),
            route: self.matched.map_or(0, |matched| matched.rule.metric.0),
            pool: self.pool.map_or(0, |pool| pool.metric.0),
            endpoint: self.endpoint.map_or(0, |endpoint| endpoint.metric.0),
            route_id: self.matched.and_then(|matched| matched.rule.route_id()),
            app: self.matched.and_then(|matched| matched.rule.app.as_ref()).map(AppId::as_str),
            tenant: tenant.map(|tenant| tenant.hash),
            instance: self.endpoint.map(|endpoint| endpoint.instance.as_str()).or(reached),
            attempts: self.attempts,
            failure: self.code,
            upstream_error: upstream_error.map(|(cause, code)| cause.upstream_error(code)),
            request_error: error.or(refusal),
            user_agent: complete.then(|| request.values(client_in, FieldKind::UserAgent).next()).flatten(),
            referer: wants_referer.then(|| request.field(client_in, "referer").next()).flatten(),
            upgrade: self.upgraded,
            tls: self.tls,
            variant: self.variant,
            queue_us: self.queue_us,
            stages_us: self.stages_us,
            limited_by: self.limited_by.map(|by| by.policy),
            retry: self.retry,
            hedge: self.hedge,
            breaker: self.breaker,
            middleware: self.stage,
            filter_failure: self.filter_failure,
            compression: self.compression,
            cache: self.cache.as_ref().map(cache_use),
            is_logged: self.matched.is_none_or(|matched| matched.rule.is_logged),
        });
    }
}

/// An outcome as an event has it.
fn cache_use(outcome: &Outcome) -> CacheUse {
    let (not_stored, is_coalesced) = match outcome {
        Outcome::Forwarded { storing, collapsed, .. } => (storing.refusal(), *collapsed),
        _ => (None, false),
    };
    CacheUse {
        status: outcome.name(),
        result: match outcome {
            Outcome::Bypass(_) => CacheResult::Bypass,
            outcome if outcome.is_hit() => CacheResult::Hit,
            _ => CacheResult::Miss,
        },
        stale: outcome.stale_reason().map(|reason| reason.name()),
        not_stored,
        is_coalesced,
    }
}

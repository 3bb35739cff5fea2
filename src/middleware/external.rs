//! External filters: services that decide about requests, of plugins and of `forward` in `auth`.
//!
//! ```text
//! Idle ─ cached decision ─────────────────────────────────► Allowed{edits} │ Denied{reply}
//!   └─► Asking: one call within the timeout ─ response ─►   the same
//!                                            └ none, or an invalid one ─► failed ─► fail mode
//! ```
//! | | allowed | denied | failed |
//! |---|---|---|---|
//! | HTTP | 2xx | 3xx and 4xx, with some of its fields and its content | the rest, and 304 |
//! | gRPC | `status.code` 0 | another code, by `denied_response` or as 403 | the rest |
//!
//! A filter gets fields of the request as the endpoint would, and `X-Forwarded-*` of ringway's own only. It
//! may change header fields that neither ringway nor the protocol owns: never method, path, host or pool, or
//! a request would be judged as one and served as another.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{Direction, ExternalFilter, ExternalProtocol, FailMode};
use ringway_wire::h1;

use crate::reply::LocalReply;
use crate::request::RequestCtx;
use crate::response::ResponseCtx;
use crate::services::{Call, CallError, CallFailure, CallKind, DecisionResult};
use crate::{Flow, Pending, limits};

pub(crate) mod decision_cache;
mod grant;
mod grpc;
mod http;
mod messages;
mod partial_message;

pub(crate) use grant::Grant;

/// A compiled filter.
#[derive(Debug)]
pub(crate) struct External {
    filter: Arc<ExternalFilter>,
}

/// Decision of a filter about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The request continues with these edits.
    Allowed(Arc<Grant>),
    /// The client gets this reply.
    Denied(LocalReply),
}

/// Reason why there is no decision, from a fixed vocabulary.
type Reason = &'static str;

/// End of a call without a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    reason: Reason,
    /// Time until another request may get one, where that is known; never zero.
    pub(crate) retry_after: Option<Duration>,
}

impl From<Reason> for Failed {
    fn from(reason: Reason) -> Self {
        Self { reason, retry_after: None }
    }
}

impl From<CallError> for Failed {
    fn from(error: CallError) -> Self {
        let retry_after = match error {
            CallError::CircuitOpen { retry_after } => Some(retry_after),
            _ => None,
        };
        Self { reason: error.as_str(), retry_after }
    }
}

impl Failed {
    /// Value of `Retry-After`, where the time is known.
    pub(crate) fn retry_after_seconds(self) -> Option<String> {
        Some(self.retry_after?.as_millis().div_ceil(1_000).to_string())
    }
}

/// Content of a call.
struct Content<'a> {
    kind: CallKind<'a>,
    lines: Vec<u8>,
    body: Vec<u8>,
}

impl External {
    pub(crate) fn new(filter: &ExternalFilter) -> Self {
        Self { filter: Arc::new(filter.clone()) }
    }

    /// The same, closed whatever its settings: a service that authenticates must not open a route by its
    /// absence.
    pub(crate) fn closed(filter: &ExternalFilter) -> Self {
        Self::new(&ExternalFilter { fail_mode: FailMode::Closed, ..filter.clone() })
    }

    /// Its settings.
    pub(crate) fn filter(&self) -> &Arc<ExternalFilter> {
        &self.filter
    }

    /// Names of fields that only it may set.
    pub(crate) fn asserted(&self) -> impl Iterator<Item = &Arc<str>> {
        self.filter.asserted()
    }

    /// Decides by the cache, or asks to wait.
    pub(crate) fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        match self.cached(request) {
            Some(decision) => apply(decision, request).into(),
            None => Flow::Wait,
        }
    }

    /// Decides by asking the service.
    pub(crate) fn wait<'a>(&'a self, request: &'a mut RequestCtx<'_>) -> Pending<'a> {
        Box::pin(async move {
            match (self.ask(request).await, self.filter.fail_mode) {
                (Ok(decision), _) => apply(decision, request),
                (Err(failed), FailMode::Open) => {
                    self.open(failed.reason, request);
                    ControlFlow::Continue(())
                }
                (Err(failed), FailMode::Closed) => ControlFlow::Break(unavailable(failed)),
            }
        })
    }

    /// Adds the fields of the response that the filter asked for.
    pub(crate) fn on_response(&self, response: &mut ResponseCtx<'_>) {
        let grant = response.state::<Option<Arc<Grant>>>().clone();
        if let Some(grant) = grant {
            grant.apply_to_response(response);
        }
    }

    /// A decision that holds from an earlier request.
    pub(crate) fn cached(&self, request: &RequestCtx<'_>) -> Option<Decision> {
        let key = decision_cache::key(&self.filter, request)?;
        let services = request.services;
        let now_us = services.now_micros();
        let decision = services.core().decisions.borrow_mut().get(&key, &self.filter, now_us)?;
        services.note_decision(&self.filter.pool, DecisionResult::Cached, 0);
        Some(decision)
    }

    /// Asks the service. The decision is kept, where that is configured.
    pub(crate) async fn ask(&self, request: &RequestCtx<'_>) -> Result<Decision, Failed> {
        let services = request.services;
        let started_us = services.now_micros();
        let decision = self.call(request).await;
        let result = match (&decision, self.filter.fail_mode) {
            (Ok(Decision::Allowed(_)), _) => DecisionResult::Allowed,
            (Ok(Decision::Denied(_)), _) => DecisionResult::Denied,
            (Err(failed), FailMode::Closed) => DecisionResult::FailedClosed(failed.reason),
            (Err(failed), FailMode::Open) => DecisionResult::FailedOpen(failed.reason),
        };
        let now_us = services.now_micros();
        services.note_decision(&self.filter.pool, result, now_us.saturating_sub(started_us));
        if let Ok(decision) = &decision
            && let Some(cache) = &self.filter.cache
            && let Some(key) = decision_cache::key(&self.filter, request)
        {
            let until_us = now_us.saturating_add(u64::try_from(cache.ttl.as_micros()).unwrap_or(0));
            services.core().decisions.borrow_mut().put(key, &self.filter, decision, until_us);
        }
        decision
    }

    async fn call(&self, request: &RequestCtx<'_>) -> Result<Decision, Failed> {
        let filter = &*self.filter;
        let content = match &filter.protocol {
            ExternalProtocol::Http { path } => http::content(filter, path, request),
            ExternalProtocol::Grpc => grpc::content(filter, request),
        };
        let call = Call {
            pool: filter.pool.as_str(),
            kind: content.kind,
            lines: &content.lines,
            body: &content.body,
            timeout: filter.timeout,
            response_bytes_max: limits::DECISION_BYTES_MAX,
        };
        let client = ClientKind::of(request);
        let decision = match (request.services.call(call).await, &filter.protocol) {
            (Ok(response), ExternalProtocol::Http { .. }) => http::decision(filter, response, client)?,
            (Ok(response), ExternalProtocol::Grpc) => grpc::decision(filter, &response.body, client)?,
            (Err(CallFailure { error, partial }), protocol) => {
                // A service that has said no has decided: a client must not get past an open filter because
                // it made the page about that too long or too slow.
                let denial = partial.and_then(|partial| match protocol {
                    ExternalProtocol::Http { .. } => http::partial_decision(&partial, client),
                    ExternalProtocol::Grpc => grpc::partial_decision(&partial.content, client),
                });
                denial.ok_or(Failed::from(error))?
            }
        };
        Ok(decision)
    }

    /// Lets a request without a decision continue, which the endpoint learns where that is configured.
    fn open(&self, reason: Reason, request: &mut RequestCtx<'_>) {
        if let Some(name) = &self.filter.failed_open_header {
            // Both can stand in a head: the name was checked when it was read, the reason is a word.
            let _ = request.set(name, reason.as_bytes());
        }
    }
}

/// Reply to a request that needs a decision, and has none.
fn unavailable(failed: Failed) -> LocalReply {
    let message = "the service that decides about this request has given no decision";
    let mut reply = LocalReply::refusal(503, "filter_unavailable", message);
    if let Some(seconds) = failed.retry_after_seconds() {
        // A number can stand in a head.
        let _ = reply.push_field("Retry-After", seconds.as_bytes());
    }
    reply
}

/// Applies a decision.
pub(crate) fn apply(decision: Decision, request: &mut RequestCtx<'_>) -> ControlFlow<LocalReply> {
    match decision {
        Decision::Allowed(grant) => {
            grant.apply_to_request(request);
            if grant.edits_response() {
                *request.state() = Some(grant);
            }
            ControlFlow::Continue(())
        }
        Decision::Denied(reply) => ControlFlow::Break(reply),
    }
}

/// Fields of the request that the service gets: those that the endpoint would get after the edits of earlier
/// stages, and of them those that are listed.
fn sent_fields<'r>(
    filter: &'r ExternalFilter,
    request: &'r RequestCtx<'_>,
) -> impl Iterator<Item = (&'r str, &'r [u8])> {
    let is_sent = |name: &str| {
        !Direction::Request.protects(name)
            && (filter.send.is_empty() || filter.send.iter().any(|sent| sent.eq_ignore_ascii_case(name)))
    };
    forwarded_fields(request).filter(move |(name, _)| is_sent(name))
}

/// Fields of the request after the edits of earlier stages.
fn forwarded_fields<'r>(request: &'r RequestCtx<'_>) -> impl Iterator<Item = (&'r str, &'r [u8])> {
    let (view, edits) = (&request.view, &request.run.edits);
    let is_removed = |name: &str| edits.removes(name.as_bytes());
    let received = h1::forwarded_fields(view.head(), view.buf());
    let received = received.filter_map(|field| Some((std::str::from_utf8(field.name).ok()?, field.value)));
    let added = h1::field_lines(edits.lines());
    let added = added.filter_map(|field| Some((std::str::from_utf8(field.name).ok()?, field.value)));
    received.filter(move |(name, _)| !is_removed(name)).chain(added)
}

/// Kind of the client, by which a denial has its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientKind {
    Http,
    /// It makes a call of gRPC, and knows nothing but statuses of its own.
    Grpc,
}

impl ClientKind {
    fn of(request: &RequestCtx<'_>) -> Self {
        let is_grpc = |value: &[u8]| {
            let media_type = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            media_type.split_at_checked(GRPC.len()).is_some_and(|(start, rest)| {
                start.eq_ignore_ascii_case(GRPC) && matches!(rest, [] | [b'+', ..])
            })
        };
        if request.field("content-type").any(is_grpc) { Self::Grpc } else { Self::Http }
    }
}

/// Reply to a request that the filter denies, with these fields and this content. Without content, and to
/// clients of gRPC, it is an error of ringway's own form. Fields that cannot stand in a head are left out:
/// they must not turn a denial into a failure, which may be open.
fn denial<'f>(
    status: u16,
    body: Vec<u8>,
    fields: impl Iterator<Item = (&'f str, &'f [u8])>,
    client: ClientKind,
) -> LocalReply {
    let message = "the service that decides about this request has denied it";
    if client == ClientKind::Grpc {
        // The status of gRPC follows from it: unauthenticated, unavailable, or permission denied.
        let status = match status {
            401 => 401,
            429 | 502..=504 => 503,
            _ => 403,
        };
        return LocalReply::refusal(status, "filter_denied", message);
    }
    // A 304 would show the client content of its own cache, which the filter knows nothing of.
    let status = if status == 304 { 403 } else { status };
    let is_own = body.is_empty() && status >= 400;
    let mut reply = match is_own {
        true => LocalReply::refusal(status, "filter_denied", message),
        false => LocalReply::new(status, body),
    };
    // An error of ringway's own form has these.
    let (mut has_type, mut has_caching) = (is_own, is_own);
    for (name, value) in fields.take(limits::DECISION_EDITS_MAX) {
        let is_type = name.eq_ignore_ascii_case("content-type");
        let is_caching = name.eq_ignore_ascii_case("cache-control");
        let is_taken = is_type && has_type || is_caching && is_own;
        if !is_taken && reply.push_field(name, value).is_ok() {
            has_type |= is_type;
            has_caching |= is_caching;
        }
    }
    // Names and values can stand in a head.
    if !has_type {
        // A browser must not guess that it is a page.
        let _ = reply.push_field("Content-Type", b"text/plain; charset=utf-8");
    }
    if !has_caching {
        // It is about one request: a 301 or 404 would be kept for others (RFC 9111 §4.2.2).
        let _ = reply.push_field("Cache-Control", b"no-store");
    }
    reply
}

/// A denial with this status, and nothing else of the service.
fn denial_of(status: u16, client: ClientKind) -> Decision {
    // A redirect to nowhere is no answer.
    let status = if status < 400 { 403 } else { status };
    Decision::Denied(denial(status, Vec::new(), std::iter::empty(), client))
}

const GRPC: &[u8] = b"application/grpc";

#[cfg(test)]
#[path = "external/external_tests.rs"]
mod tests;

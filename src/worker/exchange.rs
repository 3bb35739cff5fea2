//! One request and its response, from head to `finish`:
//!
//! ```text
//! admit → route → filter → [ select → connect → forward ] → respond → finish
//!                            └──── again, while nothing reached the client and it is safe ────┘
//! ```
//! The snapshot is pinned once: a change of the configuration never disturbs a request under way.

pub(crate) mod acme_challenge;
pub(crate) mod activity;
pub(crate) mod attempt_warnings;
pub(crate) mod cause;
pub(crate) mod date_line;
pub(crate) mod failure;
pub(crate) mod forwarded;
pub(crate) mod grpc;
pub(crate) mod https_redirect;
pub(crate) mod local_reply;
pub(crate) mod on_demand_hosts;
pub(crate) mod passive_health;
pub(crate) mod public_health;
pub(crate) mod request_body;
pub(crate) mod tunnel;
pub(crate) mod tunnels;
pub(crate) mod via;

use std::net::IpAddr;
use std::ops::Range;

use crate::limits;
use ringway_middleware::{Edits, RequestView, Verdict};
use ringway_model::Owner;
use ringway_net::{Stream, WriteRate};
use ringway_telemetry::{
    AttemptFailed, Exchange, Observer, Protocol, Rejected, RequestId, TenantHash, Upgrade,
};
use ringway_traffic::balance::{self, Picked, TriedSet, Unavailable};
use ringway_traffic::breaker::Candidate;
use ringway_traffic::policy::Policy;
use ringway_traffic::retry::{self, Retry};
use ringway_traffic::snapshot::{Endpoint, Pool, Snapshot};
use ringway_traffic::virtual_host::{Rule, VirtualHost};
use ringway_wire::h1::{self, RequestHead};
use ringway_wire::headers::FieldKind;
use ringway_wire::message::{Framing, Method, Version};

use self::cause::Cause;
use self::failure::{Connection, Consequence, Failure};
use self::forwarded::Reach;
use self::local_reply::{Answer, Asked};
use self::request_body::RequestBody;
use crate::accept::cert_selector;
use crate::accept::listener::Handler;
use crate::core::{ConnBuffers, Core};
use crate::runtime::Runtime;
use crate::session::downstream::DownstreamConn;
use crate::settings::Settings;
use crate::upstream::{self, Attempt, Reuse};

/// What the session does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// Reads the next request.
    Keep,
    /// Closes in an orderly way: all of the request was read.
    Close,
    /// Closes in an orderly way: the client may be sending the rest of its request.
    CloseUnread,
    /// Closes at once, in an orderly way: the client sends nothing more, as it has said, and all that it sent was read.
    End,
    /// Resets the connection.
    Abort,
}

/// Virtual host and rule of a request.
#[derive(Clone, Copy)]
pub(crate) struct Match<'s> {
    pub(crate) host: &'s VirtualHost,
    pub(crate) rule: &'s Rule,
}

/// What is known of an exchange while it goes on; `finish` makes one event of it.
pub(crate) struct Record<'s> {
    started_us: u64,
    id: RequestId,
    /// Where in `input` a trusted proxy's id for this request stands.
    kept_id: Option<Range<usize>>,
    pub(crate) client: IpAddr,
    pub(crate) matched: Option<Match<'s>>,
    pool: Option<&'s Pool>,
    pub(crate) endpoint: Option<&'s Endpoint>,
    attempts: u32,
    /// When the last attempt began.
    attempt_us: u64,
    /// When its response did.
    pub(crate) answered_us: Option<u64>,
    /// The final status as sent to the client; 0 while nothing was sent, and 499 when the client is gone before.
    pub(crate) status: u16,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    failure: Option<Failure>,
    /// Cause of the failure of the last attempt, or of the request's refusal.
    cause: Option<Box<Cause>>,
    /// The client speaks gRPC, which its head does not show for it could not be read.
    is_call: bool,
    is_http2: bool,
    tls: Option<&'static str>,
    pub(crate) upgraded: bool,
}

/// Serves the request whose head stands parsed in `buffers`.
pub(crate) async fn exchange<R: Runtime>(
    core: &Core<R>,
    client: &DownstreamConn<R::Stream>,
    buffers: &mut ConnBuffers,
    started_us: u64,
) -> Disposition {
    let mut tables = core.tables();
    let mut absent = Failure::UnknownHost;
    let is_health = is_health(core, buffers);
    if !is_health && on_demand_hosts::is_wanted(core, client, buffers, &tables.snapshot) {
        // Boxed: it must not make every exchange larger.
        absent = Box::pin(on_demand_hosts::wait(core, buffers.request.host())).await;
        tables = core.tables();
    }
    let mut record = Record::new(core, client, buffers, started_us);
    let mut body = None;
    let served = match is_health {
        true => Ok(tell(core, client, buffers, &mut record, LocalReply::Health).await),
        false => serve(core, client, buffers, &tables.snapshot, absent, &mut record, &mut body).await,
    };
    let next = match served {
        Ok(next) => next,
        Err(failure) => refuse(core, client, buffers, &mut record, body.as_ref(), failure).await,
    };
    if let Some(body) = &body {
        record.bytes_in = record.bytes_in.max(body.received);
    }
    finish(core, buffers, &record);
    match next {
        Disposition::Keep => {
            take_out(buffers, body);
            Disposition::Keep
        }
        Disposition::Close if is_unread(buffers, &record, body.as_ref()) => Disposition::CloseUnread,
        Disposition::Close if is_last(buffers, &record) => Disposition::End,
        Disposition::Close | Disposition::CloseUnread | Disposition::End | Disposition::Abort => next,
    }
}

/// Whether a load balancer asks for this process's health.
fn is_health<R: Runtime>(core: &Core<R>, buffers: &ConnBuffers) -> bool {
    core.settings
        .public_health
        .as_ref()
        .is_some_and(|paths| paths.is_asked(&buffers.request, &buffers.client_in))
}

/// Whether the client is known, or likely, to send more than was read: the rest of the request, what follows it, or another
/// protocol that it asked for and did not wait for (RFC 9931).
fn is_unread(buffers: &ConnBuffers, record: &Record<'_>, body: Option<&RequestBody>) -> bool {
    let ConnBuffers { request, client_in: input, .. } = buffers;
    let is_there = body.map_or_else(|| is_there(request, input), RequestBody::is_complete);
    let is_read = is_there && !is_followed(request, input, body) && request.upgrade().is_none();
    !is_read && !record.upgraded && !record.failure.is_some_and(Failure::is_of_silent_client)
}

/// Whether something stands behind a request that is all there: the client is not gone then, although it may have ended its side.
pub(crate) fn is_followed(request: &RequestHead, input: &[u8], body: Option<&RequestBody>) -> bool {
    match body {
        Some(body) if body.is_complete() => {
            body.rest_read.as_ref().map_or(body.consumed < input.len(), |rest| !rest.is_empty())
        }
        Some(_) => false,
        None => {
            let end = declared_bytes(request).and_then(|bytes| bytes.checked_add(request.len()));
            request.is_complete() && end.is_some_and(|end| end < input.len())
        }
    }
}

/// Whether a request stands in `input` with all of its body.
fn is_there(request: &RequestHead, input: &[u8]) -> bool {
    request.is_complete()
        && declared_bytes(request).is_some_and(|bytes| bytes <= input.len().saturating_sub(request.len()))
}

/// Whether the client has said that this was its last request (RFC 9112 §9.6).
fn is_last(buffers: &ConnBuffers, record: &Record<'_>) -> bool {
    !record.upgraded && buffers.request.is_complete() && !buffers.request.keep_alive()
}

/// Answers a request whose head could not be read; there is nothing to route.
pub(crate) async fn reject<R: Runtime>(
    core: &Core<R>,
    client: &DownstreamConn<R::Stream>,
    buffers: &mut ConnBuffers,
    failure: Failure,
    started_us: u64,
    is_call: bool,
) -> Disposition {
    let cause = Cause::of_request(failure, &buffers.request, &buffers.client_in);
    buffers.request.reset();
    let mut record = Record::new(core, client, buffers, started_us);
    record.cause = cause;
    record.is_call = is_call;
    let next = refuse(core, client, buffers, &mut record, None, failure).await;
    let code = failure.consequence(core.settings.unavailable_status).word;
    core.telemetry.rejected(&Rejected { client_ip: client.peer, code, status: record.status });
    finish(core, buffers, &record);
    match next {
        Disposition::Close if !failure.is_of_silent_client() => Disposition::CloseUnread,
        _ => next,
    }
}

async fn serve<'s, R: Runtime>(
    core: &Core<R>,
    client: &DownstreamConn<R::Stream>,
    buffers: &mut ConnBuffers,
    snapshot: &'s Snapshot,
    absent: Failure,
    record: &mut Record<'s>,
    body: &mut Option<RequestBody>,
) -> Result<Disposition, Failure> {
    let upgrade = admit(&buffers.request)?;
    let challenge = acme_challenge::token(&buffers.request, &buffers.client_in);
    if let Some(answer) = challenge.and_then(|token| snapshot.challenge(token)) {
        return Ok(tell(core, client, buffers, record, LocalReply::Challenge(answer)).await);
    }
    if client.handler == Handler::AcmeOnly {
        return Err(if challenge.is_some() { Failure::UnknownChallenge } else { Failure::HttpsOnly });
    }
    let host = snapshot.virtual_host(buffers.request.host()).ok_or(absent)?;
    let rule = host.rules.find(&buffers.request, &buffers.client_in);
    let matched = Match { host, rule };
    record.matched = Some(matched);
    if client.handler == (Handler::Gateway { redirects_to_https: true })
        && challenge.is_none()
        && let Some(port) = redirect_port(core, client, buffers, snapshot, host)
    {
        let location = https_redirect::location(&buffers.request, &buffers.client_in, port);
        return Ok(tell(core, client, buffers, record, LocalReply::Elsewhere(location)).await);
    }
    client.check(snapshot, matched)?;
    if core.settings.via.as_ref().is_some_and(|via| via.is_loop(&buffers.request, &buffers.client_in)) {
        return Err(Failure::Loop);
    }
    if forwarded::reach(&buffers.request, &buffers.client_in) == Reach::Here {
        return Ok(tell(core, client, buffers, record, LocalReply::Methods).await);
    }
    let pool = snapshot.pool_of(rule);
    record.pool = Some(pool);
    if pool.endpoints.is_empty() && rule.owner == Owner::Resolver {
        return Err(Failure::NotRunning);
    }
    let edits = filter(buffers, matched, record.client)?;

    let (framing, head_bytes) = (buffers.request.framing(), buffers.request.len());
    read_more(client, buffers);
    let body = body.insert(RequestBody::begin(
        framing,
        head_bytes,
        &mut buffers.client_in,
        rule.policy.body_bytes_max,
    )?);
    forwarded_lines(&core.settings, client, buffers, host, record);

    let candidate = if body.is_complete() { Candidate::Ready } else { Candidate::Streaming };
    let stages = rule.stages.as_deref();
    let mut tried = TriedSet::default();
    let mut again: Option<Picked<'s>> = None;
    let mut last = None;
    // Counted from the choice on: nothing is awaited between pinning the snapshot and here.
    let mut _in_flight = None;
    loop {
        let (picked, reuse) = match again.take() {
            Some(picked) => (picked, Reuse::Never),
            None => {
                let selected = match last {
                    None => select(core, pool, &tried, candidate, upgrade, record.client),
                    Some(_) => select_again(core, pool, &mut tried, candidate, upgrade, record.client),
                };
                let picked = selected.map_err(|unavailable| {
                    last.map_or(Failure::Unavailable(unavailable), |(_, failure)| failure)
                })?;
                _in_flight = Some(picked.endpoint.in_flight.begin(core.id.0.into()));
                (picked, Reuse::Allowed)
            }
        };
        let endpoint = picked.endpoint;
        // The last attempt is the exchange's.
        if let Some((endpoint, failure)) = last {
            tell_attempt(core, buffers, record, endpoint, failure);
        }
        record.begin_attempt(core.runtime.now_micros(), endpoint);
        let cause = cause::Slot::default();
        let attempt = Attempt {
            picked: &picked,
            pool,
            reuse,
            upgrade,
            edits: &edits,
            policy: &rule.policy,
            stages,
            cause,
        };
        let failed = match upstream::forward(core, client, buffers, body, &attempt, record).await {
            Ok(next) => {
                passive_health::ended(core, &picked, record.status, pool);
                return Ok(next);
            }
            Err(failed) => failed,
        };
        let decision = retry::decide(
            &failed.facts(buffers.request.method(), record.attempts),
            &rule.policy,
            &pool.retry_budget,
        );
        if decision != Retry::SameEndpoint {
            record.note_cause(core, buffers, &attempt, failed.failure);
        }
        match decision {
            // A stale connection says nothing about the endpoint: the verdict is left to the next attempt.
            Retry::SameEndpoint => again = Some(picked),
            Retry::NextEndpoint => {
                passive_health::blame(core, &picked, &failed, record.status, pool);
                if has_waited(core, record.attempt_us) && has_left(client, buffers, Some(body)).await {
                    return Err(Failure::ClientClosed);
                }
                tried.insert(endpoint.id);
            }
            Retry::No => {
                passive_health::blame(core, &picked, &failed, record.status, pool);
                return Err(failed.failure);
            }
        }
        last = Some((endpoint, failed.failure));
    }
}

/// Where to redirect a request that came without TLS; nothing when it has to be served here, for its host cannot be
/// served over TLS (yet), or a trusted proxy has ended the client's TLS already.
fn redirect_port<R: Runtime>(
    core: &Core<R>,
    client: &DownstreamConn<R::Stream>,
    buffers: &ConnBuffers,
    snapshot: &Snapshot,
    host: &VirtualHost,
) -> Option<u16> {
    let port = core.https_port?;
    let is_secure_already =
        client.trusted && forwarded::claims_https(&buffers.request, &buffers.client_in) == Some(true);
    let is_servable = || {
        host.tls.certificate.is_some()
            || cert_selector::is_covered_by_default(&core.secrets, snapshot, &host.host)
    };
    (!is_secure_already && is_servable()).then_some(port)
}

/// Runs the request stages of the rule.
fn filter(buffers: &ConnBuffers, matched: Match<'_>, client: IpAddr) -> Result<Edits, Failure> {
    let mut edits = Edits::default();
    if let Some(stages) = &matched.rule.stages {
        let tenant = matched.host.tenant.as_ref().map(|tenant| tenant.id.as_str());
        let app = matched.rule.app.as_str();
        let view = RequestView::new(&buffers.request, &buffers.client_in, client, app, tenant);
        if let Verdict::Respond(status) = stages.on_request(&view, &mut edits) {
            return Err(Failure::Filtered(status));
        }
    }
    Ok(edits)
}

/// What is refused before routing; says whether the request asks for a WebSocket.
fn admit(request: &RequestHead) -> Result<bool, Failure> {
    if matches!(request.method(), Method::Trace | Method::Connect) {
        return Err(Failure::MethodRefused);
    }
    match request.upgrade() {
        None => Ok(false),
        Some(h1::Upgrade::WebSocket) => Ok(true),
        Some(h1::Upgrade::InvalidWebSocket(error)) => Err(Failure::BadUpgrade(error)),
    }
}

/// The next endpoint in turn; for a WebSocket the one that this client had before, while it is well (C43).
fn select<'s, R: Runtime>(
    core: &Core<R>,
    pool: &'s Pool,
    tried: &TriedSet,
    candidate: Candidate,
    upgrade: bool,
    client: IpAddr,
) -> Result<Picked<'s>, Unavailable> {
    let now = core.runtime.now();
    if upgrade {
        return balance::sticky(pool, sticky_hash(core.settings.sticky_key, client), tried, now);
    }
    core.cursors.borrow_mut().pick(pool, tried, candidate, now)
}

/// The next endpoint for another attempt. The pinned snapshot may be old by now: one that drains, or was removed, since it
/// was pinned gets no request, for whoever waits for its last one must not be surprised.
fn select_again<'s, R: Runtime>(
    core: &Core<R>,
    pool: &'s Pool,
    tried: &mut TriedSet,
    candidate: Candidate,
    upgrade: bool,
    client: IpAddr,
) -> Result<Picked<'s>, Unavailable> {
    let tables = core.tables();
    let newest = tables.snapshot.pool(pool.id);
    for _ in 0..ringway_model::limits::ATTEMPTS_MAX {
        let picked = select(core, pool, tried, candidate, upgrade, client)?;
        if newest.is_some_and(|newest| newest.offers(picked.endpoint)) {
            return Ok(picked);
        }
        picked.endpoint.state.abandon(picked.admission, core.runtime.now());
        tried.insert(picked.endpoint.id);
    }
    Err(Unavailable::Exhausted)
}

/// Who comes back: an address, hashed the same way on every core and after a restart.
fn sticky_hash(key: u64, client: IpAddr) -> u64 {
    let bits = match client {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        // A home's or a phone's network, for the rest of the address changes from one connection to the next.
        IpAddr::V6(address) => u128::from(address) >> 64,
    };
    (bits as u64 ^ key).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) ^ (bits >> 64) as u64
}

fn tell_attempt<R: Runtime>(
    core: &Core<R>,
    buffers: &ConnBuffers,
    record: &Record<'_>,
    endpoint: &Endpoint,
    failure: Failure,
) {
    let word = failure.consequence(core.settings.unavailable_status).word;
    core.telemetry.attempt_failed(&AttemptFailed {
        request_id: record.request_id_str(&buffers.client_in),
        pool: record.pool.map_or(0, |pool| pool.metric.0),
        endpoint: endpoint.metric.0,
        instance: endpoint.instance.as_str(),
        failure: word,
        error: record.cause.as_ref().map(|cause| cause.upstream_error(word)),
        duration_us: core.runtime.now_micros().saturating_sub(record.attempt_us),
    });
}

/// Takes what has come meanwhile of a body that fits into a buffer, so that it need not be pumped in pieces.
fn read_more<S: Stream>(client: &DownstreamConn<S>, buffers: &mut ConnBuffers) {
    let ConnBuffers { request, client_in: input, .. } = buffers;
    let Some(end) = declared_bytes(request).and_then(|bytes| bytes.checked_add(request.len())) else {
        return;
    };
    if end <= input.len()
        || end > limits::RELAY_BUFFER_BYTES
        || input.len() < ringway_model::limits::HEAD_BUFFER_BYTES / 2
    {
        return;
    }
    if input.capacity() < end {
        input.reserve_exact(limits::RELAY_BUFFER_BYTES - input.len());
    }
    client.stream.read_more(input);
}

/// Writes the lines that the endpoint is told by, whatever the client sent.
fn forwarded_lines<S>(
    settings: &Settings,
    client: &DownstreamConn<S>,
    buffers: &mut ConnBuffers,
    host: &VirtualHost,
    record: &Record<'_>,
) {
    let ConnBuffers { added_headers: lines, request, client_in: input, .. } = buffers;
    lines.clear();
    if client.trusted {
        let hop = (client.peer, client.scheme());
        forwarded::push_hop_lines(lines, hop, record.client, request, input);
    } else {
        lines.extend_from_slice(&client.address_lines);
    }
    forwarded::push_host_lines(lines, request, client.trusted.then_some(input));
    forwarded::push_reach_line(lines, request, input);
    if let Some(via) = &settings.via {
        lines.extend_from_slice(via.line(request.version(), client.is_http2));
    }
    lines.extend_from_slice(host.tenant_line());
    lines.extend_from_slice(client.client_cert_headers(host));
    lines.extend_from_slice(b"X-Request-ID: ");
    lines.extend_from_slice(record.request_id(input));
    lines.extend_from_slice(b"\r\n");
}

/// Takes the request that is over out of `input`; what is left is the next one.
fn take_out(buffers: &mut ConnBuffers, body: Option<RequestBody>) {
    let ConnBuffers { client_in: input, request, .. } = buffers;
    let end = match body {
        // The pump read on in a buffer of its own.
        Some(RequestBody { rest_read: Some(rest), .. }) => return *input = rest,
        Some(body) => body.consumed,
        None => request.len() + declared_bytes(request).unwrap_or(0),
    };
    if end >= input.len() {
        input.clear();
    } else {
        input.drain(..end);
    }
}

/// The length of a body that is framed by one, if memory could hold it.
fn declared_bytes(request: &RequestHead) -> Option<usize> {
    match request.framing() {
        Framing::Empty => Some(0),
        Framing::Length(length) => usize::try_from(length).ok(),
        Framing::Chunked | Framing::UntilClose => None,
    }
}

/// Tells the client what went wrong, as far as it can still be told.
async fn refuse<R: Runtime>(
    core: &Core<R>,
    client: &DownstreamConn<R::Stream>,
    buffers: &mut ConnBuffers,
    record: &mut Record<'_>,
    body: Option<&RequestBody>,
    failure: Failure,
) -> Disposition {
    record.failure = Some(failure);
    if record.status != 0 {
        // The response has begun: only a broken connection can tell that it did not end well.
        return Disposition::Abort;
    }
    let failure = if has_waited(core, record.started_us) && has_left(client, buffers, body).await {
        // It did not wait for what is wrong.
        record.failure = Some(Failure::ClientClosed);
        Failure::ClientClosed
    } else {
        failure
    };
    let consequence = failure.consequence(core.settings.unavailable_status);
    if consequence.status.is_none() {
        record.status = CLIENT_CLOSED_REQUEST;
        return match consequence.connection {
            Connection::Abort => Disposition::Abort,
            Connection::Keep | Connection::Close => Disposition::Close,
        };
    }
    tell(core, client, buffers, record, LocalReply::Failure(consequence)).await
}

/// Whether the client has gone, as far as that is known without waiting. One system call.
pub(crate) async fn has_left<S: Stream>(
    client: &DownstreamConn<S>,
    buffers: &ConnBuffers,
    body: Option<&RequestBody>,
) -> bool {
    client.has_left().await && !is_followed(&buffers.request, &buffers.client_in, body)
}

/// Whether so much time has passed since that the client may have left.
fn has_waited<R: Runtime>(core: &Core<R>, since_us: u64) -> bool {
    let waited = core.runtime.now_micros().saturating_sub(since_us);
    u128::from(waited) >= limits::CLIENT_WATCH_DELAY.as_micros()
}

/// The status of a request whose client did not wait for an answer, in logs and metrics: nginx's, for HTTP has none.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// What is answered here instead of by an app.
enum LocalReply<'s> {
    Failure(Consequence),
    /// What the CA comes for.
    Challenge(&'s str),
    /// Where to ask again.
    Elsewhere(String),
    /// What may be asked here.
    Methods,
    /// This process's health.
    Health,
}

/// Answers a request here, and says what becomes of the connection.
async fn tell<R: Runtime>(
    core: &Core<R>,
    client: &DownstreamConn<R::Stream>,
    buffers: &mut ConnBuffers,
    record: &mut Record<'_>,
    told: LocalReply<'_>,
) -> Disposition {
    let ConnBuffers { request, client_in: input, out: output, .. } = buffers;
    let complete = request.is_complete();
    // A body that is not all there would be taken for the next request.
    let body_is_there = record.bytes_in == 0 && is_there(request, input);
    let may_keep = match &told {
        LocalReply::Failure(consequence) => consequence.connection == Connection::Keep,
        LocalReply::Challenge(_) | LocalReply::Elsewhere(_) | LocalReply::Methods | LocalReply::Health => {
            true
        }
    };
    let keep = may_keep && body_is_there && request.keep_alive() && !core.draining.get();
    let asked = Asked {
        head: complete && request.method() == Method::Head,
        html: complete && request.accepts_html(input),
        keep_alive_1_0: keep && request.version() == Version::Http10,
        close: !keep,
    };
    let is_call = record.is_call || complete && grpc::is_call(request, input);
    let (status, answer) = match &told {
        LocalReply::Failure(consequence) if is_call => {
            let status = grpc::Status::of(record.failure, consequence.status.unwrap_or(500));
            (200, Answer::Call(status, &consequence.message))
        }
        // Those without a status are told nothing.
        LocalReply::Failure(consequence) => (consequence.status.unwrap_or(500), Answer::Failure(consequence)),
        LocalReply::Challenge(authorization) => (200, Answer::Text(authorization)),
        LocalReply::Elsewhere(location) => {
            (https_redirect::status(request.method()), Answer::Elsewhere(location))
        }
        LocalReply::Methods => (200, Answer::Methods),
        LocalReply::Health if core.draining.get() => (503, Answer::Health("draining")),
        LocalReply::Health => (200, Answer::Health("ok")),
    };
    output.clear();
    let id = record.request_id_str(input);
    let body_bytes = local_reply::write(output, status, &answer, &asked, id, core.runtime.timestamp());
    record.bytes_out = body_bytes as u64;
    record.status = status;
    let pace = WriteRate::stall(record.policy(core).body_progress_timeout);
    let (sent, back) = client.stream.write_all(std::mem::take(output), pace).await;
    *output = back;
    output.clear();
    if sent.is_ok() && keep { Disposition::Keep } else { Disposition::Close }
}

/// The end of every exchange: one event, from which log line and metrics are made.
fn finish<R: Runtime>(core: &Core<R>, buffers: &ConnBuffers, record: &Record<'_>) {
    let ConnBuffers { request, client_in: input, .. } = buffers;
    let complete = request.is_complete();
    let (method, host, path, query) = match complete {
        true => {
            let target = request.path_and_query(input);
            let (path, query) =
                target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
            (request.method_str(input), request.host(), path, query)
        }
        false => ("", "", "", None),
    };
    let word = record.failure.map(|failure| failure.consequence(core.settings.unavailable_status).word);
    // Of a request that was refused before any attempt the cause is its own.
    let cause = record.cause.as_deref().filter(|_| record.failure.is_some());
    let upstream_error = cause.filter(|_| record.attempts > 0).zip(word);
    let request_error = record.failure.and_then(cause::request_error);
    let tenant = record.matched.and_then(|matched| matched.host.tenant.as_ref());
    let wants_referer = complete && core.telemetry.wants_referer();
    core.telemetry.exchange(&Exchange {
        time: core.runtime.timestamp(),
        request_id: record.request_id_str(input),
        client_ip: record.client,
        method: method.as_bytes(),
        host: host.as_bytes(),
        path: path.as_bytes(),
        query: query.map(str::as_bytes),
        protocol: match request.version() {
            _ if record.is_http2 => Protocol::Http2,
            Version::Http10 => Protocol::Http10,
            Version::Http11 => Protocol::Http11,
        },
        status: record.status,
        bytes_in: record.bytes_in,
        bytes_out: record.bytes_out,
        duration_us: core.runtime.now_micros().saturating_sub(record.started_us),
        upstream_us: record.answered_us.map(|at| at.saturating_sub(record.attempt_us)),
        route: record.matched.map_or(0, |matched| matched.rule.metric.0),
        pool: record.pool.map_or(0, |pool| pool.metric.0),
        endpoint: record.endpoint.map_or(0, |endpoint| endpoint.metric.0),
        app: record.matched.map(|matched| matched.rule.app.as_str()),
        tenant: tenant.map(|tenant| TenantHash(tenant.hash)),
        instance: record.endpoint.map(|endpoint| endpoint.instance.as_str()),
        attempts: record.attempts,
        failure: word,
        upstream_error: upstream_error.map(|(cause, word)| cause.upstream_error(word)),
        request_error: cause.filter(|_| record.attempts == 0).map(Cause::text).or(request_error.as_deref()),
        user_agent: complete.then(|| request.values(input, FieldKind::UserAgent).next()).flatten(),
        referer: wants_referer.then(|| request.field(input, "referer").next()).flatten(),
        upgrade: record.upgraded.then_some(Upgrade::WebSocket),
        tls: record.tls,
    });
}

impl<'s> Record<'s> {
    fn new<R: Runtime>(
        core: &Core<R>,
        client: &DownstreamConn<R::Stream>,
        buffers: &ConnBuffers,
        started_us: u64,
    ) -> Self {
        let id = core.request_ids.borrow_mut().draw();
        client.request_id.set(Some(id));
        let (mut address, mut kept_id) = (client.peer, None);
        if client.trusted && buffers.request.is_complete() {
            address =
                forwarded::client_address(&core.settings, client.peer, &buffers.request, &buffers.client_in);
            kept_id = forwarded::kept_request_id(&buffers.request, &buffers.client_in);
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
            answered_us: None,
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            failure: None,
            cause: None,
            is_call: false,
            is_http2: client.is_http2,
            tls: client.tls_version(),
            upgraded: false,
        }
    }

    /// The id that the request is known by: a trusted proxy's, where it stands in `input`, or ours.
    pub(crate) fn request_id<'a>(&'a self, input: &'a [u8]) -> &'a [u8] {
        match &self.kept_id {
            Some(range) => &input[range.clone()],
            None => self.id.as_bytes(),
        }
    }

    /// The same as text; it is one of visible ASCII.
    fn request_id_str<'a>(&'a self, input: &'a [u8]) -> &'a str {
        std::str::from_utf8(self.request_id(input)).unwrap_or_default()
    }

    /// The policy of its rule, or the default one while it has none.
    fn policy<'a, R: Runtime>(&'a self, core: &'a Core<R>) -> &'a Policy {
        self.matched.map_or(&core.settings.policy, |matched| &matched.rule.policy)
    }

    fn begin_attempt(&mut self, now_us: u64, endpoint: &'s Endpoint) {
        self.attempts += 1;
        self.attempt_us = now_us;
        self.answered_us = None;
        self.cause = None;
        self.endpoint = Some(endpoint);
    }

    /// Notes why an attempt failed, and reports it where the instance is to blame.
    #[cold]
    fn note_cause<R: Runtime>(
        &mut self,
        core: &Core<R>,
        buffers: &ConnBuffers,
        attempt: &Attempt<'_>,
        failure: Failure,
    ) {
        self.cause = Cause::of_attempt(failure, &attempt.cause, buffers, attempt.policy);
        if let Some(cause) = &self.cause {
            let word = failure.consequence(core.settings.unavailable_status).word;
            attempt_warnings::report(core, attempt.pool, attempt.picked.endpoint, cause, word);
        }
    }
}

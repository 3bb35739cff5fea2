//! One attempt: the request goes out, the response comes back.
//!
//! A request without a body, or with one that is there already, is sent in one piece, and then its response is
//! read. A longer body is pumped beside the reading of the response, for an endpoint may answer before it has read all.

use std::io::ErrorKind;
use std::pin::pin;

use crate::limits;
use ringway_middleware::{Chain, Edits};
use ringway_net::{Stream, WriteRate, join_until, with_side_task};
use ringway_traffic::balance::Picked;
use ringway_traffic::policy::Policy;
use ringway_traffic::retry::{self, Body, Facts};
use ringway_traffic::snapshot::Pool;
use ringway_wire::h1::{self, ExpectLine, RequestRewrite, TeLine, UpgradeLine};
use ringway_wire::message::Method;

use super::UpstreamConn;
use super::connect::{Origin, connect};
use super::response_relay::{Answered, Reply, respond};
use super::upload_state::Sending;
use crate::core::{ConnBuffers, Core};
use crate::exchange::activity::{Activity, Kind};
use crate::exchange::cause;
use crate::exchange::failure::Failure;
use crate::exchange::forwarded;
use crate::exchange::grpc;
use crate::exchange::request_body::{PumpError, RequestBody};
use crate::exchange::tunnel;
use crate::exchange::{Disposition, Record, has_left, is_followed};
use crate::h2;
use crate::runtime::Runtime;
use crate::session::downstream::DownstreamConn;
use crate::session::linger;

/// What an attempt is made with.
pub(crate) struct Attempt<'a> {
    pub(crate) picked: &'a Picked<'a>,
    pub(crate) pool: &'a Pool,
    pub(crate) reuse: Reuse,
    /// The request asks to become a WebSocket, validly.
    pub(crate) upgrade: bool,
    pub(crate) edits: &'a Edits,
    pub(crate) policy: &'a Policy,
    /// Middleware that sees the response.
    pub(crate) stages: Option<&'a Chain>,
    /// Cause of its failure, left by the part that failed.
    pub(crate) cause: cause::Slot,
}

/// Whether a pooled connection will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    Allowed,
    /// One has just turned out to be stale.
    Never,
}

/// How far an attempt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// There is no connection.
    Connect,
    /// There is one, and it took nothing of the request.
    Unsent,
    /// The endpoint said that it has done nothing with the request (RFC 9113 §8.7).
    Refused,
    /// The request, or a part of it, was sent; no byte of a response came.
    Waiting,
    /// The client has got something of a response.
    Answered,
}

/// What went wrong, and how far the attempt had come.
pub(super) type FailedAt = (Failure, Stage);

/// An attempt that failed.
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    /// Not the endpoint, but its client or a limit of ours may have been why it ended the exchange.
    pub(crate) is_excused: bool,
    stage: Stage,
    origin: Origin,
    body: Body,
}

impl Failed {
    /// What decides whether another attempt may follow.
    pub(crate) fn facts(&self, method: Method, attempts: u32) -> Facts {
        let failed = match (self.failure, self.stage, self.origin) {
            // Another endpoint would need a connection as well.
            (Failure::Exhausted, Stage::Connect, _) => retry::Failed::NewEnded,
            (_, Stage::Connect, _) => retry::Failed::Connect,
            (_, Stage::Refused, _) => retry::Failed::Refused,
            (_, Stage::Unsent, Origin::Pooled) => retry::Failed::PooledUnsent,
            (_, Stage::Unsent, Origin::New) => retry::Failed::NewEnded,
            (_, Stage::Answered, _) => retry::Failed::Answered,
            (Failure::UpstreamClosed, Stage::Waiting, Origin::Pooled) => retry::Failed::PooledEnded,
            (Failure::UpstreamClosed, Stage::Waiting, Origin::New) => retry::Failed::NewEnded,
            (Failure::ResponseTimedOut, Stage::Waiting, _) => retry::Failed::HeadTimeout,
            (failure, Stage::Waiting, _) if failure.is_clients() => retry::Failed::Client,
            (_, Stage::Waiting, _) => retry::Failed::BadResponse,
        };
        let method = if method.is_idempotent() { retry::Method::Idempotent } else { retry::Method::Other };
        Facts { attempts, failed, body: self.body, method }
    }
}

/// Sends the request in `buffers` to the endpoint and its response to the client.
pub(crate) async fn forward<R: Runtime>(
    core: &Core<R>,
    client: &DownstreamConn<R::Stream>,
    buffers: &mut ConnBuffers,
    body: &mut RequestBody,
    attempt: &Attempt<'_>,
    record: &mut Record<'_>,
) -> Result<Disposition, Failed> {
    let fail =
        |failure, stage| Failed { failure, is_excused: false, stage, origin: Origin::New, body: Body::Whole };
    let begun = core.runtime.now();
    let (mut upstream, origin) =
        connect(core, attempt).await.map_err(|failure| fail(failure, Stage::Connect))?;
    if core.runtime.now().since(begun) >= limits::CLIENT_WATCH_DELAY
        && has_left(client, buffers, Some(body)).await
    {
        return Err(fail(Failure::ClientClosed, Stage::Waiting));
    }

    write_head(buffers, attempt);
    let may_outlast = !client.is_http2
        && !buffers.request.expects_continue()
        && body.left().is_some_and(|left| left <= limits::EARLY_ANSWER_REST_MAX);
    let sending = Sending::that_may_outlast_its_answer(may_outlast);
    if is_followed(&buffers.request, &buffers.client_in, Some(body)) {
        sending.set_followed();
    }
    send_first(core, &upstream.stream, buffers, body, (attempt, &sending)).await.map_err(
        |(failure, stage)| Failed {
            failure,
            is_excused: core.runtime.is_excused(&upstream.stream),
            stage,
            origin,
            body: Body::Whole,
        },
    )?;

    let reply = Reply::of(&buffers.request, &buffers.client_in, attempt);
    // Where requests share connections: one that is silent holds nobody up.
    let is_call = upstream.is_shared && grpc::is_call(&buffers.request, &buffers.client_in);
    let kind = if is_call { Kind::Call } else { Kind::Transfer };
    let sides = (sending, Activity::new(kind, attempt.policy, core.runtime.now()));
    let sending = &sides.0;
    let is_streaming = !body.is_complete();
    let answered = converse(core, client, &upstream, buffers, body, &reply, record, &sides).await.map_err(
        |(failure, stage)| {
            let held = if body.rest_read.is_none() { Body::Whole } else { Body::Consumed };
            // Servers end a connection on which a request comes too slowly, or a response is taken too slowly.
            let kept_waiting = is_streaming && !sending.is_whole() || sending.has_kept_waiting();
            // So do servers that open no WebSocket at this path, which any client may ask them for.
            let is_excused = kept_waiting || attempt.upgrade || core.runtime.is_excused(&upstream.stream);
            Failed { failure, is_excused, stage, origin, body: held }
        },
    )?;

    if answered.upgraded {
        return Ok(tunnel::run(core, client, upstream, buffers, (attempt.policy, record)).await);
    }
    let sent = body.is_complete() && sending.is_whole();
    if answered.reusable && sent && !core.draining.get() {
        upstream.keep_alive = buffers.response.keep_alive_timeout();
        let is_there = |endpoint| core.tables().snapshot.has_endpoint(endpoint);
        core.upstreams.borrow_mut().give(upstream, core.runtime.now(), is_there);
    }
    Ok(if answered.close || !sent { Disposition::Close } else { Disposition::Keep })
}

/// Puts the outgoing head into `output`.
fn write_head(buffers: &mut ConnBuffers, attempt: &Attempt<'_>) {
    let ConnBuffers { request, client_in: input, out: output, added_headers: lines, .. } = buffers;
    output.clear();
    let rewrite = RequestRewrite {
        expect: ExpectLine::Keep,
        te: TeLine::Keep,
        upgrade: if attempt.upgrade { UpgradeLine::WebSocket } else { UpgradeLine::None },
        remove_kinds: forwarded::rewritten_kinds(request),
        append: lines,
        ..RequestRewrite::default()
    };
    if attempt.edits.is_empty() {
        return h1::write_request(output, input, request, &rewrite);
    }
    let remove: Vec<&str> = attempt.edits.removed().iter().map(|name| &**name).collect();
    let append = [lines.as_slice(), attempt.edits.lines()].concat();
    h1::write_request(
        output,
        input,
        request,
        &RequestRewrite { remove: &remove, append: &append, ..rewrite },
    );
}

/// Sends the head and what is there of the body: a little of it in one piece with the head, and much of it from where it lies,
/// for which the kernel holds the head.
async fn send_first<R: Runtime>(
    core: &Core<R>,
    upstream: &R::Stream,
    buffers: &mut ConnBuffers,
    body: &RequestBody,
    (attempt, sending): (&Attempt<'_>, &Sending),
) -> Result<(), FailedAt> {
    let ConnBuffers { client_in: input, out: output, .. } = buffers;
    let pace = WriteRate::stall(attempt.policy.body_progress_timeout);
    let mut rest = body.first.start + body.first.len().min(JOINED_BYTES_MAX)..body.first.end;
    let held = if rest.is_empty() { 0 } else { upstream.write_held(output) };
    if held == output.len() {
        rest.start = body.first.start;
    } else {
        output.extend_from_slice(&input[body.first.start..rest.start]);
        let part = held..output.len();
        let (sent, back) = upstream.write_all_range(std::mem::take(output), part, pace).await;
        *output = back;
        match sent.map_err(|error| error.kind()) {
            Ok(()) => {}
            // A part of it may have gone out.
            Err(ErrorKind::TimedOut) => return Err((Failure::ResponseTimedOut, Stage::Waiting)),
            // The head may be out: the endpoint may have acted on it, and have answered.
            Err(error) if held > 0 || matches!(error, h2::GAVE_UP | ErrorKind::WriteZero) => {
                sending.refuse(core.runtime.now());
                return Ok(());
            }
            Err(_) => return Err((Failure::UpstreamClosed, Stage::Unsent)),
        }
    }
    if !rest.is_empty() {
        let (sent, back) = upstream.write_all_range(std::mem::take(input), rest, pace).await;
        *input = back;
        if sent.is_err() {
            // The head is out: the endpoint may have acted on it, and have answered.
            sending.refuse(core.runtime.now());
        }
    }
    Ok(())
}

/// Reads the response, and sends the rest of the request's body meanwhile.
#[allow(clippy::too_many_arguments)] // the two sides of an attempt, and what they know of each other
async fn converse<R: Runtime>(
    core: &Core<R>,
    client: &DownstreamConn<R::Stream>,
    upstream: &UpstreamConn<R::Stream>,
    buffers: &mut ConnBuffers,
    body: &mut RequestBody,
    reply: &Reply<'_>,
    record: &mut Record<'_>,
    (sending, activity): &(Sending, Activity),
) -> Result<Answered, FailedAt> {
    let ConnBuffers { client_in: input, upstream_in: answer, out: output, response, .. } = buffers;
    answer.clear();
    if answer.capacity() < ringway_model::limits::HEAD_BUFFER_BYTES {
        answer.reserve_exact(ringway_model::limits::HEAD_BUFFER_BYTES);
    }
    let upstream = &upstream.stream;
    // A client that gives its request up spares the endpoint the rest of it.
    let left = async {
        client.stream.left().await;
        upstream.cancel_reads();
    };
    if body.is_complete() {
        if !sending.is_refused() {
            sending.finish(core.runtime.now());
        }
        let sides = (sending, activity);
        let respond = respond(core, client, upstream, reply, response, answer, output, record, sides);
        return with_side_task(pin!(respond), pin!(left)).await;
    }
    let pump = async {
        let stall = reply.attempt.policy.body_progress_timeout;
        let pumped = match sending.is_refused() {
            true => Err(PumpError::Upstream),
            false => body.pump(&core.runtime, &client.stream, upstream, input, activity, stall).await,
        };
        match pumped {
            Ok(()) => {
                if body.rest_read.as_ref().is_some_and(|rest| !rest.is_empty()) {
                    sending.set_followed();
                }
                sending.finish(core.runtime.now());
            }
            Err(PumpError::Client(failure)) => {
                sending.fail(failure);
                upstream.cancel_reads();
            }
            Err(PumpError::Upstream) => {
                sending.refuse(core.runtime.now());
                // Boxed: few come here, and it would make every exchange larger.
                Box::pin(linger::discard_beside(core, client)).await;
            }
        }
    };
    let stop = || {
        if sending.outlasts() {
            return;
        }
        sending.stop();
        client.stream.cancel_reads();
        upstream.cancel_writes();
    };
    let sides = (sending, activity);
    let response = respond(core, client, upstream, reply, response, answer, output, record, sides);
    let (result, ()) = with_side_task(join_until(pin!(response), pin!(pump), stop), pin!(left)).await;
    client.stream.resume_reads();
    result.map_err(|(failure, stage)| (sending.client_failure().unwrap_or(failure), stage))
}

/// Parts of a body up to this size are sent in one piece with the head: copying them costs less than a second send.
pub(super) const JOINED_BYTES_MAX: usize = 16 * 1024;

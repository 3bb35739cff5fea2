//! One attempt: the request goes out, and ends with a response head and an open body.
//!
//! A request without a body, or with one that is there already, is sent in one piece. A longer body is
//! uploaded beside the wait for the response and its delivery ([`Upload`]), for an endpoint may respond
//! before it has read all.

use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::rc::Rc;

use crate::limits;
use ringway_middleware::{Edits, Run};
use ringway_net::{Stream, WriteRate, with_side_task};
use ringway_traffic::balance::Picked;
use ringway_traffic::in_flight;
use ringway_traffic::policy::Policy;
use ringway_traffic::retry::{self, Body};
use ringway_traffic::snapshot::Pool;
use ringway_wire::h1::{
    self, ConnectionSignal, ExpectLine, OutFraming, Parse, RequestHead, RequestRewrite, Switch, TeLine,
    UpgradeLine,
};
use ringway_wire::message::{Method, Version};

use super::connect::{Connect, Origin, Versions};
use super::response_reader::{ReadError, ResponseReader};
use super::upgrade::Accept;
use super::upload::UploadTask;
use super::{Transfer, Upload, UpstreamConn};
use crate::core::{ConnBuffers, Core};
use crate::exchange::activity::Kind;
use crate::exchange::failure::Failure;
use crate::exchange::request_body::{RequestBody, has_left, is_followed};
use crate::exchange::response_writer::ResponseWriter;
use crate::exchange::stream_info::StreamInfo;
use crate::exchange::{forwarded, grpc};
use crate::h2::StreamEnd;
use crate::runtime::Runtime;
use crate::session::downstream_conn::DownstreamConn;
use crate::session::limits_of;

/// One attempt to get a response for the request in `buffers`.
pub(crate) struct Attempt<'x, 'a, R: Runtime> {
    pub(crate) core: &'a Core<R>,
    pub(crate) client: &'a DownstreamConn<R::Stream>,
    pub(crate) transfer: &'a Transfer,
    pub(crate) buffers: &'x mut ConnBuffers,
    /// Taken by an upload, which gives it back.
    pub(crate) body: &'x mut Option<RequestBody>,
    pub(crate) info: &'x mut StreamInfo<'a>,
    pub(crate) picked: Picked<'a>,
    pub(crate) pool: &'a Pool,
    pub(crate) policy: &'a Policy,
    pub(crate) reuse: Reuse,
    /// The request asks to become a WebSocket, validly.
    pub(crate) upgrade: bool,
    /// Edits and body transforms of the request stages.
    pub(crate) stages: &'x mut Run,
}

/// Use of pooled connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    Allowed,
    /// One has just turned out to be stale.
    Never,
}

/// A response whose head stands in the buffers, and whose body is still to be read from the connection. The
/// rest of the request may still be on its way.
#[must_use = "its upload has to be ended"]
pub(crate) struct UpstreamResponse<'a, R: Runtime> {
    pub(crate) picked: Picked<'a>,
    pub(crate) conn: Rc<UpstreamConn<R::Stream>>,
    pub(crate) upload: Upload<'a>,
    pub(crate) traits: RequestTraits,
    /// The request's body did not come whole with its head.
    pub(crate) is_streaming: bool,
    /// Counts the request until the response is delivered.
    pub(crate) in_flight: Option<in_flight::Guard<'a>>,
}

/// Traits of the request that its response depends on.
#[derive(Clone, Copy)]
pub(crate) struct RequestTraits {
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) keep_alive: bool,
    /// The request asks to become a WebSocket.
    pub(crate) upgrade: bool,
    /// The `Sec-WebSocket-Accept` that belongs to its key.
    pub(crate) accept: Option<Accept>,
}

impl RequestTraits {
    pub(crate) fn of(request: &RequestHead, client_in: &[u8], upgrade: bool) -> Self {
        Self {
            method: request.method(),
            version: request.version(),
            keep_alive: request.keep_alive(),
            upgrade,
            accept: if upgrade { Accept::of(request, client_in) } else { None },
        }
    }
}

/// Progress of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No connection.
    Connect,
    /// A connection that took nothing of the request.
    Unsent,
    /// The endpoint did not process the request, and says so (RFC 9113 §8.7).
    Refused,
    /// The request, or a part of it, was sent; no byte of a response came.
    Waiting,
    /// The client has got an interim response.
    Answered,
}

/// A failure, and the stage at which the attempt was.
pub(super) type FailedAt = (Failure, Stage);

/// A failure as passive health judges it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) failure: Failure,
    /// The endpoint's client, or a limit of ours, may be why the endpoint ended the exchange.
    pub(crate) is_excused: bool,
}

/// An attempt that failed before its response head.
pub(crate) struct Failed {
    pub(crate) fault: Fault,
    pub(super) stage: Stage,
    pub(super) origin: Origin,
    pub(crate) body: Body,
    /// Its own timeout was shorter than the time that was left for the exchange.
    pub(super) may_try_again: bool,
}

impl Failed {
    /// An attempt whose client left.
    pub(crate) fn of_client() -> Self {
        Self::of(Failure::ClientClosed, Stage::Waiting)
    }

    /// An attempt that this process could not make.
    pub(crate) fn of_own_shortage() -> Self {
        Self::of(Failure::Exhausted, Stage::Connect)
    }

    fn of(failure: Failure, stage: Stage) -> Self {
        Self {
            fault: Fault { failure, is_excused: false },
            stage,
            origin: Origin::New,
            body: Body::Whole,
            may_try_again: false,
        }
    }

    /// Point of the failure, for the retry decision.
    pub(crate) fn point(&self) -> retry::Failed {
        match (self.fault.failure, self.stage, self.origin) {
            // Another endpoint would need a connection as well.
            (Failure::Exhausted, Stage::Connect, _) => retry::Failed::OwnShortage,
            (_, Stage::Connect, _) => retry::Failed::Connect,
            (_, Stage::Refused, _) => retry::Failed::Refused,
            (_, Stage::Unsent, Origin::Pooled) => retry::Failed::PooledUnsent,
            (_, Stage::Unsent, Origin::New) => retry::Failed::NewUnsent,
            (_, Stage::Answered, _) => retry::Failed::Answered,
            (Failure::UpstreamClosed, Stage::Waiting, Origin::Pooled) => retry::Failed::PooledEnded,
            (Failure::UpstreamClosed, Stage::Waiting, Origin::New)
            | (Failure::ResponseHeadCut, Stage::Waiting, _) => retry::Failed::Ended,
            (Failure::ResponseTimedOut, Stage::Waiting, _) if self.may_try_again => retry::Failed::TryTimeout,
            (Failure::ResponseTimedOut, Stage::Waiting, _) => retry::Failed::HeadTimeout,
            (failure, Stage::Waiting, _) if failure.is_clients() => retry::Failed::Client,
            (_, Stage::Waiting, _) => retry::Failed::BadResponse,
        }
    }
}

impl<'a, R: Runtime> Attempt<'_, 'a, R> {
    /// Sends the request and waits for the head of its response.
    pub(crate) async fn run(&mut self) -> Result<UpstreamResponse<'a, R>, Failed> {
        let Self { core, client, transfer, .. } = *self;
        transfer.cause.take();
        let begun = core.runtime.now();
        transfer.activity.deadlines.begin_attempt(self.policy, begun, self.info.attempt_us);
        let connect = Connect {
            core,
            pool: self.pool,
            endpoint: self.picked.endpoint,
            policy: self.policy,
            transfer,
            reuse: self.reuse,
            versions: if self.upgrade { Versions::Http1 } else { Versions::OfPool },
        };
        let (conn, origin) = connect.run().await.map_err(|failure| Failed::of(failure, Stage::Connect))?;
        if core.runtime.now().since(begun) >= limits::CLIENT_WATCH_DELAY
            && has_left(client, self.buffers, self.body.as_ref()).await
        {
            return Err(Failed::of_client());
        }

        self.write_head();
        self.begin_upload();
        let sent = {
            let sending = pin!(self.send_first(&conn.stream));
            in_time(core, transfer, &conn.stream, sending).await
        };
        sent.map_err(|(failure, stage)| Failed {
            fault: Fault { failure, is_excused: core.runtime.is_excused(&conn.stream) },
            stage,
            may_try_again: transfer.activity.deadlines.is_of_attempt(),
            origin,
            body: Body::Whole,
        })?;

        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        let traits = RequestTraits::of(request, client_in, self.upgrade);
        // Only on a shared connection: there a silent request holds up no other one.
        let is_call = conn.is_shared && grpc::is_call(request, client_in);
        let kind = if is_call { Kind::Call } else { Kind::Transfer };
        transfer.activity.begin(kind, self.policy, limits_of(core, self.client), core.runtime.now());

        let mut upload = self.start_upload(&conn);
        let is_streaming = !matches!(upload, Upload::None);
        let received = {
            let head = pin!(self.receive_head(&conn.stream, &traits));
            let received = pin!(upload.beside(client, &conn.stream, head));
            in_time(core, transfer, &conn.stream, received).await
        };
        let mut response =
            UpstreamResponse { picked: self.picked, conn, upload, traits, is_streaming, in_flight: None };
        let Err((failure, stage)) = received else { return Ok(response) };
        if let Some(body) = response.end_upload(client, transfer).await {
            *self.body = Some(body);
        }
        let fault = response.fault(core, transfer, failure);
        let is_held = self.body.as_ref().is_none_or(|body| body.rest_read.is_none() && !body.as_data);
        let body = if is_held { Body::Whole } else { Body::Consumed };
        let may_try_again = transfer.activity.deadlines.is_of_attempt();
        Err(Failed { fault, stage, origin, body, may_try_again })
    }

    /// Puts the outgoing head into `out`.
    fn write_head(&mut self) {
        let as_data = self.body.as_ref().is_some_and(|body| body.as_data);
        let rewrite = RequestRewrite {
            framing: if as_data { OutFraming::Chunked } else { OutFraming::AsReceived },
            expect: ExpectLine::Keep,
            upgrade: if self.upgrade { UpgradeLine::WebSocket } else { UpgradeLine::None },
            ..RequestRewrite::default()
        };
        let mut out = std::mem::take(&mut self.buffers.out);
        out.clear();
        write_head(&mut out, self.buffers, self.stages.request_edits(), &rewrite);
        self.buffers.out = out;
    }

    /// Resets the state of the upload for this request.
    fn begin_upload(&self) {
        let (buffers, body, upload) = (&*self.buffers, self.body.as_ref(), &self.transfer.upload);
        let may_outlast = !self.client.is_http2
            && !buffers.request.expects_continue()
            && body
                .filter(|body| !body.as_data)
                .and_then(RequestBody::bytes_left)
                .is_some_and(|left| left <= limits::EARLY_RESPONSE_REST_MAX);
        upload.begin(may_outlast);
        if is_followed(&buffers.request, &buffers.client_in, body) {
            upload.set_followed();
        }
    }

    /// Sends the head and what is there of the body: a little of it in one piece with the head, and much of
    /// it from where it lies, for which the kernel holds the head.
    async fn send_first(&mut self, upstream: &R::Stream) -> Result<(), FailedAt> {
        let Self { core, transfer, .. } = *self;
        let ConnBuffers { client_in, out, .. } = &mut *self.buffers;
        let refuse = || transfer.upload.refuse(core.runtime.now());
        let deadline = transfer.activity.deadlines.head();
        let rate = WriteRate::stall(self.policy.body_progress_timeout).and_until(deadline);
        let first = self.body.as_ref().filter(|body| !body.as_data).map_or(0..0, |body| body.first.clone());
        let mut rest = first.start + first.len().min(JOINED_BYTES_MAX)..first.end;
        let held = if rest.is_empty() { 0 } else { upstream.write_held(out) };
        if held == out.len() {
            rest.start = first.start;
        } else {
            out.extend_from_slice(&client_in[first.start..rest.start]);
            let part = held..out.len();
            let (sent, back) = upstream.write_all_range(std::mem::take(out), part, rate).await;
            *out = back;
            match sent {
                Ok(()) => {}
                // A part of it may have gone out.
                Err(error)
                    if error.kind() == ErrorKind::TimedOut || transfer.activity.deadlines.has_expired() =>
                {
                    return Err((Failure::ResponseTimedOut, Stage::Waiting));
                }
                // The head may be out: the endpoint may have acted on it, and have responded.
                Err(error)
                    if held > 0
                        || error.kind() == ErrorKind::WriteZero
                        || StreamEnd::of(&error) == Some(StreamEnd::Reset) =>
                {
                    refuse();
                    return Ok(());
                }
                Err(_) => return Err((Failure::UpstreamClosed, Stage::Unsent)),
            }
        }
        if !rest.is_empty() {
            let (sent, back) = upstream.write_all_range(std::mem::take(client_in), rest, rate).await;
            *client_in = back;
            if sent.is_err() {
                // The head is out: the endpoint may have acted on it, and have responded.
                refuse();
            }
        }
        Ok(())
    }

    /// Begins to send the rest of the body, where there is one.
    fn start_upload(&mut self, conn: &Rc<UpstreamConn<R::Stream>>) -> Upload<'a> {
        let Self { core, client, transfer, .. } = *self;
        if let Some(body) = self.body.take_if(|body| body.as_data || !body.is_complete()) {
            let transforms = std::mem::take(self.stages.request_body());
            transfer.activity.deadlines.begin_upload();
            let (buf, upstream) = (body.upload_buffer(&self.buffers.client_in), conn.clone());
            let policy = self.policy;
            let task = UploadTask { core, client, upstream, transfer, policy, body, buf, transforms };
            return Upload::start(task);
        }
        if !transfer.upload.is_refused() {
            transfer.upload.finish(core.runtime.now());
        }
        Upload::None
    }

    /// Reads up to a final head that can be delivered.
    async fn receive_head(&mut self, upstream: &R::Stream, traits: &RequestTraits) -> Result<(), FailedAt> {
        let Self { core, client, .. } = *self;
        self.read_final_head(upstream, traits).await?;
        self.info.response_us = Some(core.runtime.now_micros());
        let ConnBuffers { response, upstream_in, .. } = &*self.buffers;
        let status = response.status();
        if status == 101 {
            match &traits.accept {
                Some(accept) if accept.is_given_by(response, upstream_in) => {}
                Some(_) if response.switch() == Some(Switch::WebSocket) => {
                    return Err((Failure::BadAccept, Stage::Waiting));
                }
                _ => return Err((Failure::UnaskedUpgrade, Stage::Waiting)),
            }
        } else if client.is_http2 && traits.accept.is_some() && (200..300).contains(&status) {
            // To a client of HTTP/2 this status is an open tunnel, and there is none (RFC 8441 §5).
            return Err((Failure::UpgradeIgnored, Stage::Waiting));
        }
        Ok(())
    }

    /// Reads up to the final head, and passes interim ones on to a client that knows them (RFC 9110 §15.2).
    async fn read_final_head(
        &mut self,
        upstream: &R::Stream,
        traits: &RequestTraits,
    ) -> Result<(), FailedAt> {
        let Self { core, client, transfer, .. } = *self;
        let waiting = |failure| match transfer.has_answered.get() {
            true => (failure, Stage::Answered),
            false => (failure, Stage::Waiting),
        };
        let ConnBuffers { upstream_in, out, response, .. } = &mut *self.buffers;
        upstream_in.clear();
        if upstream_in.capacity() < ringway_model::limits::HEAD_BUFFER_BYTES {
            upstream_in.reserve_exact(ringway_model::limits::HEAD_BUFFER_BYTES);
        }
        let mut reader = ResponseReader { core, client, upstream, upstream_in, transfer };
        let mut writer = ResponseWriter { core, client, out, transfer };
        let begun = core.runtime.now();
        let mut interim = 0;
        response.reset();
        loop {
            // An interim head and the final one may come in one segment: parse first, read second.
            let parse = match reader.upstream_in.is_empty() {
                true => Parse::Partial,
                false => response
                    .parse(reader.upstream_in, traits.method, &core.settings.heads)
                    .map_err(|error| waiting(Failure::BadResponse(error)))?,
            };
            match parse {
                Parse::Complete if response.is_interim() => {
                    interim += 1;
                    if interim > limits::INTERIM_RESPONSES_MAX {
                        return Err(waiting(Failure::InterimFlood));
                    }
                    if traits.version == Version::Http11 {
                        let signal = ConnectionSignal::Implicit;
                        writer.write_head(reader.upstream_in, response, signal, OutFraming::AsReceived, None);
                        transfer.has_answered.set(true);
                        writer.send_out().await.map_err(waiting)?;
                    }
                    reader.upstream_in.drain(..response.len());
                    response.reset();
                }
                Parse::Complete => return Ok(()),
                Parse::Partial => {
                    let began = !reader.upstream_in.is_empty();
                    match reader.read_head_bytes(begun).await {
                        Ok(()) => {}
                        Err(ReadError::ClientGone) => return Err(waiting(Failure::ClientClosed)),
                        Err(ReadError::TimedOut) => return Err(waiting(Failure::ResponseTimedOut)),
                        Err(ReadError::TotalTimedOut) => return Err(waiting(Failure::TotalTimedOut)),
                        Err(ReadError::GaveUp) => return Err(waiting(Failure::ResponseHeadCut)),
                        Err(_) if began || interim > 0 => return Err(waiting(Failure::ResponseHeadCut)),
                        Err(ReadError::TookNothing) => {
                            return Err((Failure::UpstreamRefused, Stage::Refused));
                        }
                        Err(ReadError::Ended | ReadError::Broken) => {
                            return Err(waiting(Failure::UpstreamClosed));
                        }
                    }
                }
            }
        }
    }
}

impl<R: Runtime> UpstreamResponse<'_, R> {
    /// Ends the upload, and gives back the body where there was one to upload.
    pub(crate) async fn end_upload(
        &mut self,
        client: &DownstreamConn<R::Stream>,
        transfer: &Transfer,
    ) -> Option<RequestBody> {
        self.upload.end(client, &self.conn.stream, &transfer.upload).await
    }

    /// Judges a failure, once the upload has ended. Servers end a connection on which a request comes too
    /// slowly, or a response is taken too slowly; and servers that open no WebSocket at a path, which any
    /// client may request.
    pub(crate) fn fault(&self, core: &Core<R>, transfer: &Transfer, failure: Failure) -> Fault {
        let upload = &transfer.upload;
        let failure = upload.client_failure().unwrap_or(failure);
        let kept_waiting = self.is_streaming && !upload.is_whole() || upload.has_kept_waiting();
        let is_excused = kept_waiting || self.traits.upgrade || core.runtime.is_excused(&self.conn.stream);
        Fault { failure, is_excused }
    }
}

/// Appends the head that an endpoint gets for the request in `buffers`: with the edits of its stages, the
/// added fields, and what `rewrite` says beside them.
pub(crate) fn write_head(
    out: &mut Vec<u8>,
    buffers: &ConnBuffers,
    edits: &Edits,
    rewrite: &RequestRewrite<'_>,
) {
    let ConnBuffers { request, client_in, added_headers, target, .. } = buffers;
    let rewrite = RequestRewrite {
        target: (!target.is_empty()).then_some(target),
        te: TeLine::Keep,
        remove_kinds: forwarded::rewritten_kinds(request),
        ..*rewrite
    };
    let own = rewrite.append;
    let rewrite = RequestRewrite { append: [added_headers, edits.lines()], ..rewrite };
    if rewrite.remove.is_empty() && own.iter().all(|lines| lines.is_empty()) {
        return h1::write_request(
            out,
            client_in,
            request,
            &RequestRewrite { remove: edits.removed_names(), ..rewrite },
        );
    }
    let remove = [edits.removed_names(), rewrite.remove].concat();
    let append = [edits.lines(), own[0], own[1]].concat();
    let rewrite = RequestRewrite { remove: &remove, append: [added_headers, &append], ..rewrite };
    h1::write_request(out, client_in, request, &rewrite);
}

/// Awaits I/O on the connection of an attempt, and cancels it at the attempt's own timeout: punctually, for
/// that may be shorter than the deadlines of sockets are exact.
async fn in_time<R: Runtime, F: Future>(
    core: &Core<R>,
    transfer: &Transfer,
    stream: &R::Stream,
    io: Pin<&mut F>,
) -> F::Output {
    let deadlines = &transfer.activity.deadlines;
    let Some(left) = deadlines.attempt_left(|| core.runtime.now_micros()) else { return io.await };
    // Boxed: exchanges need not be larger for a timeout that few policies have.
    let timer = Box::pin(async {
        core.runtime.sleep(left).await;
        deadlines.set_expired(true);
        stream.cancel_reads();
        stream.cancel_writes();
    });
    let output = with_side_task(io, timer).await;
    if deadlines.has_expired() {
        // The last byte may have come all the same.
        deadlines.set_expired(false);
        stream.resume_reads();
        stream.resume_writes();
    }
    output
}

/// Parts of a body up to this size are sent in one piece with the head: copying them costs less than a second
/// send.
pub(crate) const JOINED_BYTES_MAX: usize = 16 * 1024;

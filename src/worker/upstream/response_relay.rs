//! Reading a response and handing it to the client as it comes.
//!
//! ```text
//! interim heads (bounded) → final head → body: by length (spliced when long), in chunks, or until the end
//! ```
//! Nothing is buffered beyond one read: events and long polls pass at once. A body that breaks off upstream never
//! looks complete downstream.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::ops::Range;
use std::pin::pin;
use std::task::Poll;

use crate::limits;
use ringway_middleware::{Edits, ResponseView};
use ringway_model::Tick;
use ringway_net::{Hangup, PeerState, Stream, WriteRate, join_until};
use ringway_wire::h1::{
    self, ConnectionSignal, OutFraming, Parse, RequestHead, ResponseHead, ResponseRewrite, Switch,
};
use ringway_wire::headers::FieldKind;
use ringway_wire::message::{Framing, Method, Version};

use super::attempt::{FailedAt, JOINED_BYTES_MAX};
use super::body_encoder::Outgoing;
use super::upgrade::Accept;
use super::upload_state::Sending;
use super::{Attempt, Stage};
use crate::connector::SpliceError;
use crate::core::Core;
use crate::exchange::Record;
use crate::exchange::activity::{Activity, Kind};
use crate::exchange::cause::Cause;
use crate::exchange::failure::Failure;
use crate::exchange::passive_health;
use crate::h2;
use crate::runtime::Runtime;
use crate::session::downstream::DownstreamConn;

/// What of the request the response depends on.
pub(crate) struct Reply<'a> {
    pub(crate) attempt: &'a Attempt<'a>,
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) keep_alive: bool,
    /// Of a request to become a WebSocket.
    accept: Option<Accept>,
}

impl<'a> Reply<'a> {
    pub(crate) fn of(request: &RequestHead, input: &[u8], attempt: &'a Attempt<'a>) -> Self {
        Self {
            attempt,
            method: request.method(),
            version: request.version(),
            keep_alive: request.keep_alive(),
            accept: if attempt.upgrade { Accept::of(request, input) } else { None },
        }
    }
}

/// What a response that was handed over whole leaves behind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answered {
    /// The upstream connection can carry another request, as far as the response is concerned.
    pub(crate) reusable: bool,
    /// The client was told that its connection ends.
    pub(crate) close: bool,
    /// Both sides agreed to leave HTTP.
    pub(crate) upgraded: bool,
}

/// Reads the response of `upstream` and sends it to `client`. On failure says whether the client has seen any of it.
#[allow(clippy::too_many_arguments)] // the parts of a buffers, lent one by one because the request's pump holds the rest
pub(crate) async fn respond<R: Runtime>(
    core: &Core<R>,
    client: &DownstreamConn<R::Stream>,
    upstream: &R::Stream,
    reply: &Reply<'_>,
    response: &mut ResponseHead,
    answer: &mut Vec<u8>,
    output: &mut Vec<u8>,
    record: &mut Record<'_>,
    (sending, activity): (&Sending, &Activity),
) -> Result<Answered, FailedAt> {
    let attempt = reply.attempt;
    let mut hop = Hop { core, client, upstream, answer, output, sending, activity, attempt };
    hop.read_final_head(reply, response).await?;
    record.answered_us = Some(core.runtime.now_micros());
    let status = response.status();

    if status == 101 {
        match &reply.accept {
            Some(accept) if accept.is_given_by(response, hop.answer) => {}
            Some(_) if response.switch() == Some(Switch::WebSocket) => {
                return Err((Failure::BadAccept, Stage::Waiting));
            }
            _ => return Err((Failure::UnaskedUpgrade, Stage::Waiting)),
        }
        passive_health::begun(core, reply.attempt.picked, status, reply.attempt.pool);
        hop.write_head(response, ConnectionSignal::WebSocket, OutFraming::AsReceived);
        record.status = status;
        hop.send_output().await?;
        return Ok(Answered { upgraded: true, ..Answered::default() });
    }

    if client.is_http2 && reply.accept.is_some() && (200..300).contains(&status) {
        // To a client of HTTP/2 this status is an open tunnel, and there is none (RFC 8441 §5).
        return Err((Failure::UpgradeIgnored, Stage::Waiting));
    }
    passive_health::begun(core, reply.attempt.picked, status, reply.attempt.pool);
    let framing = response.framing();
    let mut outgoing = Outgoing::of(framing, reply.version);
    // After a refused upgrade the client may already be speaking the other protocol (RFC 9931).
    let close = !reply.keep_alive
        || reply.accept.is_some()
        || outgoing.ends_with_connection()
        || !(sending.is_whole() || sending.may_outlast() && !sending.is_refused() && response.keep_alive())
        || core.draining.get();
    hop.write_head(response, ConnectionSignal::for_client(reply.version, !close), outgoing.framing());
    record.status = status;

    let head_bytes = response.len();
    let kind = Kind::of_response(response, hop.answer);
    activity.open(kind, reply.attempt.policy, core.runtime.now());
    let leftover = hop.relay(&mut outgoing, head_bytes, record).await?;
    activity.close();
    let reusable = response.keep_alive() && !leftover && !matches!(framing, Framing::UntilClose);
    sending.set_answered(reusable && !close);
    Ok(Answered { reusable, close, upgraded: false })
}

/// The two connections of an exchange and the buffers between them.
struct Hop<'a, R: Runtime> {
    core: &'a Core<R>,
    client: &'a DownstreamConn<R::Stream>,
    upstream: &'a R::Stream,
    answer: &'a mut Vec<u8>,
    output: &'a mut Vec<u8>,
    sending: &'a Sending,
    activity: &'a Activity,
    attempt: &'a Attempt<'a>,
}

/// Why a read from the endpoint gave nothing.
enum Silence {
    /// The endpoint closed in an orderly way.
    Ended,
    /// The connection broke.
    Broken,
    /// The endpoint has done nothing with the request, and says so.
    TookNothing,
    /// The endpoint gave up this request, not the connection.
    GaveUp,
    TimedOut,
    ClientGone,
}

impl<R: Runtime> Hop<'_, R> {
    /// Reads up to the final head, and passes interim ones on to a client that knows them (RFC 9110 §15.2).
    async fn read_final_head(
        &mut self,
        reply: &Reply<'_>,
        response: &mut ResponseHead,
    ) -> Result<(), FailedAt> {
        let waiting = |failure| (failure, Stage::Waiting);
        let begun = self.core.runtime.now();
        let mut interim = 0;
        response.reset();
        loop {
            // An interim head and the final one may come in one segment: parse first, read second.
            let parse = match self.answer.is_empty() {
                true => Parse::Partial,
                false => response
                    .parse(self.answer, reply.method, &self.core.settings.heads)
                    .map_err(|error| waiting(Failure::BadResponse(error)))?,
            };
            match parse {
                Parse::Complete if response.is_interim() => {
                    interim += 1;
                    if interim > limits::INTERIM_RESPONSES_MAX {
                        return Err(waiting(Failure::InterimFlood));
                    }
                    if reply.version == Version::Http11 {
                        self.write_head(response, ConnectionSignal::Implicit, OutFraming::AsReceived);
                        self.send_output().await?;
                    }
                    self.answer.drain(..response.len());
                    response.reset();
                }
                Parse::Complete => return Ok(()),
                Parse::Partial => {
                    let began = !self.answer.is_empty();
                    match self.read_head_bytes(begun).await {
                        Ok(()) => {}
                        Err(Silence::ClientGone) => return Err(waiting(Failure::ClientClosed)),
                        Err(Silence::TimedOut) => return Err(waiting(Failure::ResponseTimedOut)),
                        Err(Silence::GaveUp) => return Err(waiting(Failure::ResponseHeadCut)),
                        Err(_) if began || interim > 0 => return Err(waiting(Failure::ResponseHeadCut)),
                        Err(Silence::TookNothing) => return Err((Failure::UpstreamRefused, Stage::Refused)),
                        Err(Silence::Ended | Silence::Broken) => {
                            return Err(waiting(Failure::UpstreamClosed));
                        }
                    }
                }
            }
        }
    }

    /// Waits for bytes of a head: as long as the request is still being sent, and then until the timeout, which begins with the
    /// last byte of the request, or with the wait where that is later. Neither a byte nor an interim response begins it again.
    async fn read_head_bytes(&mut self, begun: Tick) -> Result<(), Silence> {
        let timeout = self.activity.head_timeout();
        loop {
            let give_up = match self.sending.finished_at() {
                Some(finished) => finished.max(begun).after(timeout),
                // Looked at again by then.
                None => self.core.runtime.now().after(timeout),
            };
            match self.read(give_up).await {
                Err(Silence::TimedOut)
                    if self.sending.finished_at().is_none_or(|at| at.after(timeout) > give_up) => {}
                result => return result,
            }
        }
    }

    /// Most answers fit into a head's buffer, and a long one is better spliced than copied; the others get a body's here.
    fn make_room(&mut self) {
        if self.answer.capacity() < limits::RELAY_BUFFER_BYTES {
            self.answer.reserve_exact(limits::RELAY_BUFFER_BYTES - self.answer.len());
        }
    }

    /// Appends to `answer` what the endpoint sends. While it is silent for longer, the client is watched.
    async fn read(&mut self, give_up: Tick) -> Result<(), Silence> {
        if self.answer.len() == self.answer.capacity() {
            self.make_room();
        }
        let soon = self.core.runtime.now().after(limits::CLIENT_WATCH_DELAY);
        let (mut read, back) = self.upstream.read(std::mem::take(self.answer), give_up.min(soon)).await;
        *self.answer = back;
        if soon < give_up && matches!(&read, Err(error) if error.kind() == ErrorKind::TimedOut) {
            // Boxed: most answers come before, and their exchanges need not be larger for it.
            read = Box::pin(self.read_beside_client(give_up)).await?;
        }
        match read {
            Ok(0) => Err(Silence::Ended),
            Ok(_) => Ok(()),
            // Whoever saw the client go has cancelled the reading.
            Err(error)
                if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::TimedOut)
                    && !self.sending.is_followed()
                    && self.client.stream.peek_state() == PeerState::Closed =>
            {
                Err(Silence::ClientGone)
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => Err(Silence::TimedOut),
            Err(error) => {
                self.attempt.cause.set(Cause::of_read(&error));
                Err(match error.kind() {
                    h2::TOOK_NOTHING => Silence::TookNothing,
                    h2::GAVE_UP => Silence::GaveUp,
                    _ => Silence::Broken,
                })
            }
        }
    }

    /// Reads from the endpoint until the client leaves. That is seen as soon as all of the request is out, for until then
    /// whoever sends it reads from the client.
    async fn read_beside_client(&mut self, give_up: Tick) -> Result<std::io::Result<usize>, Silence> {
        let Self { core, client, upstream, sending, activity, .. } = *self;
        if client.is_http2 {
            // Its stream says so by itself.
            let (read, back) = upstream.read(std::mem::take(self.answer), give_up).await;
            *self.answer = back;
            return Ok(read);
        }
        let (is_over, is_watching, is_gone) = (Cell::new(false), Cell::new(false), Cell::new(false));
        let watch = async {
            // Sent by the same task: when it is, this is polled.
            poll_fn(|_| match is_over.get() || sending.is_whole() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            })
            .await;
            while !is_over.get() {
                if has_gone(client, sending, activity) {
                    is_gone.set(true);
                    return upstream.cancel_reads();
                }
                if sending.is_followed() || client.stream.peek_state() != PeerState::Idle {
                    // What is unread would end each wait for more at once.
                    let mut pause = pin!(core.runtime.sleep(limits::CLIENT_WATCH_DELAY));
                    poll_fn(|cx| if is_over.get() { Poll::Ready(()) } else { pause.as_mut().poll(cx) }).await;
                    continue;
                }
                is_watching.set(true);
                if let Err(error) = client.stream.readable(give_up).await
                    && matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted)
                {
                    return;
                }
            }
        };
        let stop = || {
            is_over.set(true);
            // Else another reads, who is not to be disturbed.
            if is_watching.get() {
                client.stream.cancel_reads();
            }
        };
        let reading = upstream.read(std::mem::take(self.answer), give_up);
        let ((read, back), ()) = join_until(pin!(reading), pin!(watch), stop).await;
        if is_watching.get() {
            client.stream.resume_reads();
        }
        *self.answer = back;
        if is_gone.get() && !matches!(read, Ok(count) if count > 0) {
            return Err(Silence::ClientGone);
        }
        Ok(read)
    }

    /// Sends the head in `output` and then the body. True when the endpoint sent more than its body.
    async fn relay(
        &mut self,
        outgoing: &mut Outgoing,
        head_bytes: usize,
        record: &mut Record<'_>,
    ) -> Result<bool, FailedAt> {
        let answered = |failure| (failure, Stage::Answered);
        let mut start = head_bytes;
        loop {
            if let Outgoing::Length(left) = outgoing
                && *left < limits::SPLICE_BYTES_MIN
                && *left > (self.answer.len() - start) as u64
            {
                // More of it has likely come since, and one send is cheaper than two.
                self.make_room();
                self.upstream.read_more(self.answer);
            }
            let taken = outgoing
                .take(&mut self.answer[start..])
                .map_err(|error| answered(Failure::ResponseBodyMalformed(error)))?;
            let mut part = start..start + taken.kept;
            let spliced_left = self.spliced_left(outgoing);
            if spliced_left.is_some() {
                part = self.send_held(part);
            }
            if matches!(outgoing, Outgoing::IntoChunks) {
                self.send_chunk(part).await?;
            } else {
                self.send_part(part).await?;
            }
            record.bytes_out += taken.kept as u64;
            if taken.done {
                return Ok(start + taken.consumed < self.answer.len());
            }
            if let Some(left) = spliced_left {
                return self.splice(left, record).await.map(|()| false);
            }
            // What the framing cannot judge yet stays at the front.
            self.answer.drain(..start + taken.consumed);
            start = 0;
            self.make_room();
            match self.read_body().await {
                Ok(()) => {}
                Err(Silence::Ended) => return self.end(outgoing).await.map(|()| false),
                Err(Silence::Broken | Silence::TookNothing | Silence::GaveUp) => {
                    return Err(answered(Failure::ResponseCut));
                }
                Err(Silence::TimedOut) => return Err(answered(self.stalled())),
                Err(Silence::ClientGone) => return Err(answered(Failure::ClientClosed)),
            }
        }
    }

    /// Appends to `answer` what comes of the body, unless both directions are silent for too long.
    async fn read_body(&mut self) -> Result<(), Silence> {
        self.activity.note(self.core.runtime.now());
        loop {
            match self.read(self.activity.look_again(self.core.runtime.now())).await {
                Err(Silence::TimedOut) if !self.activity.is_idle(self.core.runtime.now()) => {}
                read => {
                    self.activity.note(self.core.runtime.now());
                    return read;
                }
            }
        }
    }

    /// The endpoint ended its connection: the end of a body that had no other, and a cut in all others.
    async fn end(&mut self, outgoing: &Outgoing) -> Result<(), FailedAt> {
        match outgoing {
            Outgoing::UntilClose => Ok(()),
            Outgoing::IntoChunks => {
                self.output.clear();
                self.output.extend_from_slice(h1::LAST_CHUNK);
                self.send_output().await
            }
            Outgoing::Nothing | Outgoing::Length(_) | Outgoing::Chunks(_) | Outgoing::Unchunked(_) => {
                Err((Failure::ResponseCut, Stage::Answered))
            }
        }
    }

    /// Neither direction moves: whose fault it is. An endpoint may be waiting for the rest of the request.
    fn stalled(&self) -> Failure {
        match self.sending.finished_at() {
            Some(_) => Failure::ResponseStalled,
            None => Failure::RequestBodyTimedOut,
        }
    }

    /// Moves the rest of a long body without looking at it.
    async fn splice(&mut self, bytes: u64, record: &mut Record<'_>) -> Result<(), FailedAt> {
        let (world, stall) = (&self.core.runtime, self.attempt.policy.body_progress_timeout);
        let mut left = bytes;
        loop {
            let progress = self.activity.progress();
            let Err(splice) =
                world.splice(self.upstream, &self.client.stream, left, stall, None, progress).await
            else {
                record.bytes_out += left;
                return Ok(());
            };
            record.bytes_out += splice.moved;
            left -= splice.moved;
            if splice.kept_waiting {
                self.sending.keep_waiting();
            }
            let failure = match splice.error {
                SpliceError::Sender => Failure::ResponseCut,
                SpliceError::SenderStalled if !self.activity.is_idle(world.now()) => continue,
                SpliceError::SenderStalled => self.stalled(),
                SpliceError::Receiver => Failure::ClientClosed,
                SpliceError::ReceiverStalled => Failure::ClientStalled,
            };
            return Err((failure, Stage::Answered));
        }
    }

    /// How much of the body is left, when that is moved without looking at it.
    fn spliced_left(&self, outgoing: &Outgoing) -> Option<u64> {
        match outgoing {
            Outgoing::Length(left)
                if *left >= limits::SPLICE_BYTES_MIN
                    && self.core.runtime.can_splice(self.upstream, &self.client.stream) =>
            {
                Some(*left)
            }
            _ => None,
        }
    }

    /// What [`send_part`](Self::send_part) does, as far as the kernel takes it at once to send it with what is spliced next; returns
    /// what is left of `part`.
    fn send_held(&mut self, part: Range<usize>) -> Range<usize> {
        let mut part = self.put_before(part);
        self.hold_output();
        if self.output.is_empty() {
            part.start += self.client.stream.write_held(&self.answer[part.clone()]);
        }
        part
    }

    /// Sends `output`, as far as the kernel takes it at once to send it with what is written next.
    fn hold_output(&mut self) {
        if !self.output.is_empty() {
            let held = self.client.stream.write_held(self.output);
            self.output.drain(..held);
        }
    }

    /// Puts `output` before the part of `answer` that follows it, if there is room: the head that it came with was as long
    /// at least.
    fn put_before(&mut self, mut part: Range<usize>) -> Range<usize> {
        if !part.is_empty() && self.output.len() <= part.start {
            part.start -= self.output.len();
            self.answer[part.start..][..self.output.len()].copy_from_slice(self.output);
            self.output.clear();
        }
        part
    }

    /// Sends `output`, then the given part of `answer` as a chunk of its own, in one piece.
    async fn send_chunk(&mut self, part: Range<usize>) -> Result<(), FailedAt> {
        if !part.is_empty() {
            self.output.extend_from_slice(&h1::chunk_head(part.len()));
            // To the byte: growing by halves would make it twice as large as what is sent.
            self.output.reserve_exact(part.len() + h1::CHUNK_END.len());
            self.output.extend_from_slice(&self.answer[part]);
            self.output.extend_from_slice(h1::CHUNK_END);
        }
        if self.output.is_empty() { Ok(()) } else { self.send_output().await }
    }

    /// Sends `output`, then the given part of `answer`; in one piece when that is cheap.
    async fn send_part(&mut self, part: Range<usize>) -> Result<(), FailedAt> {
        let mut part = self.put_before(part);
        if !self.output.is_empty() {
            if part.len() <= JOINED_BYTES_MAX {
                // To the byte, as above.
                self.output.reserve_exact(part.len());
                self.output.extend_from_slice(&self.answer[part.clone()]);
                part.start = part.end;
            } else {
                self.hold_output();
            }
        }
        if !self.output.is_empty() {
            self.send_output().await?;
        }
        if !part.is_empty() {
            let pace = WriteRate::stall(self.activity.client_stall());
            let begun = self.core.runtime.now();
            let (sent, back) =
                self.client.stream.write_all_range(std::mem::take(self.answer), part, pace).await;
            *self.answer = back;
            self.note_wait(begun);
            sent.map_err(|error| client_failed(&error))?;
        }
        Ok(())
    }

    /// Puts a response head into `output`, as the client is to see it.
    fn write_head(&mut self, response: &ResponseHead, connection: ConnectionSignal, framing: OutFraming) {
        self.output.clear();
        let core = self.core;
        let date = match response.status() < 200 || response.has(FieldKind::Date) {
            true => None,
            false => Some(core.date_line.at(core.runtime.timestamp())),
        };
        let date = date.as_deref().unwrap_or_default();
        let stages = self.attempt.stages.filter(|_| !response.is_interim());
        let Some(stages) = stages else {
            let rewrite = ResponseRewrite { connection, framing, append: date, ..ResponseRewrite::default() };
            return h1::write_response(self.output, self.answer, response, &rewrite);
        };
        let mut edits = Edits::default();
        stages.on_response(&ResponseView::new(response, self.answer), &mut edits);
        let remove: Vec<&str> = edits.removed().iter().map(|name| &**name).collect();
        // A filter that sets a date, or wants none, has its way.
        let keeps_date = !remove.iter().any(|name| name.eq_ignore_ascii_case("date"));
        let rewrite = ResponseRewrite {
            connection,
            framing,
            remove: &remove,
            append: &[if keeps_date { date } else { b"" }, edits.lines()].concat(),
            ..ResponseRewrite::default()
        };
        h1::write_response(self.output, self.answer, response, &rewrite);
    }

    async fn send_output(&mut self) -> Result<(), FailedAt> {
        let pace = WriteRate::stall(self.activity.client_stall());
        let begun = self.core.runtime.now();
        let (sent, back) = self.client.stream.write_all(std::mem::take(self.output), pace).await;
        *self.output = back;
        self.output.clear();
        self.note_wait(begun);
        sent.map_err(|error| client_failed(&error))
    }

    /// Notes that the client was slow to take what it was sent since `begun`.
    fn note_wait(&self, begun: Tick) {
        if self.core.runtime.now().since(begun) >= limits::CLIENT_WAIT_NOTED {
            self.sending.keep_waiting();
        }
    }
}

/// Whether a client of HTTP/1 that waits for the endpoint has left. One that has ended its side counts as gone: while it waits for
/// the response head, unless it has sent more before, which may be its next request; and within a response in any case, for a
/// silent one could be held for ever.
fn has_gone<S: Stream>(client: &DownstreamConn<S>, sending: &Sending, activity: &Activity) -> bool {
    match client.stream.hangup() {
        Hangup::Whole => true,
        Hangup::Sending => {
            activity.is_open() || !sending.is_followed() && client.stream.peek_state() == PeerState::Closed
        }
        // Over TLS, the end may have been said without an end of the connection.
        Hangup::None => !sending.is_followed() && client.stream.peek_state() == PeerState::Closed,
    }
}

fn client_failed(error: &std::io::Error) -> FailedAt {
    let failure = match error.kind() {
        ErrorKind::TimedOut => Failure::ClientStalled,
        _ => Failure::ClientClosed,
    };
    (failure, Stage::Answered)
}

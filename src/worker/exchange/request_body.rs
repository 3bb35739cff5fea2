//! Request body on its way to the endpoint: framing, limits, upload.

use std::ops::Range;
use std::time::Duration;

use crate::limits;
use ringway_middleware::FieldNames;
use ringway_model::Tick;
use ringway_net::{Rate, SenderLimits, Stream, WriteRate};
use ringway_wire::h1::{BodyState, ChunkMode, ChunkedBody, RequestHead};
use ringway_wire::message::Framing;

use crate::connector::{Splice, SpliceError};
use crate::core::ConnBuffers;
use crate::exchange::activity::Activity;
use crate::exchange::failure::Failure;
use crate::runtime::Runtime;
use crate::session::downstream_conn::DownstreamConn;

/// A request's body: the part that came with the head, and the rest to come.
pub(crate) struct RequestBody {
    rest: Rest,
    /// Bytes of `client_in`, framing included, that can be sent at once. They stay there until the exchange
    /// is over, so that they can be sent again.
    pub(crate) first: Range<usize>,
    /// Start of the next request in `client_in`, if the body is complete.
    pub(crate) consumed: usize,
    /// Bytes received so far, framing included.
    pub(crate) received: u64,
    /// Bytes of `client_in` behind `consumed` that the framing cannot judge yet.
    held: Range<usize>,
    /// Bytes that the upload read beyond the body: the next request.
    pub(crate) rest_read: Option<Vec<u8>>,
    bytes_max: Option<u64>,
    /// Names of trailers that do not pass.
    refused_trailers: FieldNames,
    /// Trailer lines behind `first`, of a body that is read as data.
    pub(super) trailers: Range<usize>,
    /// The body is read as data ([`RequestSource`](crate::exchange::request_source)), not passed through.
    pub(crate) as_data: bool,
}

/// Use of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyUse {
    /// It passes through in its own framing.
    PassThrough,
    /// Stages see its data.
    Data,
}

enum Rest {
    Nothing,
    Length(u64),
    Chunked(ChunkedBody),
}

/// Parts of the bytes that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Bytes of the body, from the front.
    pub(super) kept: usize,
    /// Bytes of trailer lines behind them, of a body that is read as data.
    pub(super) trailers: usize,
    /// Bytes that belong to the body.
    pub(super) consumed: usize,
}

/// Reason for the early end of an upload.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PumpError {
    /// The client failed.
    Client(Failure),
    /// The endpoint takes no more; it may have sent a response.
    Upstream,
}

impl RequestBody {
    /// Judges what came with the head, which ends at `head_bytes` of `client_in`. Chunk framing is normalised
    /// in place.
    pub(crate) fn begin(
        framing: Framing,
        head_bytes: usize,
        client_in: &mut [u8],
        bytes_max: Option<u64>,
        body_use: BodyUse,
        refused_trailers: FieldNames,
    ) -> Result<Self, Failure> {
        let available = client_in.len() - head_bytes;
        let as_data = body_use == BodyUse::Data
            && !matches!(framing, Framing::Empty | Framing::UntilClose | Framing::Length(0));
        let mut trailers = 0;
        let (rest, kept, consumed) = match framing {
            Framing::Empty | Framing::UntilClose => (Rest::Nothing, 0, 0),
            Framing::Length(length) => {
                if bytes_max.is_some_and(|max| length > max) {
                    return Err(Failure::BodyTooLarge);
                }
                let taken = length.min(available as u64);
                let left = length - taken;
                let taken = taken as usize;
                (if left == 0 { Rest::Nothing } else { Rest::Length(left) }, taken, taken)
            }
            Framing::Chunked => {
                let mode = if as_data { ChunkMode::Separate } else { ChunkMode::Forward };
                let mut chunked = ChunkedBody::new(mode);
                let fed = chunked
                    .feed_refusing(&mut client_in[head_bytes..], &|name| refused_trailers.contain(name))
                    .map_err(Failure::RequestBodyMalformed)?;
                if exceeds(&chunked, bytes_max) {
                    return Err(Failure::BodyTooLarge);
                }
                let rest = match fed.state {
                    BodyState::Done => Rest::Nothing,
                    BodyState::More => Rest::Chunked(chunked),
                };
                trailers = fed.trailers;
                (rest, fed.kept - fed.trailers, fed.consumed)
            }
        };
        let first = head_bytes..head_bytes + kept;
        let consumed_to = head_bytes + consumed;
        let held = if matches!(rest, Rest::Nothing) { 0..0 } else { consumed_to..client_in.len() };
        Ok(Self {
            rest,
            trailers: first.end..first.end + trailers,
            first,
            as_data,
            consumed: consumed_to,
            received: consumed as u64,
            held,
            rest_read: None,
            bytes_max,
            refused_trailers,
        })
    }

    /// Whether all of it is in the first part.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }

    /// Bytes still to come, where the framing says so.
    pub(crate) fn bytes_left(&self) -> Option<u64> {
        match self.rest {
            Rest::Nothing => Some(0),
            Rest::Length(left) => Some(left),
            Rest::Chunked(_) => None,
        }
    }

    /// Buffer for an upload, with the bytes of `client_in` that were not sent with the head: those that the
    /// framing could not judge yet, and before them the first part of a body that is read as data.
    pub(crate) fn upload_buffer(&self, client_in: &[u8]) -> Vec<u8> {
        let first = if self.as_data { self.first.start..self.trailers.end } else { 0..0 };
        let bytes = first.len() + self.held.len();
        let mut buf = Vec::with_capacity(ringway_model::limits::BODY_BUFFER_BYTES.max(bytes));
        buf.extend_from_slice(&client_in[first]);
        buf.extend_from_slice(&client_in[self.held.clone()]);
        buf
    }

    /// Sends the rest of the body, while the exchange is not idle. Until the response head has come a client
    /// must also keep the least rate. An endpoint that takes nothing for `stall` is given up.
    pub(crate) async fn pump<R: Runtime>(
        &mut self,
        runtime: &R,
        client: &R::Stream,
        upstream: &R::Stream,
        mut buf: Vec<u8>,
        (activity, stall): (&Activity, Duration),
    ) -> Result<(), PumpError> {
        let result = self.pump_through(runtime, client, upstream, &mut buf, (activity, stall)).await;
        self.rest_read = Some(buf);
        result
    }

    async fn pump_through<R: Runtime>(
        &mut self,
        runtime: &R,
        client: &R::Stream,
        upstream: &R::Stream,
        buf: &mut Vec<u8>,
        (activity, stall): (&Activity, Duration),
    ) -> Result<(), PumpError> {
        let mut window = RateWindow::new(runtime.now());
        while !self.is_complete() {
            if let Rest::Length(left) = self.rest
                && left >= limits::SPLICE_BYTES_MIN
                && runtime.can_splice(client, upstream)
                // A splice ends with its bytes, however long they take.
                && !activity.deadlines.has_end()
            {
                let sender =
                    SenderLimits { stall: activity.idle_max().min(stall), rate: activity.least_rate() };
                let progress = activity.progress();
                let result = runtime.splice(client, upstream, left, stall, sender, progress).await;
                let moved = result.err().map_or(left, |splice| splice.moved);
                self.received += moved;
                match result {
                    Ok(()) => self.rest = Rest::Nothing,
                    Err(splice) if may_go_on(splice, activity, runtime.now()) => {
                        self.rest = Rest::Length(left - moved);
                    }
                    Err(splice) => return Err(spliced(splice)),
                }
                continue;
            }
            window.read(runtime, client, buf, activity).await.map_err(PumpError::Client)?;
            let Taken { kept, consumed, .. } = self.take(buf).map_err(PumpError::Client)?;
            if kept > 0 {
                let rate =
                    WriteRate::stall(stall.max(activity.idle_max())).and_until(activity.deadlines.end());
                let (written, back) = upstream.write_all_range(std::mem::take(buf), 0..kept, rate).await;
                *buf = back;
                activity.note(runtime.now());
                if written.is_err() {
                    return Err(PumpError::Upstream);
                }
            }
            buf.drain(..consumed);
        }
        Ok(())
    }

    /// Judges the framing of `buf`, in place.
    pub(super) fn take(&mut self, buf: &mut [u8]) -> Result<Taken, Failure> {
        let mut trailers = 0;
        let (kept, consumed, done) = match &mut self.rest {
            Rest::Nothing => (0, 0, true),
            Rest::Length(left) => {
                let taken = (*left).min(buf.len() as u64);
                *left -= taken;
                (taken as usize, taken as usize, *left == 0)
            }
            Rest::Chunked(chunked) => {
                let fed = chunked
                    .feed_refusing(buf, &|name| self.refused_trailers.contain(name))
                    .map_err(Failure::RequestBodyMalformed)?;
                if exceeds(chunked, self.bytes_max) {
                    return Err(Failure::BodyTooLarge);
                }
                trailers = fed.trailers;
                (fed.kept - fed.trailers, fed.consumed, fed.state == BodyState::Done)
            }
        };
        self.received += consumed as u64;
        if done {
            self.rest = Rest::Nothing;
        }
        Ok(Taken { kept, trailers, consumed })
    }
}

/// Whether bytes stand behind a request that is complete: the client is not gone then, although it may have
/// ended its side.
pub(crate) fn is_followed(request: &RequestHead, client_in: &[u8], body: Option<&RequestBody>) -> bool {
    match body {
        Some(body) if body.is_complete() => {
            body.rest_read.as_ref().map_or(body.consumed < client_in.len(), |rest| !rest.is_empty())
        }
        Some(_) => false,
        None => {
            let end = declared_bytes(request).and_then(|bytes| bytes.checked_add(request.len()));
            request.is_complete() && end.is_some_and(|end| end < client_in.len())
        }
    }
}

/// Whether a request stands in `client_in` with all of its body.
pub(crate) fn is_all_there(request: &RequestHead, client_in: &[u8]) -> bool {
    request.is_complete()
        && declared_bytes(request).is_some_and(|bytes| bytes <= client_in.len().saturating_sub(request.len()))
}

/// Length of a body with a declared one, if memory could hold it.
pub(crate) fn declared_bytes(request: &RequestHead) -> Option<usize> {
    match request.framing() {
        Framing::Empty => Some(0),
        Framing::Length(length) => usize::try_from(length).ok(),
        Framing::Chunked | Framing::UntilClose => None,
    }
}

/// Reads what has come meanwhile of a body that fits into a buffer, so that it need not be uploaded in
/// pieces.
pub(crate) fn read_more<S: Stream>(client: &DownstreamConn<S>, buffers: &mut ConnBuffers) {
    let ConnBuffers { request, client_in, .. } = buffers;
    let Some(end) = declared_bytes(request).and_then(|bytes| bytes.checked_add(request.len())) else {
        return;
    };
    if end <= client_in.len()
        || end > limits::RELAY_BUFFER_BYTES
        || client_in.len() < ringway_model::limits::HEAD_BUFFER_BYTES / 2
    {
        return;
    }
    if client_in.capacity() < end {
        client_in.reserve_exact(limits::RELAY_BUFFER_BYTES - client_in.len());
    }
    client.stream.read_more(client_in);
}

/// Takes a request that is over out of `client_in`; the rest is the next one.
pub(crate) fn take_out(buffers: &mut ConnBuffers, body: Option<RequestBody>) {
    let ConnBuffers { client_in, request, .. } = buffers;
    let end = match body {
        // The upload read on in a buffer of its own.
        Some(RequestBody { rest_read: Some(rest), .. }) => return *client_in = rest,
        Some(body) => body.consumed,
        None => request.len() + declared_bytes(request).unwrap_or(0),
    };
    if end >= client_in.len() {
        client_in.clear();
    } else {
        client_in.drain(..end);
    }
}

/// Whether the client has gone, as far as that is known without waiting. One system call.
pub(crate) async fn has_left<S: Stream>(
    client: &DownstreamConn<S>,
    buffers: &ConnBuffers,
    body: Option<&RequestBody>,
) -> bool {
    client.has_left().await && !is_followed(&buffers.request, &buffers.client_in, body)
}

/// Whether the body is over the limit, which counts data; a chunk counts as soon as its size is known.
fn exceeds(chunked: &ChunkedBody, bytes_max: Option<u64>) -> bool {
    bytes_max.is_some_and(|max| chunked.data_bytes().saturating_add(chunked.data_left()) > max)
}

fn spliced(splice: Splice) -> PumpError {
    match splice.error {
        SpliceError::Sender => PumpError::Client(Failure::ClientClosed),
        SpliceError::SenderStalled => PumpError::Client(Failure::RequestBodyTimedOut),
        SpliceError::Receiver | SpliceError::ReceiverStalled => PumpError::Upstream,
    }
}

/// Whether a splice that ended for its client's silence or slowness was judged by a limit that no longer
/// holds: the response head has come, or the response moves.
fn may_go_on(splice: Splice, activity: &Activity, now: Tick) -> bool {
    splice.error == SpliceError::SenderStalled && activity.least_rate().is_none() && !activity.is_idle(now)
}

/// Window of time in which a client must keep the least rate.
pub(super) struct RateWindow {
    since: Tick,
    bytes: u64,
}

impl RateWindow {
    pub(super) fn new(now: Tick) -> Self {
        Self { since: now, bytes: 0 }
    }

    /// Reads from the client into `buf`, while the exchange is not idle and the client keeps the rate.
    pub(super) async fn read<R: Runtime>(
        &mut self,
        runtime: &R,
        client: &R::Stream,
        buf: &mut Vec<u8>,
        activity: &Activity,
    ) -> Result<(), Failure> {
        let count = loop {
            let (read, back) = client.read(std::mem::take(buf), activity.look_again(runtime.now())).await;
            *buf = back;
            match read {
                Ok(0) => return Err(Failure::ClientClosed),
                Ok(count) => break count,
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                    if activity.deadlines.has_ended(runtime.now()) {
                        return Err(Failure::TotalTimedOut);
                    }
                    if activity.is_idle(runtime.now()) {
                        return Err(Failure::RequestBodyTimedOut);
                    }
                }
                Err(_) => return Err(Failure::ClientClosed),
            }
        };
        let now = runtime.now();
        activity.note(now);
        if activity.deadlines.has_ended(now) {
            return Err(Failure::TotalTimedOut);
        }
        match activity.least_rate() {
            Some(rate) if !self.is_fast_enough(count, rate, now) => Err(Failure::RequestBodyTimedOut),
            _ => Ok(()),
        }
    }

    fn is_fast_enough(&mut self, count: usize, rate: Rate, now: Tick) -> bool {
        self.bytes += count as u64;
        let elapsed = now.since(self.since);
        if elapsed < rate.window {
            return true;
        }
        let enough = self.bytes >= rate.bytes_per_second.saturating_mul(elapsed.as_secs());
        *self = Self::new(now);
        enough
    }
}

//! The body of a request on its way to the endpoint.

use std::ops::Range;
use std::time::Duration;

use crate::limits;
use ringway_model::Tick;
use ringway_net::{Rate, Stream, WriteRate};
use ringway_wire::h1::{BodyState, ChunkMode, ChunkedBody};
use ringway_wire::message::Framing;

use crate::connector::{Splice, SpliceError};
use crate::exchange::activity::Activity;
use crate::exchange::failure::Failure;
use crate::runtime::Runtime;

/// A request's body: the part that came with the head, and what is still to come.
pub(crate) struct RequestBody {
    rest: Rest,
    /// The bytes of `input`, framing included, that can be sent at once. They stay there until the exchange is over, so that they can
    /// be sent again.
    pub(crate) first: Range<usize>,
    /// Where in `input` the next request begins, if the body is complete.
    pub(crate) consumed: usize,
    /// Bytes received so far, framing included.
    pub(crate) received: u64,
    /// Bytes of `input` behind `consumed` that the framing cannot judge yet.
    held: Range<usize>,
    /// What the pump read beyond the body: the next request.
    pub(crate) rest_read: Option<Vec<u8>>,
    bytes_max: Option<u64>,
}

enum Rest {
    Nothing,
    Length(u64),
    Chunked(ChunkedBody),
}

/// How the sending of a body ended early.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PumpError {
    /// The client failed: there is nothing more to wait for.
    Client(Failure),
    /// The endpoint takes no more; it may have answered already.
    Upstream,
}

impl RequestBody {
    /// Looks at what came with the head, which ends at `head_bytes` of `input`. Chunk framing is put in its normal form in place.
    pub(crate) fn begin(
        framing: Framing,
        head_bytes: usize,
        input: &mut [u8],
        bytes_max: Option<u64>,
    ) -> Result<Self, Failure> {
        let available = input.len() - head_bytes;
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
                let mut chunked = ChunkedBody::new(ChunkMode::Forward);
                let fed = chunked.feed(&mut input[head_bytes..]).map_err(Failure::RequestBodyMalformed)?;
                if exceeds(&chunked, bytes_max) {
                    return Err(Failure::BodyTooLarge);
                }
                let rest = match fed.state {
                    BodyState::Done => Rest::Nothing,
                    BodyState::More => Rest::Chunked(chunked),
                };
                (rest, fed.kept, fed.consumed)
            }
        };
        let consumed_to = head_bytes + consumed;
        let held = if matches!(rest, Rest::Nothing) { 0..0 } else { consumed_to..input.len() };
        Ok(Self {
            rest,
            first: head_bytes..head_bytes + kept,
            consumed: consumed_to,
            received: consumed as u64,
            held,
            rest_read: None,
            bytes_max,
        })
    }

    /// All of it is in the first part.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }

    /// How many bytes are still to come, where the framing tells.
    pub(crate) fn left(&self) -> Option<u64> {
        match self.rest {
            Rest::Nothing => Some(0),
            Rest::Length(left) => Some(left),
            Rest::Chunked(_) => None,
        }
    }

    /// Sends what is still to come of the body whose beginning stands in `input`, while the exchange is not idle. Until the response
    /// head has come a client must also keep the least rate. An endpoint that takes nothing for `stall` is given up.
    pub(crate) async fn pump<R: Runtime>(
        &mut self,
        world: &R,
        client: &R::Stream,
        upstream: &R::Stream,
        input: &[u8],
        activity: &Activity,
        stall: Duration,
    ) -> Result<(), PumpError> {
        let mut buf = Vec::with_capacity(ringway_model::limits::BODY_BUFFER_BYTES);
        buf.extend_from_slice(&input[self.held.clone()]);
        let (result, rest) = self.pump_through(world, client, upstream, buf, activity, stall).await;
        self.rest_read = Some(rest);
        result
    }

    async fn pump_through<R: Runtime>(
        &mut self,
        world: &R,
        client: &R::Stream,
        upstream: &R::Stream,
        mut buf: Vec<u8>,
        activity: &Activity,
        stall: Duration,
    ) -> (Result<(), PumpError>, Vec<u8>) {
        let mut window = Window { since: world.now(), bytes: 0 };
        while !self.is_complete() {
            if let Rest::Length(left) = self.rest
                && left >= limits::SPLICE_BYTES_MIN
                && world.can_splice(client, upstream)
            {
                let (rate, progress) = (activity.least_rate(), activity.progress());
                let result = world.splice(client, upstream, left, stall, rate, progress).await;
                let moved = result.err().map_or(left, |splice| splice.moved);
                self.received += moved;
                match result {
                    Ok(()) => self.rest = Rest::Nothing,
                    Err(splice) if may_go_on(splice, activity, world.now()) => {
                        self.rest = Rest::Length(left - moved);
                    }
                    Err(splice) => return (Err(spliced(splice)), buf),
                }
                continue;
            }
            let (read, back) = client.read(buf, activity.look_again(world.now())).await;
            buf = back;
            let count = match read {
                Ok(0) => return (Err(PumpError::Client(Failure::ClientClosed)), buf),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                    if !activity.is_idle(world.now()) {
                        continue;
                    }
                    return (Err(PumpError::Client(Failure::RequestBodyTimedOut)), buf);
                }
                Err(_) => return (Err(PumpError::Client(Failure::ClientClosed)), buf),
            };
            let now = world.now();
            activity.note(now);
            if let Some(rate) = activity.least_rate()
                && !window.is_fast_enough(count, rate, now)
            {
                return (Err(PumpError::Client(Failure::RequestBodyTimedOut)), buf);
            }
            let (kept, consumed) = match self.take(&mut buf) {
                Ok(taken) => taken,
                Err(failure) => return (Err(PumpError::Client(failure)), buf),
            };
            if kept > 0 {
                let pace = WriteRate::stall(stall.max(activity.idle_max()));
                let (written, back) = upstream.write_all_range(buf, 0..kept, pace).await;
                buf = back;
                activity.note(world.now());
                if written.is_err() {
                    return (Err(PumpError::Upstream), buf);
                }
            }
            buf.drain(..consumed);
        }
        (Ok(()), buf)
    }

    /// How much of `buf` may be sent, and how much of it belongs to this body.
    fn take(&mut self, buf: &mut [u8]) -> Result<(usize, usize), Failure> {
        let (kept, consumed, done) = match &mut self.rest {
            Rest::Nothing => (0, 0, true),
            Rest::Length(left) => {
                let taken = (*left).min(buf.len() as u64);
                *left -= taken;
                (taken as usize, taken as usize, *left == 0)
            }
            Rest::Chunked(chunked) => {
                let fed = chunked.feed(buf).map_err(Failure::RequestBodyMalformed)?;
                if exceeds(chunked, self.bytes_max) {
                    return Err(Failure::BodyTooLarge);
                }
                (fed.kept, fed.consumed, fed.state == BodyState::Done)
            }
        };
        self.received += consumed as u64;
        if done {
            self.rest = Rest::Nothing;
        }
        Ok((kept, consumed))
    }
}

/// The limit counts data, and a chunk counts as soon as its size is known.
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

/// Whether a splice that ended for its client's silence or slowness was judged by what no longer holds: the response head has come,
/// or the response moves.
fn may_go_on(splice: Splice, activity: &Activity, now: Tick) -> bool {
    splice.error == SpliceError::SenderStalled && activity.least_rate().is_none() && !activity.is_idle(now)
}

/// A stretch of time in which a client must have sent enough.
struct Window {
    since: Tick,
    bytes: u64,
}

impl Window {
    fn is_fast_enough(&mut self, count: usize, rate: Rate, now: Tick) -> bool {
        self.bytes += count as u64;
        let elapsed = now.since(self.since);
        if elapsed < rate.window {
            return true;
        }
        let enough = self.bytes >= rate.bytes_per_second.saturating_mul(elapsed.as_secs());
        *self = Self { since: now, bytes: 0 };
        enough
    }
}

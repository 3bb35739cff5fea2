//! An attempt apart from its exchange, in a task of its own: copies of requests, and attempts of hedged
//! requests.
//!
//! All bytes of the request are there, and it holds neither the client nor the buffers of the exchange, which
//! may end before it. Interim responses are dropped.

use std::cell::Cell;
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::rc::Rc;

use ringway_model::Tick;
use ringway_net::sync::Notify;
use ringway_net::{Stream, WriteRate, with_side_task};
use ringway_traffic::policy::Policy;
use ringway_traffic::retry::Body;
use ringway_traffic::snapshot::{Endpoint, Pool};
use ringway_wire::h1::{BodyState, ChunkMode, ChunkedBody, Parse, ResponseHead};
use ringway_wire::message::{Framing, Method};

use super::attempt::{Failed, FailedAt, Fault, Stage};
use super::connect::{Connect, Origin};
use super::{Reuse, Transfer, UpstreamConn};
use crate::core::Core;
use crate::exchange::cause::Cause;
use crate::exchange::failure::Failure;
use crate::h2::StreamEnd;
use crate::limits;
use crate::runtime::Runtime;

/// One attempt to get a response for `request`.
pub(crate) struct Detached<'x, R: Runtime> {
    pub(crate) core: &'x Core<R>,
    pub(crate) pool: &'x Pool,
    pub(crate) endpoint: &'x Endpoint,
    pub(crate) policy: &'x Policy,
    /// Its deadlines, and the cause of its failure.
    pub(crate) transfer: &'x Transfer,
    pub(crate) reuse: Reuse,
    /// Head and body as they are sent.
    pub(crate) request: Vec<u8>,
    pub(crate) method: Method,
    pub(crate) stop: &'x Stop,
}

/// A response whose head has come. Dropped, it closes its connection.
pub(crate) struct DetachedResponse<S> {
    pub(crate) conn: Rc<UpstreamConn<S>>,
    pub(crate) head: ResponseHead,
    /// The head, and what has come of the body.
    pub(crate) bytes: Vec<u8>,
}

/// Order to end an attempt whose result is not needed. A connection is established all the same.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    is_given: Cell<bool>,
    notify: Notify,
}

impl Stop {
    /// Gives the order.
    pub(crate) fn give(&self) {
        self.is_given.set(true);
        self.notify.notify();
    }

    /// Waits for the order. May be dropped at any time.
    async fn given(&self) {
        while !self.is_given.get() {
            self.notify.notified().await;
        }
    }
}

impl<R: Runtime> Detached<'_, R> {
    /// Sends the request and waits for the head of its response.
    pub(crate) async fn run(mut self) -> Result<DetachedResponse<R::Stream>, Failed> {
        let Self { core, transfer, .. } = self;
        let deadlines = &transfer.activity.deadlines;
        let fail = |(failure, stage), origin, is_excused| Failed {
            fault: Fault { failure, is_excused },
            stage,
            origin,
            body: Body::Whole,
            may_try_again: deadlines.is_of_attempt(),
        };
        let connect = Connect {
            core,
            pool: self.pool,
            endpoint: self.endpoint,
            policy: self.policy,
            transfer,
            reuse: self.reuse,
            upgrade: false,
        };
        let connected = connect.run().await;
        let (conn, origin) =
            connected.map_err(|failure| fail((failure, Stage::Connect), Origin::New, false))?;
        if self.stop.is_given.get() {
            return Err(fail((Failure::ClientClosed, Stage::Waiting), origin, false));
        }
        let stop = self.stop;
        let received = {
            let io = pin!(self.send_and_receive(&conn.stream));
            until_stopped(core, transfer, stop, &conn.stream, io).await
        };
        match received {
            Ok((bytes, head)) => Ok(DetachedResponse { conn, head, bytes }),
            Err(failed_at) => Err(fail(failed_at, origin, core.runtime.is_excused(&conn.stream))),
        }
    }

    async fn send_and_receive(&mut self, upstream: &R::Stream) -> Result<(Vec<u8>, ResponseHead), FailedAt> {
        let Self { core, policy, transfer, .. } = *self;
        let deadlines = &transfer.activity.deadlines;
        let rate = WriteRate::stall(policy.body_progress_timeout).and_until(deadlines.head());
        let (sent, mut bytes) = upstream.write_all(std::mem::take(&mut self.request), rate).await;
        match sent {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::TimedOut || deadlines.has_expired() => {
                return Err((Failure::ResponseTimedOut, Stage::Waiting));
            }
            // A part of it is out: the endpoint may have acted on it, and have responded.
            Err(error)
                if error.kind() == ErrorKind::WriteZero
                    || StreamEnd::of(&error) == Some(StreamEnd::Reset) => {}
            Err(_) => return Err((Failure::UpstreamClosed, Stage::Unsent)),
        }
        bytes.clear();
        let give_up = core.runtime.now().after(policy.head_timeout()).min(deadlines.head());
        let mut head = ResponseHead::default();
        let mut interim = 0;
        loop {
            let parse = match bytes.is_empty() {
                true => Parse::Partial,
                false => head
                    .parse(&bytes, self.method, &core.settings.heads)
                    .map_err(|error| (Failure::BadResponse(error), Stage::Waiting))?,
            };
            match parse {
                Parse::Complete if head.is_interim() => {
                    interim += 1;
                    if interim > limits::INTERIM_RESPONSES_MAX {
                        return Err((Failure::InterimFlood, Stage::Waiting));
                    }
                    bytes.drain(..head.len());
                    head.reset();
                }
                Parse::Complete if head.status() == 101 => {
                    return Err((Failure::UnaskedUpgrade, Stage::Waiting));
                }
                Parse::Complete => return Ok((bytes, head)),
                Parse::Partial => {
                    let has_begun = !bytes.is_empty() || interim > 0;
                    make_room(&mut bytes);
                    let (read, back) = upstream.read(bytes, give_up).await;
                    bytes = back;
                    match read {
                        Ok(0) => return Err((ended(has_begun), Stage::Waiting)),
                        Ok(_) => {}
                        Err(error) => return Err(self.broken(&error, has_begun)),
                    }
                }
            }
        }
    }

    fn broken(&self, error: &std::io::Error, has_begun: bool) -> FailedAt {
        let Transfer { activity, cause, .. } = self.transfer;
        let deadlines = &activity.deadlines;
        if error.kind() == ErrorKind::TimedOut || deadlines.has_expired() {
            return match deadlines.has_ended(self.core.runtime.now()) {
                true => (Failure::TotalTimedOut, Stage::Waiting),
                false => (Failure::ResponseTimedOut, Stage::Waiting),
            };
        }
        cause.set(Cause::of_read(error));
        match StreamEnd::of(error) {
            Some(StreamEnd::Refused) if !has_begun => (Failure::UpstreamRefused, Stage::Refused),
            Some(StreamEnd::Reset) => (Failure::ResponseHeadCut, Stage::Waiting),
            _ => (ended(has_begun), Stage::Waiting),
        }
    }
}

impl<S: Stream> DetachedResponse<S> {
    /// Reads the rest of the response and drops it; its connection is kept for other requests where that
    /// takes no longer than until `deadline` and no more than `bytes_max`, and closed otherwise.
    pub(crate) async fn discard<R: Runtime<Stream = S>>(
        self,
        core: &Core<R>,
        deadline: Tick,
        mut bytes_max: usize,
    ) {
        let Self { conn, head, mut bytes } = self;
        bytes.drain(..head.len());
        let mut rest = match head.framing() {
            Framing::Empty => Rest::Length(0),
            Framing::Length(length) => Rest::Length(length),
            Framing::Chunked => Rest::Chunked(ChunkedBody::new(ChunkMode::Separate)),
            Framing::UntilClose => return,
        };
        loop {
            match rest.take(&mut bytes) {
                Some(BodyState::Done) => break,
                Some(BodyState::More) if bytes_max > 0 => {}
                _ => return,
            }
            make_room(&mut bytes);
            let (read, back) = conn.stream.read(bytes, deadline).await;
            bytes = back;
            match read {
                Ok(count) if count > 0 => bytes_max = bytes_max.saturating_sub(count),
                _ => return,
            }
        }
        if bytes.is_empty() && head.keep_alive() && !core.draining.get() {
            conn.keep_alive.set(head.keep_alive_timeout());
            let is_there = |endpoint| core.tables().snapshot.has_endpoint(endpoint);
            core.upstreams.borrow_mut().give(conn, core.runtime.now(), is_there);
        }
    }
}

/// Framing of the part of a body that is still to come.
enum Rest {
    Length(u64),
    Chunked(ChunkedBody),
}

impl Rest {
    /// Takes the part of the body out of `bytes`; `None` where it is malformed.
    fn take(&mut self, bytes: &mut Vec<u8>) -> Option<BodyState> {
        match self {
            Self::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= count as u64;
                bytes.drain(..count);
                Some(if *left == 0 { BodyState::Done } else { BodyState::More })
            }
            Self::Chunked(chunked) => {
                let fed = chunked.feed(bytes).ok()?;
                bytes.drain(..fed.consumed);
                Some(fed.state)
            }
        }
    }
}

/// Awaits I/O on a connection, and cancels it at the order to stop, or at the attempt's own timeout.
async fn until_stopped<R: Runtime, F: Future>(
    core: &Core<R>,
    transfer: &Transfer,
    stop: &Stop,
    stream: &R::Stream,
    io: Pin<&mut F>,
) -> F::Output {
    let deadlines = &transfer.activity.deadlines;
    let left = deadlines.attempt_left(|| core.runtime.now_micros());
    let cancel = async {
        match left {
            // Either way it is over.
            Some(left) => drop(core.runtime.timeout(stop.given(), left).await),
            None => stop.given().await,
        }
        deadlines.set_expired(true);
        stream.cancel_reads();
        stream.cancel_writes();
    };
    let output = with_side_task(io, cancel).await;
    if deadlines.has_expired() {
        // The last byte may have come all the same.
        deadlines.set_expired(false);
        stream.resume_reads();
        stream.resume_writes();
    }
    output
}

fn make_room(bytes: &mut Vec<u8>) {
    if bytes.len() == bytes.capacity() || bytes.capacity() < ringway_model::limits::HEAD_BUFFER_BYTES {
        bytes.reserve(ringway_model::limits::HEAD_BUFFER_BYTES);
    }
}

fn ended(has_begun: bool) -> Failure {
    if has_begun { Failure::ResponseHeadCut } else { Failure::UpstreamClosed }
}

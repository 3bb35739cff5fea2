//! An attempt apart from its exchange, in a task of its own: copies of requests, attempts of hedged requests,
//! and calls of stages.
//!
//! All bytes of the request are there, and it holds neither the client nor the buffers of the exchange, which
//! may end before it. Interim responses are dropped.

use std::cell::{Cell, OnceCell, RefCell};
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::rc::Rc;

use ringway_model::Tick;
use ringway_net::sync::Notify;
use ringway_net::{Stream, WriteRate, with_side_task};
use ringway_traffic::policy::Policy;
use ringway_traffic::retry::Body;
use ringway_traffic::snapshot::{Endpoint, Pool};
use ringway_wire::h1::{Parse, ResponseHead};
use ringway_wire::message::{Framing, Method};

use super::attempt::{Failed, FailedAt, Fault, Stage};
use super::body_decoder::{BodyDecoder, Decoded};
use super::connect::{Connect, Origin, Versions};
use super::{Reuse, Transfer, UpstreamConn};
use crate::core::Core;
use crate::exchange::body_pipe::BodyPart;
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
    pub(crate) versions: Versions,
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

    /// Whether the order was given.
    pub(crate) fn is_given(&self) -> bool {
        self.is_given.get()
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
            versions: self.versions,
        };
        let connected = connect.run().await;
        let (conn, origin) =
            connected.map_err(|failure| fail((failure, Stage::Connect), Origin::New, false))?;
        if self.stop.is_given() {
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
                false => head.parse(&bytes, self.method, &core.settings.heads).map_err(|error| {
                    transfer.cause.set(Some(Cause::of_head(error, &head, &bytes)));
                    (Failure::BadResponse(error), Stage::Waiting)
                })?,
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
        if head.framing() == Framing::UntilClose {
            return;
        }
        let mut decoder = BodyDecoder::new(head.framing());
        bytes.drain(..head.len());
        loop {
            let Ok(Decoded { taken, part, .. }) = decoder.take(&mut bytes) else { return };
            bytes.drain(..taken);
            match part {
                BodyPart::Last => break,
                BodyPart::Inner if bytes_max > 0 => {}
                BodyPart::Inner => return,
            }
            make_room(&mut bytes);
            let (read, back) = conn.stream.read(bytes, deadline).await;
            bytes = back;
            match read {
                Ok(count) if count > 0 => bytes_max = bytes_max.saturating_sub(count),
                _ => return,
            }
        }
        if bytes.is_empty() {
            keep(core, conn, &head);
        }
    }

    /// Reads the rest of the response into `received`, of at most `data_max` bytes of content; its connection
    /// is kept for other requests after a whole one, and closed otherwise.
    pub(crate) async fn read_whole<R: Runtime<Stream = S>>(
        self,
        core: &Core<R>,
        transfer: &Transfer,
        stop: &Stop,
        data_max: usize,
        received: &OnceCell<ReceivedResponse>,
    ) -> Result<(), BodyFault> {
        let Self { conn, head, mut bytes } = self;
        let head_bytes = bytes[..head.len()].to_vec();
        bytes.drain(..head.len());
        let received =
            received.get_or_init(|| ReceivedResponse { head, head_bytes, ..ReceivedResponse::default() });
        let read = {
            let io = pin!(received.read(&conn.stream, transfer, bytes, data_max));
            until_stopped(core, transfer, stop, &conn.stream, io).await
        };
        match read {
            Ok(is_clean) => {
                if is_clean {
                    keep(core, conn, &received.head);
                }
                Ok(())
            }
            Err(BodyFault::Failed(fault)) => {
                let is_excused = core.runtime.is_excused(&conn.stream);
                Err(BodyFault::Failed(Fault { is_excused, ..fault }))
            }
            Err(BodyFault::TooLarge) => Err(BodyFault::TooLarge),
        }
    }
}

/// A response as far as it was read. The future that waits for it may look at any time.
#[derive(Default)]
pub(crate) struct ReceivedResponse {
    pub(crate) head: ResponseHead,
    /// The bytes that the head was parsed from.
    pub(crate) head_bytes: Vec<u8>,
    /// Content.
    pub(crate) data: RefCell<Vec<u8>>,
    /// Lines of the trailers, each with its CRLF.
    pub(crate) trailers: RefCell<Vec<u8>>,
}

/// Reason why the body of a response is not whole.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BodyFault {
    /// It has more content than is wanted.
    TooLarge,
    Failed(Fault),
}

impl From<Failure> for BodyFault {
    fn from(failure: Failure) -> Self {
        Self::Failed(Fault { failure, is_excused: false })
    }
}

impl ReceivedResponse {
    /// Reads data and trailers behind `bytes`. Returns whether the connection ended with the body.
    async fn read<S: Stream>(
        &self,
        upstream: &S,
        transfer: &Transfer,
        mut bytes: Vec<u8>,
        data_max: usize,
    ) -> Result<bool, BodyFault> {
        let mut decoder = BodyDecoder::new(self.head.framing());
        loop {
            let Decoded { data, trailers, taken, part } = decoder.take(&mut bytes)?;
            let room = data_max - self.data.borrow().len();
            self.data.borrow_mut().extend_from_slice(&bytes[..data.min(room)]);
            if data > room {
                return Err(BodyFault::TooLarge);
            }
            if part == BodyPart::Last {
                self.trailers.borrow_mut().extend_from_slice(&bytes[data..data + trailers]);
                return Ok(taken == bytes.len());
            }
            bytes.drain(..taken);
            make_room(&mut bytes);
            let (read, back) = upstream.read(bytes, transfer.activity.deadlines.end()).await;
            bytes = back;
            match read {
                Ok(0) => decoder.close()?,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    return Err(Failure::ResponseStalled.into());
                }
                Err(error) => {
                    transfer.cause.set(Cause::of_read(&error));
                    return Err(Failure::ResponseCut.into());
                }
            }
        }
    }
}

/// Keeps the connection of a whole response for another request.
fn keep<R: Runtime>(core: &Core<R>, conn: Rc<UpstreamConn<R::Stream>>, head: &ResponseHead) {
    if head.keep_alive() && !core.draining.get() {
        conn.keep_alive.set(head.keep_alive_timeout());
        let is_there = |endpoint| core.tables().snapshot.keeps_connections(endpoint);
        core.upstreams.borrow_mut().give(conn, core.runtime.now(), is_there);
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

//! Reads a response from an endpoint, and watches its client meanwhile.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::pin;
use std::task::Poll;

use crate::limits;
use ringway_model::Tick;
use ringway_net::{Hangup, PeerState, Stream, join_until};

use super::{Transfer, UploadState};
use crate::core::Core;
use crate::exchange::activity::Activity;
use crate::exchange::cause::Cause;
use crate::h2::StreamEnd;
use crate::runtime::Runtime;
use crate::session::downstream_conn::DownstreamConn;

/// The endpoint's side of an exchange.
pub(crate) struct ResponseReader<'a, R: Runtime> {
    pub(crate) core: &'a Core<R>,
    pub(crate) client: &'a DownstreamConn<R::Stream>,
    pub(crate) upstream: &'a R::Stream,
    pub(crate) upstream_in: &'a mut Vec<u8>,
    pub(crate) transfer: &'a Transfer,
}

/// Reason why a read from the endpoint gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// The endpoint closed in an orderly way.
    Ended,
    /// The connection broke.
    Broken,
    /// The endpoint did not process the request, and says so.
    TookNothing,
    /// The endpoint gave up this request, not the connection.
    GaveUp,
    /// Nothing came by the deadline.
    TimedOut,
    /// The exchange is past its end.
    TotalTimedOut,
    /// The client left.
    ClientGone,
}

impl<R: Runtime> ResponseReader<'_, R> {
    /// Waits for bytes of a head: as long as the request is still being sent, and then until the timeout,
    /// which begins with the last byte of the request, or with the wait where that is later. Neither a byte
    /// nor an interim response restarts it.
    pub(super) async fn read_head_bytes(&mut self, begun: Tick) -> Result<(), ReadError> {
        let Transfer { upload, activity, .. } = self.transfer;
        let (timeout, deadline) = (activity.head_timeout(), activity.deadlines.head());
        loop {
            let give_up = match upload.finished_at() {
                Some(finished) => finished.max(begun).after(timeout),
                // Checked again by then.
                None => self.core.runtime.now().after(timeout),
            };
            match self.read(give_up.min(deadline)).await {
                Err(ReadError::TimedOut) if activity.deadlines.has_ended(self.core.runtime.now()) => {
                    return Err(ReadError::TotalTimedOut);
                }
                Err(ReadError::TimedOut)
                    if give_up < deadline
                        && upload.finished_at().is_none_or(|at| at.after(timeout) > give_up) => {}
                result => return result,
            }
        }
    }

    /// Reads bytes of the body, unless both directions are silent for too long.
    pub(crate) async fn read_body(&mut self) -> Result<(), ReadError> {
        let (runtime, activity) = (&self.core.runtime, &self.transfer.activity);
        activity.note(runtime.now());
        loop {
            match self.read(activity.look_again(runtime.now())).await {
                Ok(()) | Err(ReadError::TimedOut) if activity.deadlines.has_ended(runtime.now()) => {
                    return Err(ReadError::TotalTimedOut);
                }
                Err(ReadError::TimedOut) if !activity.is_idle(runtime.now()) => {}
                read => {
                    activity.note(runtime.now());
                    return read;
                }
            }
        }
    }

    /// Grows the buffer for a body. Most responses fit into a head's buffer, and a long one is better spliced
    /// than copied.
    pub(crate) fn make_room(&mut self) {
        if self.upstream_in.capacity() < limits::RELAY_BUFFER_BYTES {
            self.upstream_in.reserve_exact(limits::RELAY_BUFFER_BYTES - self.upstream_in.len());
        }
    }

    /// Appends to `upstream_in`. While the endpoint is silent for longer, the client is watched.
    async fn read(&mut self, give_up: Tick) -> Result<(), ReadError> {
        if self.upstream_in.len() == self.upstream_in.capacity() {
            self.make_room();
        }
        let soon = self.core.runtime.now().after(limits::CLIENT_WATCH_DELAY);
        let (mut read, back) = self.upstream.read(std::mem::take(self.upstream_in), give_up.min(soon)).await;
        *self.upstream_in = back;
        if soon < give_up && matches!(&read, Err(error) if error.kind() == ErrorKind::TimedOut) {
            // Boxed: most responses come before, and their exchanges need not be larger for it.
            read = Box::pin(self.read_beside_client(give_up)).await?;
        }
        match read {
            Ok(0) => Err(ReadError::Ended),
            Ok(_) => Ok(()),
            Err(_) if self.transfer.activity.deadlines.has_expired() => Err(ReadError::TimedOut),
            // The watch of the client cancels the read when it leaves.
            Err(error)
                if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::TimedOut)
                    && !self.transfer.upload.is_followed()
                    && self.client.stream.peek_state() == PeerState::Closed =>
            {
                Err(ReadError::ClientGone)
            }
            Err(error) if error.kind() == ErrorKind::TimedOut => Err(ReadError::TimedOut),
            Err(error) => {
                self.transfer.cause.set(Cause::of_read(&error));
                Err(match StreamEnd::of(&error) {
                    Some(StreamEnd::Refused) => ReadError::TookNothing,
                    Some(StreamEnd::Reset) => ReadError::GaveUp,
                    Some(StreamEnd::Broken) | None => ReadError::Broken,
                })
            }
        }
    }

    /// Reads from the endpoint until the client leaves. That is seen once all of the request was sent: until
    /// then the upload reads from the client.
    async fn read_beside_client(&mut self, give_up: Tick) -> Result<std::io::Result<usize>, ReadError> {
        let Self { core, client, upstream, transfer, .. } = *self;
        let Transfer { upload, activity, .. } = transfer;
        if client.is_http2 {
            // A reset of its stream cancels the read.
            let (read, back) = upstream.read(std::mem::take(self.upstream_in), give_up).await;
            *self.upstream_in = back;
            return Ok(read);
        }
        let (is_over, is_watching, is_gone) = (Cell::new(false), Cell::new(false), Cell::new(false));
        let watch = async {
            // The upload runs in the same task: when it ends, this is polled.
            poll_fn(|_| match is_over.get() || upload.is_whole() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            })
            .await;
            while !is_over.get() {
                if has_gone(client, upload, activity) {
                    is_gone.set(true);
                    return upstream.cancel_reads();
                }
                if upload.is_followed() || client.stream.peek_state() != PeerState::Idle {
                    // Unread bytes would end each wait for more at once.
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
            // Else the upload reads, which is not to be disturbed.
            if is_watching.get() {
                client.stream.cancel_reads();
            }
        };
        let reading = upstream.read(std::mem::take(self.upstream_in), give_up);
        let ((read, back), ()) = join_until(pin!(reading), pin!(watch), stop).await;
        if is_watching.get() {
            client.stream.resume_reads();
        }
        *self.upstream_in = back;
        if is_gone.get() && !matches!(read, Ok(count) if count > 0) {
            return Err(ReadError::ClientGone);
        }
        Ok(read)
    }
}

/// Whether a client of HTTP/1 that waits for the endpoint has left. One that has ended its side counts as
/// gone: while it waits for the response head, unless it has sent more before, which may be its next request;
/// and within a response in any case, for a silent one could be held for ever.
fn has_gone<S: Stream>(client: &DownstreamConn<S>, upload: &UploadState, activity: &Activity) -> bool {
    match client.stream.hangup() {
        Hangup::Whole => true,
        Hangup::Sending => {
            activity.is_open() || !upload.is_followed() && client.stream.peek_state() == PeerState::Closed
        }
        // Over TLS, close_notify may come without an end of the connection.
        Hangup::None => !upload.is_followed() && client.stream.peek_state() == PeerState::Closed,
    }
}

//! Upload of a request body that did not come whole with the head: it goes on beside every later phase.
//!
//! ```text
//! send head ─► Upload::start ─► response head ─► response stages ─► deliver ─► Upload::end ─► RequestBody
//!                     └──────────── polled beside these ────────────────┘
//! ```
//! The future is boxed: exchanges without a long body do not grow by it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use ringway_middleware::BodyTransforms;
use ringway_net::{Stream, WriteRate};
use ringway_traffic::policy::Policy;

use super::transfer::Transfer;
use super::{UploadState, UpstreamConn};
use crate::core::Core;
use crate::exchange::activity::Activity;
use crate::exchange::body_pipe::{self, BodySink};
use crate::exchange::failure::Failure;
use crate::exchange::request_body::{PumpError, RequestBody};
use crate::exchange::request_source::RequestSource;
use crate::runtime::Runtime;
use crate::session::downstream_conn::DownstreamConn;
use crate::session::linger;

/// Upload of the rest of a request body. To be ended by [`Upload::end`], which gives the body back.
#[must_use = "an upload that is dropped may drop a buffer that the kernel uses"]
pub(crate) enum Upload<'a> {
    /// All of the body was sent with the head.
    None,
    Running(Pin<Box<dyn Future<Output = RequestBody> + 'a>>),
    Ended(Box<RequestBody>),
}

impl<'a> Upload<'a> {
    /// Begins an upload.
    pub(super) fn start<R: Runtime>(task: UploadTask<'a, R>) -> Self {
        Self::Running(Box::pin(task.run()))
    }

    /// Awaits `main`, and sends meanwhile. A client that gives its request up has the wait for its endpoint
    /// cancelled.
    pub(crate) async fn beside<S: Stream, F: Future>(
        &mut self,
        client: &DownstreamConn<S>,
        upstream: &S,
        mut main: Pin<&mut F>,
    ) -> F::Output {
        let mut left = pin!(async {
            client.stream.left().await;
            upstream.cancel_reads();
        });
        let mut has_left = false;
        poll_fn(|cx| {
            // First, for either may end `main`.
            has_left = has_left || left.as_mut().poll(cx).is_ready();
            self.poll(cx);
            main.as_mut().poll(cx)
        })
        .await
    }

    /// Stops the upload, or lets it finish where it may outlast the response, and gives the body back: `None`
    /// where there was nothing to upload.
    pub(crate) async fn end<S: Stream>(
        &mut self,
        client: &DownstreamConn<S>,
        upstream: &S,
        state: &UploadState,
    ) -> Option<RequestBody> {
        if let Self::None = self {
            return None;
        }
        if let Self::Running(_) = self
            && !state.outlasts()
        {
            state.stop();
            client.stream.cancel_reads();
            upstream.cancel_writes();
        }
        poll_fn(|cx| {
            self.poll(cx);
            if let Self::Running(_) = self { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        client.stream.resume_reads();
        match std::mem::replace(self, Self::None) {
            Self::Ended(body) => Some(*body),
            Self::None | Self::Running(_) => None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Self::Running(upload) = self
            && let Poll::Ready(body) = upload.as_mut().poll(cx)
        {
            *self = Self::Ended(Box::new(body));
        }
    }
}

/// Everything that an upload holds.
pub(super) struct UploadTask<'a, R: Runtime> {
    pub(super) core: &'a Core<R>,
    pub(super) client: &'a DownstreamConn<R::Stream>,
    pub(super) upstream: Rc<UpstreamConn<R::Stream>>,
    pub(super) transfer: &'a Transfer,
    pub(super) policy: &'a Policy,
    pub(super) body: RequestBody,
    /// See [`RequestBody::upload_buffer`].
    pub(super) buf: Vec<u8>,
    /// Transforms of a body that is read as data.
    pub(super) transforms: BodyTransforms,
}

impl<R: Runtime> UploadTask<'_, R> {
    async fn run(mut self) -> RequestBody {
        let Self { core, client, transfer, policy, .. } = self;
        let Transfer { upload, activity, .. } = transfer;
        let sent = match (upload.is_refused(), self.body.as_data) {
            (true, _) => Err(PumpError::Upstream),
            (false, true) => self.send_data().await,
            (false, false) => {
                let (buf, upstream) = (std::mem::take(&mut self.buf), &self.upstream.stream);
                let limits = (activity, policy.body_progress_timeout);
                self.body.pump(&core.runtime, &client.stream, upstream, buf, limits).await
            }
        };
        match sent {
            Ok(()) => {
                if self.body.rest_read.as_ref().is_some_and(|rest| !rest.is_empty()) {
                    upload.set_followed();
                }
                upload.finish(core.runtime.now());
            }
            Err(PumpError::Client(failure)) => {
                upload.fail(failure);
                self.upstream.stream.cancel_reads();
            }
            Err(PumpError::Upstream) => {
                upload.refuse(core.runtime.now());
                linger::discard_beside(core, client).await;
            }
        }
        self.body
    }

    /// Sends the body through the transforms of the request stages.
    async fn send_data(&mut self) -> Result<(), PumpError> {
        let (runtime, activity) = (&self.core.runtime, &self.transfer.activity);
        let buf = std::mem::take(&mut self.buf);
        let mut source = RequestSource::new(runtime, &self.client.stream, activity, &mut self.body, buf);
        let mut sink = UpstreamBody {
            runtime,
            upstream: &self.upstream.stream,
            activity,
            stall: self.policy.body_progress_timeout,
            out: Vec::new(),
        };
        let result = body_pipe::copy(&mut source, &mut self.transforms, &mut sink, |_| {}).await;
        source.end();
        result.map_err(|failure| match failure {
            Failure::UpstreamClosed => PumpError::Upstream,
            failure => PumpError::Client(failure),
        })
    }
}

/// Sink of a request body, in chunks.
struct UpstreamBody<'u, R: Runtime> {
    runtime: &'u R,
    upstream: &'u R::Stream,
    activity: &'u Activity,
    stall: Duration,
    out: Vec<u8>,
}

impl<R: Runtime> UpstreamBody<'_, R> {
    async fn flush(&mut self) -> Result<(), Failure> {
        if self.out.is_empty() {
            return Ok(());
        }
        let stall = self.stall.max(self.activity.idle_max());
        let rate = WriteRate::stall(stall).and_until(self.activity.deadlines.end());
        let (sent, back) = self.upstream.write_all(std::mem::take(&mut self.out), rate).await;
        self.out = back;
        self.out.clear();
        self.activity.note(self.runtime.now());
        sent.map_err(|_| Failure::UpstreamClosed)
    }
}

impl<R: Runtime> BodySink for UpstreamBody<'_, R> {
    async fn write(&mut self, data: &[u8]) -> Result<(), Failure> {
        body_pipe::push_chunk(&mut self.out, data);
        self.flush().await
    }

    async fn finish(&mut self, data: &[u8], trailers: &[u8]) -> Result<(), Failure> {
        body_pipe::push_chunk(&mut self.out, data);
        body_pipe::push_last_chunk(&mut self.out, trailers);
        self.flush().await
    }
}

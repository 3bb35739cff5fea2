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

use ringway_net::Stream;
use ringway_traffic::policy::Policy;

use super::transfer::Transfer;
use super::{UploadState, UpstreamConn};
use crate::core::Core;
use crate::exchange::request_body::{PumpError, RequestBody};
use crate::runtime::Runtime;
use crate::session::downstream::DownstreamConn;
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
    /// Begins to send what is left of `body`. `client_in` has what came of it behind the part that was sent.
    pub(crate) fn start<R: Runtime>(
        core: &'a Core<R>,
        client: &'a DownstreamConn<R::Stream>,
        upstream: Rc<UpstreamConn<R::Stream>>,
        body: RequestBody,
        client_in: &[u8],
        (transfer, policy): (&'a Transfer, &'a Policy),
    ) -> Self {
        let buf = body.rest_buffer(client_in);
        Self::Running(Box::pin(run(core, client, upstream, body, buf, (transfer, policy))))
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

async fn run<R: Runtime>(
    core: &Core<R>,
    client: &DownstreamConn<R::Stream>,
    upstream: Rc<UpstreamConn<R::Stream>>,
    mut body: RequestBody,
    buf: Vec<u8>,
    (transfer, policy): (&Transfer, &Policy),
) -> RequestBody {
    let Transfer { upload, activity, .. } = transfer;
    let pumped = match upload.is_refused() {
        true => Err(PumpError::Upstream),
        false => {
            let limits = (activity, policy.body_progress_timeout);
            body.pump(&core.runtime, &client.stream, &upstream.stream, buf, limits).await
        }
    };
    match pumped {
        Ok(()) => {
            if body.rest_read.as_ref().is_some_and(|rest| !rest.is_empty()) {
                upload.set_followed();
            }
            upload.finish(core.runtime.now());
        }
        Err(PumpError::Client(failure)) => {
            upload.fail(failure);
            upstream.stream.cancel_reads();
        }
        Err(PumpError::Upstream) => {
            upload.refuse(core.runtime.now());
            linger::discard_beside(core, client).await;
        }
    }
    body
}

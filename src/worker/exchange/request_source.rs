//! The body of a request as a source of data.

use std::ops::Range;

use crate::exchange::activity::Activity;
use crate::exchange::body_pipe::{BodyPart, BodySource};
use crate::exchange::failure::Failure;
use crate::exchange::request_body::{RateWindow, RequestBody};
use crate::runtime::Runtime;

/// Data of a request body: the part that came with the head, and the rest as the client sends it.
pub(crate) struct RequestSource<'u, R: Runtime> {
    runtime: &'u R,
    client: &'u R::Stream,
    activity: &'u Activity,
    body: &'u mut RequestBody,
    window: RateWindow,
    buf: Vec<u8>,
    /// All of the body came with the head.
    came_whole: bool,
    /// Part that came with the head, in front of `buf`: lengths of its data and of its trailers.
    first: Option<(usize, usize)>,
    /// Bytes of `buf` that were taken.
    taken: usize,
    data: Range<usize>,
    trailers: Range<usize>,
}

impl<'u, R: Runtime> RequestSource<'u, R> {
    /// Data of `body`, with its [`upload_buffer`](RequestBody::upload_buffer).
    pub(crate) fn new(
        runtime: &'u R,
        client: &'u R::Stream,
        activity: &'u Activity,
        body: &'u mut RequestBody,
        buf: Vec<u8>,
    ) -> Self {
        let first = Some((body.first.len(), body.trailers.len()));
        let (window, came_whole) = (RateWindow::new(runtime.now()), body.is_complete());
        Self {
            runtime,
            client,
            activity,
            body,
            window,
            buf,
            came_whole,
            first,
            taken: 0,
            data: 0..0,
            trailers: 0..0,
        }
    }

    /// Gives the body the bytes that were read beyond it. Those behind a body that came whole with its head
    /// are still in `client_in`.
    pub(crate) fn end(mut self) {
        if !self.came_whole {
            self.buf.drain(..self.taken);
            self.body.rest_read = Some(self.buf);
        }
    }
}

impl<R: Runtime> BodySource for RequestSource<'_, R> {
    fn take(&mut self) -> Result<BodyPart, Failure> {
        let start = self.taken;
        let (data, trailers, consumed) = match self.first.take() {
            Some((data, trailers)) => (data, trailers, data + trailers),
            None => {
                let taken = self.body.take(&mut self.buf[start..])?;
                (taken.kept, taken.trailers, taken.consumed)
            }
        };
        self.data = start..start + data;
        self.trailers = self.data.end..self.data.end + trailers;
        self.taken = start + consumed;
        Ok(if self.body.is_complete() { BodyPart::Last } else { BodyPart::Inner })
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        // Bytes that the framing cannot judge yet stay at the front.
        self.buf.drain(..std::mem::take(&mut self.taken));
        (self.data, self.trailers) = (0..0, 0..0);
        self.window.read(self.runtime, self.client, &mut self.buf, self.activity).await
    }

    async fn yield_now(&self) {
        self.runtime.yield_now().await;
    }

    fn data(&self) -> &[u8] {
        &self.buf[self.data.clone()]
    }

    fn trailers(&self) -> &[u8] {
        &self.buf[self.trailers.clone()]
    }
}

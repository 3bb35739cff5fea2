//! The body of a response as a source of data.

use std::ops::Range;

use ringway_net::Stream;
use ringway_wire::message::Framing;

use super::body_decoder::{BodyDecoder, Decoded};
use super::{ReadError, ResponseReader, UploadState};
use crate::exchange::body_pipe::{BodyPart, BodySource};
use crate::exchange::failure::Failure;
use crate::runtime::Runtime;

/// Data of a response body that comes through `reader`.
pub(crate) struct ResponseSource<'r, 'x, R: Runtime> {
    reader: &'r mut ResponseReader<'x, R>,
    decoder: BodyDecoder,
    /// Bytes of `upstream_in` that were taken: the head first, then parts of the body.
    taken: usize,
    data: Range<usize>,
    trailers: Range<usize>,
}

impl<'r, 'x, R: Runtime> ResponseSource<'r, 'x, R> {
    /// Body in `framing`, behind a head of `head_bytes` in the reader's buffer.
    pub(crate) fn new(reader: &'r mut ResponseReader<'x, R>, framing: Framing, head_bytes: usize) -> Self {
        Self { reader, decoder: BodyDecoder::new(framing), taken: head_bytes, data: 0..0, trailers: 0..0 }
    }

    /// Makes room for more behind the bytes that the framing cannot judge yet.
    fn make_room(&mut self) {
        self.reader.upstream_in.drain(..std::mem::take(&mut self.taken));
        (self.data, self.trailers) = (0..0, 0..0);
        self.reader.make_room();
    }

    /// Whether the endpoint sent more than the body.
    pub(crate) fn has_more(&self) -> bool {
        self.taken < self.reader.upstream_in.len()
    }
}

impl<R: Runtime> BodySource for ResponseSource<'_, '_, R> {
    fn take(&mut self) -> Result<BodyPart, Failure> {
        let start = self.taken;
        let Decoded { data, trailers, taken, part } =
            self.decoder.take(&mut self.reader.upstream_in[start..])?;
        self.data = start..start + data;
        self.trailers = self.data.end..self.data.end + trailers;
        self.taken = start + taken;
        Ok(part)
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        self.make_room();
        match self.reader.read_body().await {
            Ok(()) => Ok(()),
            Err(ReadError::Ended) => self.decoder.close(),
            Err(error) => Err(body_failure(error, &self.reader.transfer.upload)),
        }
    }

    fn fill_now(&mut self) -> bool {
        self.make_room();
        let before = self.reader.upstream_in.len();
        self.reader.upstream.read_more(self.reader.upstream_in);
        self.reader.upstream_in.len() > before
    }

    async fn yield_now(&self) {
        self.reader.core.runtime.yield_now().await;
    }

    fn data(&self) -> &[u8] {
        &self.reader.upstream_in[self.data.clone()]
    }

    fn trailers(&self) -> &[u8] {
        &self.reader.upstream_in[self.trailers.clone()]
    }
}

/// Failure of a response whose body cannot be read on.
pub(crate) fn body_failure(error: ReadError, upload: &UploadState) -> Failure {
    match error {
        ReadError::Ended | ReadError::Broken | ReadError::TookNothing | ReadError::GaveUp => {
            Failure::ResponseCut
        }
        ReadError::TimedOut => stalled(upload),
        ReadError::TotalTimedOut => Failure::TotalTimedOut,
        ReadError::ClientGone => Failure::ClientClosed,
    }
}

/// Failure of an exchange in which neither direction moves. An endpoint may be waiting for the rest of the
/// request.
pub(crate) fn stalled(upload: &UploadState) -> Failure {
    match upload.finished_at() {
        Some(_) => Failure::ResponseStalled,
        None => Failure::RequestBodyTimedOut,
    }
}

//! Sends a response to the client: heads, and parts of a body as they come.

use std::io::ErrorKind;
use std::ops::Range;

use crate::limits;
use bytes::Bytes;
use ringway_middleware::Edits;
use ringway_model::Tick;
use ringway_net::{Stream, WriteRate};
use ringway_wire::h1::{self, ConnectionSignal, OutFraming, ResponseHead, ResponseRewrite};
use ringway_wire::headers::FieldKind;
use ringway_wire::message::Framing;

use crate::core::Core;
use crate::exchange::body_framing::SinkFraming;
use crate::exchange::body_pipe::{self, BodySink};
use crate::exchange::failure::Failure;
use crate::runtime::Runtime;
use crate::session::downstream_conn::DownstreamConn;
use crate::upstream::{JOINED_BYTES_MAX, Transfer};

/// The client's side of an exchange.
pub(crate) struct ResponseWriter<'a, R: Runtime> {
    pub(crate) core: &'a Core<R>,
    pub(crate) client: &'a DownstreamConn<R::Stream>,
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) transfer: &'a Transfer,
}

impl<R: Runtime> ResponseWriter<'_, R> {
    /// Puts a response head into `out`, for the client's connection, with the edits of the response stages.
    pub(crate) fn write_head(
        &mut self,
        upstream_in: &[u8],
        response: &ResponseHead,
        connection: ConnectionSignal,
        framing: OutFraming,
        edits: Option<&Edits>,
    ) {
        self.out.clear();
        let core = self.core;
        let date = match response.status() < 200 || response.has(FieldKind::Date) {
            true => None,
            false => Some(core.date_line.at(core.runtime.timestamp())),
        };
        let date = date.as_deref().unwrap_or_default();
        let rewrite =
            ResponseRewrite { connection, framing, append: [date, b""], ..ResponseRewrite::default() };
        let Some(edits) = edits.filter(|edits| !edits.is_empty()) else {
            return h1::write_response(self.out, upstream_in, response, &rewrite);
        };
        // A stage that sets or removes the date wins.
        let date = if edits.removes(b"date") { b"" } else { date };
        let append = [date, edits.lines()];
        // The length of a body that is not sent is that of another one, if a stage has coded it.
        let framing = match response.framing() == Framing::Empty && edits.removes(b"content-length") {
            true => OutFraming::None,
            false => framing,
        };
        let rewrite = ResponseRewrite { framing, remove: edits.removed_names(), append, ..rewrite };
        h1::write_response(self.out, upstream_in, response, &rewrite);
    }

    /// Puts further field lines at the end of the head in `out`.
    pub(crate) fn push_lines(&mut self, push: impl FnOnce(&mut Vec<u8>)) {
        // Before the empty line.
        self.out.truncate(self.out.len().saturating_sub(2));
        push(self.out);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Sends `out`, then the given part of `buf`; in one piece when that is cheap.
    pub(crate) async fn send_part(&mut self, buf: &mut Vec<u8>, part: Range<usize>) -> Result<(), Failure> {
        let mut part = self.put_before(buf, part);
        if !self.out.is_empty() {
            if part.len() <= JOINED_BYTES_MAX {
                // To the byte: growing by halves would make it twice as large as what is sent.
                self.out.reserve_exact(part.len());
                self.out.extend_from_slice(&buf[part.clone()]);
                part.start = part.end;
            } else {
                self.hold_out();
            }
        }
        if !self.out.is_empty() {
            self.send_out().await?;
        }
        if !part.is_empty() {
            let rate = self.rate();
            let begun = self.core.runtime.now();
            let (sent, back) = self.client.stream.write_all_range(std::mem::take(buf), part, rate).await;
            *buf = back;
            self.note_wait(begun);
            sent.map_err(|error| client_failed(&error))?;
        }
        Ok(())
    }

    /// Sends `out`, then a range of the bytes that `chunks` have together; in one piece when that is cheap.
    pub(crate) async fn send_shared(&mut self, chunks: &[Bytes], range: Range<usize>) -> Result<(), Failure> {
        if let [chunk] = chunks
            && let Some(part) = chunk.get(range.clone())
            && part.len() <= JOINED_BYTES_MAX
        {
            self.out.reserve_exact(part.len());
            self.out.extend_from_slice(part);
            return self.send_out().await;
        }
        let rate = self.rate();
        let begun = self.core.runtime.now();
        let stream = &self.client.stream;
        let (sent, back) = stream.write_shared(std::mem::take(self.out), chunks, range, rate).await;
        *self.out = back;
        self.out.clear();
        self.note_wait(begun);
        sent.map_err(|error| client_failed(&error))
    }

    /// Does the work of [`send_part`](Self::send_part) as far as the kernel takes it at once, to send it with
    /// what is spliced next; returns the rest of `part`.
    pub(crate) fn send_held(&mut self, buf: &mut [u8], part: Range<usize>) -> Range<usize> {
        let mut part = self.put_before(buf, part);
        self.hold_out();
        if self.out.is_empty() {
            part.start += self.client.stream.write_held(&buf[part.clone()]);
        }
        part
    }

    /// Sends `out`.
    pub(crate) async fn send_out(&mut self) -> Result<(), Failure> {
        let rate = self.rate();
        let begun = self.core.runtime.now();
        let (sent, back) = self.client.stream.write_all(std::mem::take(self.out), rate).await;
        *self.out = back;
        self.out.clear();
        self.note_wait(begun);
        sent.map_err(|error| client_failed(&error))
    }

    /// Sends `out`, as far as the kernel takes it at once, to send it with what is written next.
    fn hold_out(&mut self) {
        if !self.out.is_empty() {
            let held = self.client.stream.write_held(self.out);
            self.out.drain(..held);
        }
    }

    /// Puts `out` before the part of `buf` that follows it, if there is room: the head that it came with was
    /// as long at least.
    fn put_before(&mut self, buf: &mut [u8], mut part: Range<usize>) -> Range<usize> {
        if !part.is_empty() && self.out.len() <= part.start {
            part.start -= self.out.len();
            buf[part.start..][..self.out.len()].copy_from_slice(self.out);
            self.out.clear();
        }
        part
    }

    /// Least progress of a write to the client.
    fn rate(&self) -> WriteRate {
        let activity = &self.transfer.activity;
        WriteRate::stall(activity.client_stall()).and_until(activity.deadlines.end())
    }

    /// Notes that the client was slow to take what was sent since `begun`.
    fn note_wait(&self, begun: Tick) {
        if self.core.runtime.now().since(begun) >= limits::CLIENT_WAIT_NOTED {
            self.transfer.upload.set_kept_waiting();
        }
    }
}

/// Sink of a response body that is sent in another framing than it came with.
pub(crate) struct ClientBody<'w, 'x, R: Runtime> {
    pub(crate) writer: &'w mut ResponseWriter<'x, R>,
    pub(crate) framing: SinkFraming,
}

impl<R: Runtime> ClientBody<'_, '_, R> {
    /// Puts data behind the head, or the data, that is still to be sent.
    fn push(&mut self, data: &[u8]) {
        let out = &mut *self.writer.out;
        match self.framing {
            SinkFraming::Chunked => body_pipe::push_chunk(out, data),
            SinkFraming::UntilClose => {
                out.reserve_exact(data.len());
                out.extend_from_slice(data);
            }
        }
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        if self.writer.out.is_empty() { Ok(()) } else { self.writer.send_out().await }
    }
}

impl<R: Runtime> BodySink for ClientBody<'_, '_, R> {
    async fn write(&mut self, data: &[u8]) -> Result<(), Failure> {
        self.push(data);
        self.flush().await
    }

    async fn finish(&mut self, data: &[u8], trailers: &[u8]) -> Result<(), Failure> {
        self.push(data);
        if self.framing == SinkFraming::Chunked {
            body_pipe::push_last_chunk(self.writer.out, trailers);
        }
        self.flush().await
    }
}

fn client_failed(error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::TimedOut => Failure::ClientStalled,
        _ => Failure::ClientClosed,
    }
}

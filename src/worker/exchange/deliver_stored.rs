//! Delivery of stored content: a head that stands in the buffers, and chunks that all cores share.

use std::ops::Range;

use bytes::Bytes;
use ringway_middleware::Edits;
use ringway_wire::h1::ConnectionSignal;

use crate::core::ConnBuffers;
use crate::exchange::activity::Kind;
use crate::exchange::body_framing::BodyFraming;
use crate::exchange::body_pipe::{self, BodyPart, BodySource};
use crate::exchange::cache::follow::Arriving;
use crate::exchange::disposition::Disposition;
use crate::exchange::failure::Failure;
use crate::exchange::response_writer::{ClientBody, ResponseWriter};
use crate::exchange::{Exchange, Target};
use crate::runtime::Runtime;
use crate::session::limits_of;

/// Content of a response.
pub(super) enum Content<'b, R: Runtime> {
    /// A range of the bytes that chunks have together.
    Whole { chunks: &'b [Bytes], range: Range<usize> },
    /// Bytes that arrive meanwhile.
    Arriving(Arriving<'b, R>),
}

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Runs the response stages over the head that stands in the buffers, and sends the response. Its length
    /// is that of `content`, unless it has none: 304, or the response to HEAD.
    pub(super) async fn deliver_stored(
        &mut self,
        target: &Target<'a>,
        content: Content<'_, R>,
    ) -> Result<Disposition, Failure> {
        let edits = self.response_stages(target);
        let delivered = self.send_stored(target, content, edits.as_ref()).await;
        if let Some(edits) = edits {
            self.stages.give_response_edits(edits);
        }
        delivered
    }

    async fn send_stored(
        &mut self,
        target: &Target<'_>,
        content: Content<'_, R>,
        edits: Option<&Edits>,
    ) -> Result<Disposition, Failure> {
        let Self { core, client, transfer, .. } = *self;
        let keep = self.keeps_connection();
        let mut transforms = std::mem::take(self.stages.response_body());
        let ConnBuffers { request, response: head, upstream_in, out, .. } = &mut *self.buffers;
        let version = request.version();
        let body_framing = BodyFraming::of(head.framing(), version, &transforms);
        let keep = keep && !body_framing.ends_with_connection();
        let (policy, limits, now) =
            (&target.matched.rule.policy, limits_of(core, client), core.runtime.now());
        transfer.activity.begin(Kind::Transfer, policy, limits, now);
        transfer.activity.open(Kind::Transfer, policy, limits, now);

        self.info.status = Some(head.status());
        let mut writer = ResponseWriter { core, client, out, transfer };
        let signal = ConnectionSignal::for_client(version, keep);
        writer.write_head(upstream_in, head, signal, body_framing.announced(), edits);
        writer.push_lines(|lines| self.info.push_lines(lines));
        let info = &mut self.info;
        let mut on_sent = |bytes: usize| info.bytes_out += bytes as u64;
        match (body_framing, content) {
            (BodyFraming::Nothing, _) => writer.send_out().await?,
            (BodyFraming::Reframed(framing), content) => {
                let mut sink = ClientBody { writer: &mut writer, framing };
                match content {
                    Content::Whole { chunks, range } => {
                        let mut source = WholeSource::new(chunks, range);
                        body_pipe::copy(&mut source, &mut transforms, &mut sink, on_sent).await?;
                    }
                    Content::Arriving(mut source) => {
                        body_pipe::copy(&mut source, &mut transforms, &mut sink, on_sent).await?;
                    }
                }
            }
            (_, Content::Whole { chunks, range }) => {
                let bytes = range.len();
                writer.send_shared(chunks, range).await?;
                on_sent(bytes);
            }
            (_, Content::Arriving(mut arriving)) => {
                let mut next = arriving.next_now();
                if next.is_none() {
                    writer.send_out().await?;
                    next = arriving.next().await?;
                }
                while let Some(bytes) = next {
                    let len = bytes.len();
                    writer.send_shared(&[bytes], 0..len).await?;
                    on_sent(len);
                    next = arriving.next().await?;
                }
            }
        }
        Ok(if keep { Disposition::Keep } else { Disposition::Close })
    }
}

/// Whole content as a source of data, for stages that see it.
struct WholeSource<'b> {
    chunks: &'b [Bytes],
    range: Range<usize>,
    data: &'b [u8],
}

impl<'b> WholeSource<'b> {
    fn new(chunks: &'b [Bytes], range: Range<usize>) -> Self {
        Self { chunks, range, data: &[] }
    }
}

impl BodySource for WholeSource<'_> {
    fn take(&mut self) -> Result<BodyPart, Failure> {
        let Self { chunks, range, data } = self;
        *data = &[];
        while let Some((chunk, rest)) = chunks.split_first() {
            *chunks = rest;
            let part = chunk.get(range.start.min(chunk.len())..range.end.min(chunk.len()));
            *range = range.start.saturating_sub(chunk.len())..range.end.saturating_sub(chunk.len());
            *data = part.unwrap_or_default();
            if !data.is_empty() {
                break;
            }
        }
        Ok(if range.end == 0 { BodyPart::Last } else { BodyPart::Inner })
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn fill_now(&mut self) -> bool {
        true
    }

    async fn yield_now(&self) {
        ringway_net::yield_now().await;
    }

    fn data(&self) -> &[u8] {
        self.data
    }

    fn trailers(&self) -> &[u8] {
        &[]
    }
}

#[cfg(test)]
#[path = "deliver_stored_tests.rs"]
mod tests;

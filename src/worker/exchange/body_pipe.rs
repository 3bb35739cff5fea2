//! Bodies as data, without the framing of the connections that they travel on.
//!
//! ```text
//! BodySource ─ take: data that has come; fill: waits for more ─► data ─► BodySink ─ write, finish with trailers
//! ```
//! The path of a body whose framing changes, or whose bytes a stage sees. All others are passed through in
//! their own framing, or spliced.

use ringway_middleware::{BodyError, BodyTransforms};
use ringway_wire::h1;

use crate::exchange::failure::Failure;

/// Source of a body's data.
pub(crate) trait BodySource {
    /// Takes the data that has come, which [`data`](Self::data) has until the next call.
    fn take(&mut self) -> Result<BodyPart, Failure>;

    /// Waits for more.
    async fn fill(&mut self) -> Result<(), Failure>;

    /// Data that was taken; may be empty.
    fn data(&self) -> &[u8];

    /// Trailer lines, each with its CRLF, once the last part was taken.
    fn trailers(&self) -> &[u8];
}

/// Position of a part in its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyPart {
    /// More data follows.
    Inner,
    /// The body is complete.
    Last,
}

/// Sink of a body's data.
pub(crate) trait BodySink {
    /// Sends data, and what is held before it.
    async fn write(&mut self, data: &[u8]) -> Result<(), Failure>;

    /// Sends the last data and the end of the body.
    async fn finish(&mut self, data: &[u8], trailers: &[u8]) -> Result<(), Failure>;
}

/// Moves a body from its source through the transforms of stages to its sink. `on_sent` is called with the
/// length of the data of each part that was sent.
pub(crate) async fn copy(
    source: &mut impl BodySource,
    transforms: &mut BodyTransforms,
    sink: &mut impl BodySink,
    mut on_sent: impl FnMut(usize),
) -> Result<(), Failure> {
    let mut transformed = Vec::new();
    loop {
        let part = source.take()?;
        let mut data = source.data();
        if !transforms.is_empty() {
            transformed.clear();
            transforms.on_data(data, &mut transformed).map_err(transform_failed)?;
            if part == BodyPart::Last {
                transforms.on_end(&mut transformed).map_err(transform_failed)?;
            }
            data = &transformed;
        }
        match part {
            BodyPart::Inner => sink.write(data).await?,
            BodyPart::Last => sink.finish(data, source.trailers()).await?,
        }
        on_sent(data.len());
        match part {
            BodyPart::Inner => source.fill().await?,
            BodyPart::Last => return Ok(()),
        }
    }
}

fn transform_failed(error: BodyError) -> Failure {
    Failure::TransformFailed(error)
}

/// Appends data as a chunk of its own; nothing without data.
pub(crate) fn push_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if !data.is_empty() {
        out.extend_from_slice(&h1::chunk_head(data.len()));
        // To the byte: growing by halves would make it twice as large as what is sent.
        out.reserve_exact(data.len() + h1::CHUNK_END.len());
        out.extend_from_slice(data);
        out.extend_from_slice(h1::CHUNK_END);
    }
}

/// Appends the end of a body in chunks.
pub(crate) fn push_last_chunk(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers);
    out.extend_from_slice(b"\r\n");
}

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
use crate::limits;

/// Source of a body's data.
pub(crate) trait BodySource {
    /// Takes the data that has come, which [`data`](Self::data) has until the next call.
    fn take(&mut self) -> Result<BodyPart, Failure>;

    /// Waits for more.
    async fn fill(&mut self) -> Result<(), Failure>;

    /// Reads what has come meanwhile, without waiting. Whether there is any.
    fn fill_now(&mut self) -> bool {
        false
    }

    /// Lets other tasks of the core run.
    async fn yield_now(&self);

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
    if !transforms.is_empty() {
        return copy_transformed(source, transforms, sink, on_sent).await;
    }
    loop {
        let part = source.take()?;
        let data = source.data();
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

/// Moves a body in steps, between which other tasks of the core run. Output is sent when there is enough for
/// a write, and before each wait for more.
async fn copy_transformed(
    source: &mut impl BodySource,
    transforms: &mut BodyTransforms,
    sink: &mut impl BodySink,
    mut on_sent: impl FnMut(usize),
) -> Result<(), Failure> {
    let (mut out, mut fills_now) = (Vec::new(), 0);
    loop {
        let part = source.take()?;
        for at in (0..source.data().len()).step_by(limits::TRANSFORM_STEP_BYTES) {
            let data = source.data();
            let step = &data[at..data.len().min(at + limits::TRANSFORM_STEP_BYTES)];
            let is_last = part == BodyPart::Last && at + step.len() == data.len();
            transforms.on_data(step, &mut out).map_err(transform_failed)?;
            if !is_last {
                if out.len() >= limits::TRANSFORMED_BYTES {
                    sink.write(&out).await?;
                    on_sent(out.len());
                    out.clear();
                }
                source.yield_now().await;
            }
        }
        if part == BodyPart::Last {
            transforms.on_end(&mut out).map_err(transform_failed)?;
            sink.finish(&out, source.trailers()).await?;
            on_sent(out.len());
            return Ok(());
        }
        if fills_now < limits::TRANSFORM_FILLS_MAX && source.fill_now() {
            fills_now += 1;
            continue;
        }
        fills_now = 0;
        transforms.on_pause(&mut out).map_err(transform_failed)?;
        // The first write sends the head too, which is not to wait for the body.
        sink.write(&out).await?;
        on_sent(out.len());
        out.clear();
        source.fill().await?;
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

#[cfg(test)]
#[path = "body_pipe_tests.rs"]
mod tests;

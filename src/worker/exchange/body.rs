//! Bodies as data, without the framing of the connections that they travel on.
//!
//! ```text
//! BodySource ─ take: data that has come; fill: waits for more ─► data ─► BodySink ─ write, finish with trailers
//! ```
//! The path of a body whose framing changes, or whose bytes a stage sees. All others are passed through in their own
//! framing, or spliced.

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

/// Moves a body from its source to its sink. `on_data` is called for each part that was sent.
pub(crate) async fn copy(
    source: &mut impl BodySource,
    sink: &mut impl BodySink,
    mut on_data: impl FnMut(usize),
) -> Result<(), Failure> {
    loop {
        let part = source.take()?;
        match part {
            BodyPart::Inner => sink.write(source.data()).await?,
            BodyPart::Last => sink.finish(source.data(), source.trailers()).await?,
        }
        on_data(source.data().len());
        match part {
            BodyPart::Inner => source.fill().await?,
            BodyPart::Last => return Ok(()),
        }
    }
}

//! Framing of a response body that is read as data.

use ringway_wire::h1::{BodyState, ChunkMode, ChunkedBody};
use ringway_wire::message::Framing;

use crate::exchange::body_pipe::BodyPart;
use crate::exchange::failure::Failure;

/// Framing of the data that is still to come.
pub(crate) enum BodyDecoder {
    Length(u64),
    Chunked(ChunkedBody),
    UntilClose,
    /// The endpoint has ended its connection, and so the body.
    Closed,
}

/// Part of a body: data at the front of the bytes, and behind it the lines of trailers.
pub(crate) struct Decoded {
    pub(crate) data: usize,
    pub(crate) trailers: usize,
    /// Bytes that were taken; the others are needed again, with more behind them.
    pub(crate) taken: usize,
    pub(crate) part: BodyPart,
}

impl BodyDecoder {
    /// Decoder of a body in `framing`.
    pub(crate) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Empty => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(ChunkedBody::new(ChunkMode::Separate)),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Takes the next part, and moves its data to the front of `bytes`.
    ///
    /// # Errors
    /// The framing is malformed.
    pub(crate) fn take(&mut self, bytes: &mut [u8]) -> Result<Decoded, Failure> {
        let (data, trailers, taken, part) = match self {
            Self::Length(left) => {
                let count = (*left).min(bytes.len() as u64) as usize;
                *left -= count as u64;
                (count, 0, count, if *left == 0 { BodyPart::Last } else { BodyPart::Inner })
            }
            Self::Chunked(chunked) => {
                let fed = chunked.feed(bytes).map_err(Failure::ResponseBodyMalformed)?;
                let part = match fed.state {
                    BodyState::More => BodyPart::Inner,
                    BodyState::Done => BodyPart::Last,
                };
                (fed.kept - fed.trailers, fed.trailers, fed.consumed, part)
            }
            Self::UntilClose => (bytes.len(), 0, bytes.len(), BodyPart::Inner),
            Self::Closed => (0, 0, 0, BodyPart::Last),
        };
        Ok(Decoded { data, trailers, taken, part })
    }

    /// Notes that the endpoint has ended its connection, which is the end of some bodies.
    ///
    /// # Errors
    /// The body is incomplete.
    pub(crate) fn close(&mut self) -> Result<(), Failure> {
        match self {
            Self::UntilClose => {
                *self = Self::Closed;
                Ok(())
            }
            Self::Length(_) | Self::Chunked(_) | Self::Closed => Err(Failure::ResponseCut),
        }
    }
}

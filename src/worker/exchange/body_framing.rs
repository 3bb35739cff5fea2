//! Framing of a response's body towards the client.

use ringway_middleware::BodyTransforms;
use ringway_wire::h1::{self, BodyState, ChunkMode, ChunkedBody, OutFraming};
use ringway_wire::message::{Framing, Version};

/// Framing of a body as it is sent, by the framing that it came with and the client's version.
pub(crate) enum BodyFraming {
    /// No body.
    Nothing,
    /// As long as announced.
    Length(u64),
    /// In chunks, as they came.
    Chunks(ChunkedBody),
    /// Until the end on both sides: for HTTP/1.0.
    UntilClose,
    /// As data, in another framing than it came with.
    Reframed(SinkFraming),
}

/// Framing of data that is sent to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SinkFraming {
    /// In chunks, so that a cut body does not look complete.
    Chunked,
    /// Without framing, until the end: for HTTP/1.0.
    UntilClose,
}

impl BodyFraming {
    /// Framing for a client of this version, of a body that came in `framing`. A body that is transformed
    /// has no known length.
    pub(crate) fn of(framing: Framing, version: Version, transforms: &BodyTransforms) -> Self {
        match (framing, version) {
            (Framing::Length(_) | Framing::Chunked | Framing::UntilClose, _) if !transforms.is_empty() => {
                Self::Reframed(match version {
                    Version::Http11 => SinkFraming::Chunked,
                    Version::Http10 => SinkFraming::UntilClose,
                })
            }
            (Framing::Empty, _) => Self::Nothing,
            (Framing::Length(length), _) => Self::Length(length),
            (Framing::Chunked, Version::Http11) => Self::Chunks(ChunkedBody::new(ChunkMode::Forward)),
            (Framing::Chunked, Version::Http10) => Self::Reframed(SinkFraming::UntilClose),
            (Framing::UntilClose, Version::Http11) => Self::Reframed(SinkFraming::Chunked),
            (Framing::UntilClose, Version::Http10) => Self::UntilClose,
        }
    }

    /// Framing to announce in the head.
    pub(crate) fn announced(&self) -> OutFraming {
        match self {
            Self::Nothing | Self::Length(_) | Self::Chunks(_) => OutFraming::AsReceived,
            Self::Reframed(SinkFraming::Chunked) => OutFraming::Chunked,
            Self::UntilClose | Self::Reframed(SinkFraming::UntilClose) => OutFraming::None,
        }
    }

    /// Whether the body ends with the client's connection.
    pub(crate) fn ends_with_connection(&self) -> bool {
        matches!(self, Self::UntilClose | Self::Reframed(SinkFraming::UntilClose))
    }

    /// Judges `bytes` of a body that passes through: how much of it can be sent, and how much belongs to this
    /// body. Chunk framing is normalised in place.
    ///
    /// # Errors
    /// The chunk framing is invalid.
    pub(crate) fn take(&mut self, bytes: &mut [u8]) -> Result<Taken, h1::BodyError> {
        let all = bytes.len();
        Ok(match self {
            Self::Nothing => Taken { kept: 0, consumed: 0, done: true },
            Self::Length(left) => {
                let taken = (*left).min(all as u64);
                *left -= taken;
                Taken { kept: taken as usize, consumed: taken as usize, done: *left == 0 }
            }
            Self::Chunks(chunked) => {
                let fed = chunked.feed(bytes)?;
                Taken { kept: fed.kept, consumed: fed.consumed, done: fed.state == BodyState::Done }
            }
            Self::UntilClose | Self::Reframed(_) => Taken { kept: all, consumed: all, done: false },
        })
    }
}

/// Parts of the bytes that came.
pub(crate) struct Taken {
    /// Bytes to send, from the front.
    pub(crate) kept: usize,
    /// Bytes that belong to the body.
    pub(crate) consumed: usize,
    /// The body is complete.
    pub(crate) done: bool,
}

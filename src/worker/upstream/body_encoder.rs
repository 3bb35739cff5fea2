//! The framing of a response's body: how it came, and how it leaves, given what the client understands.

use ringway_wire::h1::{self, BodyState, ChunkMode, ChunkedBody, OutFraming};
use ringway_wire::message::{Framing, Version};

/// How the body leaves, given how it came and what the client understands.
pub(super) enum Outgoing {
    /// No body.
    Nothing,
    /// As long as announced.
    Length(u64),
    /// In chunks, as they come.
    Chunks(ChunkedBody),
    /// Came in chunks, leaves without framing until the end: for HTTP/1.0.
    Unchunked(ChunkedBody),
    /// Came until the end, leaves in chunks, so that the client can tell a whole body from a cut one.
    IntoChunks,
    /// Until the end on both sides: for HTTP/1.0.
    UntilClose,
}

impl Outgoing {
    /// Of a body that came in `framing`, for a client of this version.
    pub(super) fn of(framing: Framing, version: Version) -> Self {
        match (framing, version) {
            (Framing::Empty, _) => Self::Nothing,
            (Framing::Length(length), _) => Self::Length(length),
            (Framing::Chunked, Version::Http11) => Self::Chunks(ChunkedBody::new(ChunkMode::Forward)),
            (Framing::Chunked, Version::Http10) => Self::Unchunked(ChunkedBody::new(ChunkMode::Decode)),
            (Framing::UntilClose, Version::Http11) => Self::IntoChunks,
            (Framing::UntilClose, Version::Http10) => Self::UntilClose,
        }
    }

    /// The framing to announce.
    pub(super) fn framing(&self) -> OutFraming {
        match self {
            Self::Nothing | Self::Length(_) | Self::Chunks(_) => OutFraming::AsReceived,
            Self::IntoChunks => OutFraming::Chunked,
            Self::Unchunked(_) | Self::UntilClose => OutFraming::None,
        }
    }

    /// The client can tell the end of the body by the end of its connection only.
    pub(super) fn ends_with_connection(&self) -> bool {
        matches!(self, Self::Unchunked(_) | Self::UntilClose)
    }

    /// How much of `bytes` can go out as it stands, and how much of it belongs to this body. Chunk framing is put in its normal
    /// form, or taken off, in place.
    ///
    /// # Errors
    /// The chunks are none.
    pub(super) fn take(&mut self, bytes: &mut [u8]) -> Result<Taken, h1::BodyError> {
        let all = bytes.len();
        Ok(match self {
            Self::Nothing => Taken { kept: 0, consumed: 0, done: true },
            Self::Length(left) => {
                let taken = (*left).min(all as u64);
                *left -= taken;
                Taken { kept: taken as usize, consumed: taken as usize, done: *left == 0 }
            }
            Self::Chunks(chunked) | Self::Unchunked(chunked) => {
                let fed = chunked.feed(bytes)?;
                Taken { kept: fed.kept, consumed: fed.consumed, done: fed.state == BodyState::Done }
            }
            Self::IntoChunks | Self::UntilClose => Taken { kept: all, consumed: all, done: false },
        })
    }
}

/// What is to be done with the bytes that came.
pub(super) struct Taken {
    /// So many go out, from the front.
    pub(super) kept: usize,
    /// So many belong to the body.
    pub(super) consumed: usize,
    /// The body is whole.
    pub(super) done: bool,
}

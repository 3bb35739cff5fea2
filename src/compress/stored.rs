//! Compression of a body that is stored whole, in bounded steps.

use crate::encoder::EncodeError;
use crate::limits::STEP_BYTES;
use crate::pool::PooledEncoder;

/// Compression of a stored body. The caller yields to other tasks between its steps.
#[derive(Debug)]
pub struct StoredBody<'a, B> {
    encoder: PooledEncoder,
    chunks: &'a [B],
    /// Bytes of the first chunk that were encoded.
    taken: usize,
}

/// Progress of a [`StoredBody`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "without all steps the coded body is not complete"]
pub enum Progress {
    /// Another step is to be made.
    Inner,
    /// The coded body is complete.
    Done,
}

impl<'a, B: AsRef<[u8]>> StoredBody<'a, B> {
    /// Begins to compress the body that consists of `chunks`.
    pub fn new(encoder: PooledEncoder, chunks: &'a [B]) -> Self {
        Self { encoder, chunks, taken: 0 }
    }

    /// Encodes at most [`STEP_BYTES`] and appends the coded bytes, if any, to `out`.
    ///
    /// # Errors
    /// The body cannot be encoded; it is to be sent as it is.
    pub fn step(&mut self, out: &mut Vec<u8>) -> Result<Progress, EncodeError> {
        let Some((first, behind)) = self.chunks.split_first() else {
            self.encoder.finish(out)?;
            return Ok(Progress::Done);
        };
        let rest = &first.as_ref()[self.taken..];
        let step = &rest[..rest.len().min(STEP_BYTES)];
        self.encoder.write(step, out)?;
        self.taken += step.len();
        if self.taken == first.as_ref().len() {
            (self.chunks, self.taken) = (behind, 0);
        }
        Ok(Progress::Inner)
    }
}

#[cfg(test)]
#[path = "stored_tests.rs"]
mod tests;

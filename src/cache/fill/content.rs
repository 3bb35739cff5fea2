//! Content of a response while it arrives: whole chunks, and the pieces of the last one.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::limits::CHUNK_BYTES;

/// Content so far. All chunks have [`CHUNK_BYTES`]; the pieces are a part of the next one.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Chunks that were forgotten.
    forgotten: u64,
    chunks: VecDeque<Bytes>,
    pieces: Vec<(u64, Bytes)>,
    len: u64,
}

impl Content {
    /// Length so far, with what was forgotten.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Offset of the first byte that is still here.
    pub(super) fn start(&self) -> u64 {
        self.forgotten * CHUNK
    }

    /// Appends a piece of the chunk that is arriving.
    pub(super) fn push_piece(&mut self, piece: Bytes) {
        let at = self.len;
        self.len += piece.len() as u64;
        self.pieces.push((at, piece));
    }

    /// Replaces the pieces by the whole chunk, and returns them.
    pub(super) fn push_chunk(&mut self, chunk: Bytes) -> Vec<(u64, Bytes)> {
        self.len = (self.forgotten + self.chunks.len() as u64) * CHUNK + chunk.len() as u64;
        self.chunks.push_back(chunk);
        std::mem::take(&mut self.pieces)
    }

    /// Copies the pieces of the chunk that is arriving.
    pub(super) fn pieces(&self) -> Vec<Bytes> {
        self.pieces.iter().map(|(_, piece)| piece.clone()).collect()
    }

    /// Copies the chunks, if none was forgotten.
    pub(super) fn chunks(&self) -> Option<Vec<Bytes>> {
        (self.forgotten == 0).then(|| self.chunks.iter().cloned().collect())
    }

    /// Bytes from an offset on, to the end of their chunk or piece at most; `None` where there are none.
    pub(super) fn read(&self, at: u64) -> Option<Bytes> {
        let number = (at / CHUNK).checked_sub(self.forgotten)?;
        let (start, bytes) = match self.chunks.get(usize::try_from(number).ok()?) {
            Some(chunk) => (at / CHUNK * CHUNK, chunk),
            None => {
                let next = self.pieces.partition_point(|(start, _)| *start <= at);
                let (start, piece) = self.pieces.get(next.checked_sub(1)?)?;
                (*start, piece)
            }
        };
        let offset = usize::try_from(at - start).ok().filter(|offset| *offset < bytes.len())?;
        Some(bytes.slice(offset..))
    }

    /// Takes out the chunks before an offset.
    pub(super) fn forget(&mut self, before: u64) -> Vec<Bytes> {
        let count = (before / CHUNK).saturating_sub(self.forgotten);
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(self.chunks.len());
        self.forgotten += count as u64;
        self.chunks.drain(..count).collect()
    }

    /// Bytes that are here.
    pub(super) fn kept(&self) -> u64 {
        self.len - self.start()
    }
}

/// Length of a chunk as an offset.
const CHUNK: u64 = CHUNK_BYTES as u64;

#[cfg(all(test, not(loom)))]
#[path = "content_tests.rs"]
mod tests;

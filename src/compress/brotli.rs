//! Encoder of brotli (RFC 7932), small and incremental.
//!
//! ```text
//! write ─► Matches: literals and copies, as the data comes ─► commands ─┐ at 64 KiB, flush, end
//!                                                                       ▼
//!                              meta-block: three prefix codes, then the commands; stored if that is smaller
//! ```
//! It has one block type of each kind and no literal contexts, and leaves the static dictionary alone: a
//! tenth of the code and tables of the reference encoder, for about the sizes of gzip at its level 6.

mod bits;
mod commands;
mod matches;
mod prefix_code;

use bits::BitWriter;
use commands::{Command, Distances};
use matches::Matches;

use crate::limits::WINDOW_BITS;

/// 64 KiB: data of one meta-block, so that four nibbles have its length.
const BLOCK_BYTES: usize = 64 * 1024;

/// State of an encoder.
#[derive(Debug, Default)]
pub(crate) struct Brotli {
    matches: Matches,
    commands: Vec<Command>,
    distances: Distances,
    /// Last distances before the commands.
    distances_before: Distances,
    bits: BitWriter,
    has_begun: bool,
}

impl Brotli {
    pub(crate) fn write(&mut self, mut data: &[u8], out: &mut Vec<u8>) {
        while !data.is_empty() {
            let room = BLOCK_BYTES - self.matches.pending();
            let (now, later) = data.split_at(room.min(data.len()));
            self.matches.push(now, &mut self.distances, &mut self.commands);
            if self.matches.pending() == BLOCK_BYTES {
                self.end_block(out);
            }
            data = later;
        }
    }

    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) {
        self.end_block(out);
        // An empty block of metadata, which ends at a whole byte: not last, no nibbles, reserved, no length.
        if self.bits.has_rest() {
            self.bits.put(out, 6, 0b00_0110);
            self.bits.pad(out);
        }
    }

    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
        self.end_block(out);
        // Last and empty.
        self.bits.put(out, 2, 0b11);
        self.bits.pad(out);
    }

    pub(crate) fn reset(&mut self) {
        self.matches.reset();
        self.commands.clear();
        (self.distances, self.distances_before) = (Distances::default(), Distances::default());
        self.bits = BitWriter::default();
        self.has_begun = false;
    }

    /// Writes the header of the stream: the size of the window.
    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.has_begun, true) {
            const { assert!(WINDOW_BITS == 17, "the code of another window differs") }
            self.bits.put(out, 7, 1);
        }
    }

    /// Writes a meta-block of all data that was taken in.
    fn end_block(&mut self, out: &mut Vec<u8>) {
        if self.matches.pending() == 0 {
            return;
        }
        self.begin(out);
        self.matches.end_block(&mut self.commands);
        let data = self.matches.block();
        let (bits_before, length_before) = (self.bits, out.len());
        put_length(&mut self.bits, out, data.len());
        // Compressed.
        self.bits.put(out, 1, 0);
        commands::put(&mut self.bits, out, &self.commands, data);
        if out.len() - length_before > data.len() {
            out.truncate(length_before);
            self.bits = bits_before;
            put_length(&mut self.bits, out, data.len());
            self.bits.put(out, 1, 1);
            self.bits.pad(out);
            out.extend_from_slice(data);
            // Copies that were not sent leave no distances behind.
            self.distances = self.distances_before;
        }
        self.commands.clear();
        self.distances_before = self.distances;
        self.matches.next_block();
    }
}

/// Writes the head of a meta-block that is not the last one.
fn put_length(bits: &mut BitWriter, out: &mut Vec<u8>, length: usize) {
    bits.put(out, 3, 0);
    bits.put(out, 16, length as u64 - 1);
}

#[cfg(test)]
#[path = "brotli_tests.rs"]
mod tests;

//! Search for repeated strings in the window, as data comes.

use super::BLOCK_BYTES;
use super::commands::{Command, Distances};
use crate::limits::WINDOW_BITS;

/// Longest distance of a copy (RFC 7932 §9.1).
const DISTANCE_MAX: usize = (1 << WINDOW_BITS) - 16;
/// Bytes that are hashed.
const HASHED_BYTES: usize = 5;
/// Logarithm of the number of buckets: 256 KiB with their places.
const BUCKET_BITS: u32 = 14;
/// Places of one bucket: the last positions with its hash.
const PLACES: usize = 4;
/// Shortest copy from a distance that is not among the last ones.
const COPY_MIN: usize = 5;
/// Shortest copy from one of the last distances, which costs few bits.
const NEAR_COPY_MIN: usize = 3;
/// Length from which on a copy is taken without a look at the next byte.
const COPY_GOOD: usize = 32;
/// Bytes of a copy that are entered into the table at most: the rest repeats.
const ENTERED_MAX: usize = 128;

/// Window, and table of the positions in it.
#[derive(Debug)]
pub(super) struct Matches {
    /// Data of the window, then that of the block.
    data: Vec<u8>,
    /// Begin of the block in `data`.
    block: usize,
    /// Begin of the literals that no command has yet.
    literals: usize,
    /// Position from which on nothing was searched.
    next: usize,
    /// Position of the first byte of `data` in the stream, modulo 2^32.
    base: u32,
    /// By hash the last positions in the stream, the newest first.
    table: Box<[[u32; PLACES]]>,
}

/// Copy that was found.
#[derive(Clone, Copy)]
struct Found {
    length: usize,
    distance: usize,
    /// Gain, in quarters of a bit or so: only comparisons count.
    score: usize,
}

impl Default for Matches {
    fn default() -> Self {
        Self {
            data: Vec::new(),
            block: 0,
            literals: 0,
            next: 0,
            base: FIRST,
            table: vec![[0; PLACES]; 1 << BUCKET_BITS].into_boxed_slice(),
        }
    }
}

/// Position of the first byte: no entry of an empty table is within its window.
const FIRST: u32 = 1 << 30;

impl Matches {
    /// Forgets everything.
    pub(super) fn reset(&mut self) {
        self.data.clear();
        (self.block, self.literals, self.next, self.base) = (0, 0, 0, FIRST);
        self.table.fill([0; PLACES]);
    }

    /// Bytes of the block.
    pub(super) fn pending(&self) -> usize {
        self.data.len() - self.block
    }

    /// Data of the block.
    pub(super) fn block(&self) -> &[u8] {
        &self.data[self.block..]
    }

    /// Takes data of the block in, and appends the commands that are found.
    pub(super) fn push(&mut self, data: &[u8], distances: &mut Distances, commands: &mut Vec<Command>) {
        if self.data.capacity() == 0 {
            self.data.reserve_exact(2 * (1 << WINDOW_BITS) + BLOCK_BYTES);
        }
        self.data.extend_from_slice(data);
        let mut at = self.next;
        // Fast over data without copies: one more byte is skipped after each 32 literals.
        while at + HASHED_BYTES <= self.data.len() {
            let Some(mut found) = self.find(at, distances) else {
                at += 1 + ((at - self.literals) >> 5);
                continue;
            };
            while found.length < COPY_GOOD
                && at + 1 + HASHED_BYTES <= self.data.len()
                && let Some(later) = self.find(at + 1, distances)
                && later.score > found.score + 16
            {
                at += 1;
                found = later;
            }
            commands.push(Command {
                literals: (at - self.literals) as u32,
                length: found.length as u32,
                distance: distances.code(found.distance as u32),
            });
            let end = at + found.length;
            let entered = end.min(at + ENTERED_MAX).min(self.data.len().saturating_sub(HASHED_BYTES - 1));
            for position in at + 1..entered {
                self.enter(position);
            }
            (at, self.literals) = (end, end);
        }
        self.next = at;
    }

    /// Ends the block: its last literals become a command without a copy.
    pub(super) fn end_block(&mut self, commands: &mut Vec<Command>) {
        let literals = self.data.len() - self.literals;
        if literals > 0 {
            commands.push(Command { literals: literals as u32, length: 0, distance: 0 });
        }
        self.literals = self.data.len();
        self.next = self.next.max(self.data.len());
    }

    /// Begins the next block, and lets go of data beyond the window now and then.
    pub(super) fn next_block(&mut self) {
        self.block = self.data.len();
        if self.block > 2 * (1 << WINDOW_BITS) {
            let gone = self.block - (1 << WINDOW_BITS);
            self.data.copy_within(gone.., 0);
            self.data.truncate(1 << WINDOW_BITS);
            self.base = self.base.wrapping_add(gone as u32);
            for position in [&mut self.block, &mut self.literals, &mut self.next] {
                *position -= gone;
            }
        }
    }

    /// The best copy at a position, which is entered into the table.
    fn find(&mut self, at: usize, distances: &Distances) -> Option<Found> {
        let mut best: Option<Found> = None;
        for (rank, distance) in distances.last().into_iter().enumerate() {
            let distance = distance as usize;
            if distance > at {
                continue;
            }
            let length = self.common(at - distance, at);
            let score = length * 32 + 24 - rank * 6;
            if length >= NEAR_COPY_MIN && best.is_none_or(|best| score > best.score) {
                best = Some(Found { length, distance, score });
            }
        }
        let position = self.base.wrapping_add(at as u32);
        for entry in self.table[self.bucket(at)] {
            let distance = position.wrapping_sub(entry) as usize;
            if distance == 0 {
                // A look ahead has entered it.
                continue;
            }
            if distance > at.min(DISTANCE_MAX) {
                break;
            }
            let length = self.common(at - distance, at);
            let bits = distance.ilog2() as usize;
            let score = (length * 32).saturating_sub(bits * 5);
            if length >= COPY_MIN && best.is_none_or(|best| score > best.score) {
                best = Some(Found { length, distance, score });
            }
        }
        self.enter(at);
        best
    }

    fn enter(&mut self, at: usize) {
        let position = self.base.wrapping_add(at as u32);
        let bucket = self.bucket(at);
        let places = &mut self.table[bucket];
        if places[0] != position {
            places.copy_within(..PLACES - 1, 1);
            places[0] = position;
        }
    }

    fn bucket(&self, at: usize) -> usize {
        let mut bytes = [0; 8];
        bytes[..HASHED_BYTES].copy_from_slice(&self.data[at..at + HASHED_BYTES]);
        (u64::from_le_bytes(bytes).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BUCKET_BITS)) as usize
    }

    /// Number of equal bytes from two positions on.
    fn common(&self, from: usize, at: usize) -> usize {
        let (left, right) = (&self.data[from..], &self.data[at..]);
        let mut length = 0;
        for (one, two) in left.as_chunks::<8>().0.iter().zip(right.as_chunks::<8>().0) {
            let differs = u64::from_le_bytes(*one) ^ u64::from_le_bytes(*two);
            if differs != 0 {
                return length + differs.trailing_zeros() as usize / 8;
            }
            length += 8;
        }
        length + left[length..].iter().zip(&right[length..]).take_while(|(one, two)| one == two).count()
    }
}

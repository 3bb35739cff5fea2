//! Commands of a meta-block: literals, then a copy (RFC 7932 §4, §5).

use super::bits::BitWriter;
use super::prefix_code::PrefixCode;

/// Literals, and the copy behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) literals: u32,
    /// Length of the copy; 0 for the last command, which has none.
    pub(super) length: u32,
    /// Distance code: the index of one of the last distances, or the distance and 15.
    pub(super) distance: u32,
}

/// The last four distances, the newest first (RFC 7932 §4).
#[derive(Clone, Copy, Debug)]
pub(super) struct Distances([u32; 4]);

impl Default for Distances {
    fn default() -> Self {
        Self([4, 11, 15, 16])
    }
}

impl Distances {
    /// The distances.
    pub(super) fn last(&self) -> [u32; 4] {
        self.0
    }

    /// The code of a distance, which becomes the newest one.
    pub(super) fn code(&mut self, distance: u32) -> u32 {
        let known = self.0.iter().position(|last| *last == distance);
        if known != Some(0) {
            self.0.copy_within(..3, 1);
            self.0[0] = distance;
        }
        known.map_or(distance + 15, |at| at as u32)
    }
}

/// Symbol, and the bits behind it.
#[derive(Clone, Copy)]
struct Coded {
    symbol: u16,
    count: u32,
    bits: u64,
}

const LITERALS: usize = 256;
const LENGTHS: usize = 704;
const DISTANCES: usize = 64;

/// Bases of the codes of literals, and bits behind them (RFC 7932 §5).
const INSERT: [(u32, u32); 24] = [
    (0, 0),
    (1, 0),
    (2, 0),
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 1),
    (8, 1),
    (10, 2),
    (14, 2),
    (18, 3),
    (26, 3),
    (34, 4),
    (50, 4),
    (66, 5),
    (98, 5),
    (130, 6),
    (194, 7),
    (322, 8),
    (578, 9),
    (1090, 10),
    (2114, 12),
    (6210, 14),
    (22594, 24),
];

/// The same of lengths of copies.
const COPY: [(u32, u32); 24] = [
    (2, 0),
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 1),
    (12, 1),
    (14, 2),
    (18, 2),
    (22, 3),
    (30, 3),
    (38, 4),
    (54, 4),
    (70, 5),
    (102, 5),
    (134, 6),
    (198, 7),
    (326, 8),
    (582, 9),
    (1094, 10),
    (2118, 24),
];

/// Cells of the table of insert-and-copy lengths with explicit distances, by eighths of both codes.
const CELLS: [[u16; 3]; 3] = [[2, 3, 6], [4, 5, 8], [7, 9, 10]];

/// Writes the rest of a compressed meta-block behind its length: codes, then commands over `data`.
pub(super) fn put(bits: &mut BitWriter, out: &mut Vec<u8>, commands: &[Command], data: &[u8]) {
    let (mut literals, mut lengths, mut distances) = ([0; LITERALS], [0; LENGTHS], [0; DISTANCES]);
    let mut at = 0;
    for command in commands {
        let coded = command.coded();
        lengths[usize::from(coded.lengths.symbol)] += 1;
        if let Some(distance) = coded.distance {
            distances[usize::from(distance.symbol)] += 1;
        }
        for byte in &data[at..at + command.literals as usize] {
            literals[usize::from(*byte)] += 1;
        }
        at += (command.literals + command.length) as usize;
    }
    // One block type of each kind (3 bits), plain distances (6), a context mode (2), one tree each (2).
    bits.put(out, 13, 0);
    let literal_code = PrefixCode::new(&literals);
    let length_code = PrefixCode::new(&lengths);
    let distance_code = PrefixCode::new(&distances);
    for code in [&literal_code, &length_code, &distance_code] {
        code.put(bits, out);
    }
    let mut at = 0;
    for command in commands {
        let coded = command.coded();
        length_code.put_symbol(bits, out, coded.lengths.symbol.into());
        bits.put(out, coded.lengths.count, coded.lengths.bits);
        for byte in &data[at..at + command.literals as usize] {
            literal_code.put_symbol(bits, out, (*byte).into());
        }
        if let Some(distance) = coded.distance {
            distance_code.put_symbol(bits, out, distance.symbol.into());
            bits.put(out, distance.count, distance.bits);
        }
        at += (command.literals + command.length) as usize;
    }
}

/// A command in symbols.
struct CodedCommand {
    lengths: Coded,
    /// `None` where it is implied, or without a copy.
    distance: Option<Coded>,
}

impl Command {
    fn coded(&self) -> CodedCommand {
        let insert = index(&INSERT, self.literals);
        // Without a copy its length is not read: the shortest one.
        let copy = index(&COPY, self.length.max(COPY[0].0));
        let is_implied = self.length > 0 && self.distance == 0 && insert < 8 && copy < 16;
        let cell = match is_implied {
            true => (copy >> 3) as u16,
            false => CELLS[insert >> 3][copy >> 3],
        };
        let symbol = cell << 6 | ((insert & 7) << 3 | copy & 7) as u16;
        let ((insert_base, insert_bits), (copy_base, copy_bits)) = (INSERT[insert], COPY[copy]);
        let (insert_rest, copy_rest) = (self.literals - insert_base, self.length.max(COPY[0].0) - copy_base);
        CodedCommand {
            lengths: Coded {
                symbol,
                count: insert_bits + copy_bits,
                bits: u64::from(insert_rest) | u64::from(copy_rest) << insert_bits,
            },
            distance: (self.length > 0 && !is_implied).then(|| distance(self.distance)),
        }
    }
}

/// The last code whose base is at most `value`.
fn index(codes: &[(u32, u32); 24], value: u32) -> usize {
    codes.partition_point(|(base, _)| *base <= value).saturating_sub(1)
}

/// Symbol of a distance code, without direct distances and postfix bits (RFC 7932 §4).
fn distance(code: u32) -> Coded {
    if code < 16 {
        return Coded { symbol: code as u16, count: 0, bits: 0 };
    }
    let value = code - 12;
    let count = value.ilog2() - 1;
    let prefix = (value >> count) & 1;
    let symbol = (16 + 2 * (count - 1) + prefix) as u16;
    Coded { symbol, count, bits: u64::from(value - ((2 + prefix) << count)) }
}

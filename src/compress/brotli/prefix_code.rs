//! Prefix codes: built from counts, and written in the forms of RFC 7932 §3.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::bits::BitWriter;

/// Longest code (RFC 7932 §3.5).
const BITS_MAX: u8 = 15;
/// Longest code of the lengths of codes.
const LENGTH_BITS_MAX: u8 = 5;
/// Symbols of the code of lengths: 0 to 15, the last length repeated, zero repeated.
const LENGTH_SYMBOLS: usize = 18;
const REPEAT_LAST: u8 = 16;
const REPEAT_ZERO: u8 = 17;
/// Order in which the lengths of that code are written.
const LENGTH_ORDER: [usize; LENGTH_SYMBOLS] = [1, 2, 3, 4, 0, 5, 17, 6, 16, 7, 8, 9, 10, 11, 12, 13, 14, 15];
/// Fixed code of those lengths: number of bits, and bits.
const LENGTH_LENGTHS: [(u32, u64); 6] = [(2, 0), (4, 7), (3, 3), (2, 2), (2, 1), (4, 15)];

/// Prefix code of an alphabet.
pub(super) struct PrefixCode {
    /// By symbol the number of bits; 0 for those that do not occur, and for one that is alone.
    lengths: Vec<u8>,
    /// By symbol the bits, in the order in which they are written.
    codes: Vec<u16>,
    used: Vec<usize>,
}

impl PrefixCode {
    /// Returns a code for symbols with these counts.
    pub(super) fn new(counts: &[u32]) -> Self {
        let used: Vec<usize> = (0..counts.len()).filter(|symbol| counts[*symbol] > 0).collect();
        let lengths = lengths(counts, BITS_MAX);
        let codes = codes(&lengths);
        Self { lengths, codes, used }
    }

    pub(super) fn put_symbol(&self, bits: &mut BitWriter, out: &mut Vec<u8>, symbol: usize) {
        bits.put(out, self.lengths[symbol].into(), self.codes[symbol].into());
    }

    /// Writes the code itself.
    pub(super) fn put(&self, bits: &mut BitWriter, out: &mut Vec<u8>) {
        if self.used.len() <= 4 { self.put_simple(bits, out) } else { self.put_complex(bits, out) }
    }

    /// Writes up to four symbols (RFC 7932 §3.4).
    fn put_simple(&self, bits: &mut BitWriter, out: &mut Vec<u8>) {
        let mut symbols = self.used.clone();
        if symbols.is_empty() {
            symbols.push(0);
        }
        symbols.sort_by_key(|symbol| (self.lengths[*symbol], *symbol));
        let symbol_bits = usize::BITS - (self.lengths.len() - 1).leading_zeros();
        bits.put(out, 2, 1);
        bits.put(out, 2, symbols.len() as u64 - 1);
        for symbol in &symbols {
            bits.put(out, symbol_bits, *symbol as u64);
        }
        if symbols.len() == 4 {
            bits.put(out, 1, u64::from(self.lengths[symbols[0]] == 1));
        }
    }

    /// Writes the lengths of all symbols (RFC 7932 §3.5).
    fn put_complex(&self, bits: &mut BitWriter, out: &mut Vec<u8>) {
        let runs = runs(&self.lengths);
        let mut counts = [0; LENGTH_SYMBOLS];
        for (symbol, _) in &runs {
            counts[usize::from(*symbol)] += 1;
        }
        let is_alone = counts.iter().filter(|count| **count > 0).count() == 1;
        let mut depths = lengths(&counts, LENGTH_BITS_MAX);
        let written = match is_alone {
            true => {
                // Announced with one bit, and read with none.
                for (depth, count) in depths.iter_mut().zip(counts) {
                    *depth = u8::from(count > 0);
                }
                LENGTH_SYMBOLS
            }
            false => LENGTH_ORDER.iter().rposition(|at| depths[*at] > 0).map_or(0, |last| last + 1),
        };
        let skipped = match LENGTH_ORDER.iter().take_while(|at| depths[**at] == 0).count() {
            0 | 1 => 0,
            2 => 2,
            _ => 3,
        };
        bits.put(out, 2, skipped as u64);
        for at in &LENGTH_ORDER[skipped..written] {
            let (count, code) = LENGTH_LENGTHS[usize::from(depths[*at])];
            bits.put(out, count, code);
        }
        if is_alone {
            depths.fill(0);
        }
        let codes = codes(&depths);
        for (symbol, extra) in runs {
            let at = usize::from(symbol);
            bits.put(out, depths[at].into(), codes[at].into());
            match symbol {
                REPEAT_LAST => bits.put(out, 2, extra.into()),
                REPEAT_ZERO => bits.put(out, 3, extra.into()),
                _ => {}
            }
        }
    }
}

/// Lengths as symbols with their extra bits; zeros at the end are left out.
fn runs(lengths: &[u8]) -> Vec<(u8, u8)> {
    let used = lengths.iter().rposition(|length| *length > 0).map_or(0, |last| last + 1);
    let (mut runs, mut last) = (Vec::new(), 8);
    for run in lengths[..used].chunk_by(|one, two| one == two) {
        let (length, mut count) = (run[0], run.len());
        let (repeat, bits) = if length == 0 { (REPEAT_ZERO, 3) } else { (REPEAT_LAST, 2) };
        if length > 0 && length != last {
            runs.push((length, 0));
            count -= 1;
            last = length;
        }
        if count < 3 {
            runs.extend(std::iter::repeat_n((length, 0), count));
            continue;
        }
        // Successive repetitions are the digits of one number, the most significant one first.
        let (begin, mut left) = (runs.len(), count - 3);
        loop {
            runs.push((repeat, (left & ((1 << bits) - 1)) as u8));
            left >>= bits;
            if left == 0 {
                break;
            }
            left -= 1;
        }
        runs[begin..].reverse();
    }
    runs
}

/// Lengths of an optimal code, none longer than `max`.
fn lengths(counts: &[u32], max: u8) -> Vec<u8> {
    let mut lengths = vec![0; counts.len()];
    let used: Vec<usize> = (0..counts.len()).filter(|symbol| counts[*symbol] > 0).collect();
    if used.len() < 2 {
        return lengths;
    }
    // Rare symbols are counted more often until the tree is low enough.
    let mut least = 1;
    loop {
        let mut parents = vec![0; 2 * used.len() - 1];
        let mut heap: BinaryHeap<_> = used
            .iter()
            .enumerate()
            .map(|(node, symbol)| Reverse((counts[*symbol].max(least), node)))
            .collect();
        let mut next = used.len();
        while let Some(Reverse((one, left))) = heap.pop() {
            let Some(Reverse((two, right))) = heap.pop() else { break };
            (parents[left], parents[right]) = (next, next);
            heap.push(Reverse((one + two, next)));
            next += 1;
        }
        let mut depths = vec![0_u8; parents.len()];
        for node in (0..parents.len() - 1).rev() {
            depths[node] = depths[parents[node]] + 1;
        }
        if depths[..used.len()].iter().all(|depth| *depth <= max) {
            for (symbol, depth) in used.iter().zip(depths) {
                lengths[*symbol] = depth;
            }
            return lengths;
        }
        least *= 2;
    }
}

/// Canonical codes (RFC 7932 §3.2), with their first bit last.
fn codes(lengths: &[u8]) -> Vec<u16> {
    let mut counts = [0_u16; BITS_MAX as usize + 1];
    for length in lengths.iter().filter(|length| **length > 0) {
        counts[usize::from(*length)] += 1;
    }
    let (mut next, mut code) = ([0_u16; BITS_MAX as usize + 2], 0_u16);
    for length in 1..=usize::from(BITS_MAX) {
        code = (code + counts[length - 1]) << 1;
        next[length] = code;
    }
    let code = |length: &u8| {
        if *length == 0 {
            return 0;
        }
        let code = next[usize::from(*length)];
        next[usize::from(*length)] += 1;
        code.reverse_bits() >> (16 - u32::from(*length))
    };
    lengths.iter().map(code).collect()
}

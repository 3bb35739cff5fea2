//! Bits in the order of brotli: the least significant one first.

/// Writer of bits. Whole bytes go to the output at once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BitWriter {
    rest: u64,
    /// Bits of `rest`, fewer than eight between two calls.
    count: u32,
}

impl BitWriter {
    /// Writes the lowest `count` bits of `bits`, at most 56; the others are zero.
    pub(super) fn put(&mut self, out: &mut Vec<u8>, count: u32, bits: u64) {
        debug_assert!(count <= 56 && bits >> count == 0, "{bits} does not have {count} bits");
        self.rest |= bits << self.count;
        self.count += count;
        let whole = (self.count / 8) as usize;
        out.extend_from_slice(&self.rest.to_le_bytes()[..whole]);
        self.count %= 8;
        self.rest = if whole == 8 { 0 } else { self.rest >> (whole * 8) };
    }

    /// Fills the last byte with zeros.
    pub(super) fn pad(&mut self, out: &mut Vec<u8>) {
        if self.count > 0 {
            self.put(out, 8 - self.count, 0);
        }
    }

    /// Whether the last byte is not complete.
    pub(super) fn has_rest(&self) -> bool {
        self.count > 0
    }
}

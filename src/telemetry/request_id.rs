//! Request ids: unique, cheap and unpredictable.

use std::fmt;

use ringway_model::limits;

/// Generator of the request ids of one core. About 10 ns each, without allocation.
///
/// An id is 16 hex digits of a random number that the core drew at its start, and 16 of a counter passed
/// through a keyed bijection: unique on the core for 2^64 requests, and a client cannot derive from its own
/// ids the number of requests between them or the ids of others.
#[derive(Debug)]
pub struct RequestIds {
    prefix: [u8; 16],
    keys: [u64; 2],
    counter: u64,
}

impl RequestIds {
    /// Draws the core's random numbers from the operating system.
    pub fn new() -> Self {
        let draw = |word: u64| ahash::RandomState::new().hash_one(word);
        Self::from_parts(draw(1), [draw(2), draw(3)])
    }

    /// Creates a generator from given numbers, for tests and simulations.
    pub fn from_parts(prefix: u64, keys: [u64; 2]) -> Self {
        Self { prefix: hex(prefix), keys, counter: 0 }
    }

    /// Returns the next id.
    #[inline]
    pub fn draw(&mut self) -> RequestId {
        self.counter = self.counter.wrapping_add(1);
        let low = mix(self.counter.wrapping_add(self.keys[0])) ^ self.keys[1];
        let mut text = [0; RequestId::BYTES];
        text[..16].copy_from_slice(&self.prefix);
        text[16..].copy_from_slice(&hex(low));
        RequestId(text)
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

/// Generated request id: 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; RequestId::BYTES]);

impl RequestId {
    /// Length of the text in bytes.
    pub const BYTES: usize = 32;

    /// Returns the id as text.
    #[inline]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hex digits are ASCII")
    }

    /// Returns the id as ASCII bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

/// Returns whether an id from a trusted proxy is accepted: 1 to [`limits::REQUEST_ID_BYTES_MAX`] bytes of
/// `A-Z a-z 0-9 - _ . : @ / + =`. UUIDs, ULIDs, base64 and trace ids are valid, and no id needs escaping.
pub fn is_valid_request_id(text: &[u8]) -> bool {
    let plain = |b: &u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'@' | b'/' | b'+' | b'=')
    };
    (1..=limits::REQUEST_ID_BYTES_MAX).contains(&text.len()) && text.iter().all(plain)
}

/// Finalizer of SplitMix64: a bijection on 64 bits in which every input bit affects all output bits.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Formats a number as 16 lower-case hex digits.
#[inline]
pub(crate) fn hex(value: u64) -> [u8; 16] {
    // Spreads one digit to each byte, the first to the highest; then adds `0`, and 39 more for a to f.
    let mut digits = u128::from(value);
    digits = ((digits << 32) | digits) & 0x0000_0000_ffff_ffff_0000_0000_ffff_ffff;
    digits = ((digits << 16) | digits) & 0x0000_ffff_0000_ffff_0000_ffff_0000_ffff;
    digits = ((digits << 8) | digits) & 0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff;
    digits = ((digits << 4) | digits) & (ONES * 0x0f);
    let letters = ((digits + ONES * 6) >> 4) & ONES;
    (digits + ONES * u128::from(b'0') + letters * 39).to_be_bytes()
}

const ONES: u128 = u128::from_ne_bytes([1; 16]);

pub(crate) const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_unique_valid_and_not_in_sequence() {
        let mut ids = RequestIds::from_parts(0x0123_4567_89ab_cdef, [5, 6]);
        let drawn: Vec<RequestId> = (0..10_000).map(|_| ids.draw()).collect();
        assert_eq!(drawn.iter().collect::<HashSet<_>>().len(), drawn.len());
        for id in &drawn {
            assert!(id.as_str().starts_with("0123456789abcdef"));
            assert!(is_valid_request_id(id.as_bytes()));
        }
        let low = |id: &RequestId| u64::from_str_radix(&id.as_str()[16..], 16).expect("hex");
        let steps: HashSet<u64> = drawn.windows(2).map(|w| low(&w[1]).wrapping_sub(low(&w[0]))).collect();
        assert!(steps.len() > 9_990, "the step between two ids must not repeat: {}", steps.len());
    }

    #[test]
    fn hex_equals_the_formatter_of_std() {
        for value in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX, 0xa0f9_9f0a_0000_00ff] {
            assert_eq!(hex(value), *format!("{value:016x}").as_bytes());
        }
    }

    #[test]
    fn cores_do_not_share_a_prefix() {
        let prefixes: HashSet<String> =
            (0..64).map(|_| RequestIds::new().draw().as_str()[..16].to_owned()).collect();
        assert_eq!(prefixes.len(), 64);
    }

    #[test]
    fn only_ids_that_need_no_escaping_are_accepted() {
        for id in [
            "7f6e2c1e-3e0b-4d0a-9d2e-2f0f3b1a7a55",
            "req_abc123",
            "Root=1-67891233-abcdef012345678912345678",
            "a",
            "YWJj+/==",
        ] {
            assert!(is_valid_request_id(id.as_bytes()), "{id}");
        }
        for id in ["", "a b", "a\r\nX: y", "a\"b", "a;b", "a\u{e9}", "a\0"] {
            assert!(!is_valid_request_id(id.as_bytes()), "{id:?}");
        }
        let longest = vec![b'a'; limits::REQUEST_ID_BYTES_MAX];
        assert!(is_valid_request_id(&longest));
        assert!(!is_valid_request_id(&[&longest[..], b"a"].concat()));
    }
}

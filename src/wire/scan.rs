//! Search in bytes, eight at a time.
//!
//! A class of bytes is a function from a [`Word`] to its flags: the high bit of each byte that belongs to it.
//! Flags are exact, so the lowest one is the answer; no carry reaches a neighbour.

/// Eight bytes; the first one has the lowest bits.
pub(crate) type Word = u64;

/// 0x01 in every byte.
const ONES: Word = Word::MAX / 255;
/// The high bit of every byte.
pub(crate) const HIGHS: Word = ONES << 7;

/// Flags the bytes from `bound` on; `bound` is 1 to 128.
pub(crate) const fn at_least(word: Word, bound: u8) -> Word {
    (((word & !HIGHS) + ONES * (0x80 - bound as Word)) | word) & HIGHS
}

/// Flags the bytes below `bound`, which is 1 to 128.
pub(crate) const fn below(word: Word, bound: u8) -> Word {
    at_least(word, bound) ^ HIGHS
}

/// Flags the bytes that are `byte`.
pub(crate) const fn equal(word: Word, byte: u8) -> Word {
    let difference = word ^ (ONES * byte as Word);
    at_least(difference, 1) ^ HIGHS
}

/// Flags the bytes from `low` to `high`, which are 1 to 126.
pub(crate) const fn between(word: Word, low: u8, high: u8) -> Word {
    let sevens = word & !HIGHS;
    let from_low = sevens + ONES * (0x80 - low as Word);
    let above_high = sevens + ONES * (0x7f - high as Word);
    (from_low ^ above_high) & !word & HIGHS
}

/// Flags the letters of ASCII.
pub(crate) const fn letters(word: Word) -> Word {
    between(word | (ONES * 0x20), b'a', b'z')
}

/// Flags the control bytes of ASCII, with HTAB and DEL.
pub(crate) const fn controls(word: Word) -> Word {
    let sevens = word & !HIGHS;
    let from_space = sevens + ONES * (0x80 - b' ' as Word);
    let is_del = sevens + ONES;
    (!from_space | is_del) & !word & HIGHS
}

/// Turns the flagged letters into lower case.
pub(crate) const fn lower_case(word: Word, letters: Word) -> Word {
    word | (letters >> 2)
}

/// Returns the position of the first flag; 8 if there is none.
pub(crate) const fn position(flags: Word) -> usize {
    (flags.trailing_zeros() / 8) as usize
}

/// Keeps the first `len` bytes, at most 7, and clears the others.
pub(crate) const fn truncate(word: Word, len: usize) -> Word {
    word & ((1 << (8 * len)) - 1)
}

/// Returns the offset of the first byte in the class, or the length if there is none.
#[inline]
pub(crate) fn first(bytes: &[u8], class: impl Fn(Word) -> Word) -> usize {
    let (chunks, rest) = bytes.as_chunks::<8>();
    for (i, chunk) in chunks.iter().enumerate() {
        let flags = class(Word::from_le_bytes(*chunk));
        if flags != 0 {
            return 8 * i + position(flags);
        }
    }
    if rest.is_empty() {
        return bytes.len();
    }
    // The last eight bytes: those that were seen before have no flag.
    if let Some(chunk) = bytes.last_chunk::<8>() {
        return bytes.len() - 8 + position(class(Word::from_le_bytes(*chunk)));
    }
    let word = rest.iter().rev().fold(0, |word, byte| word << 8 | Word::from(*byte));
    position(class(word)).min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flagged(flags: Word, byte: usize) -> bool {
        flags >> (8 * byte) & 0xff == 0x80
    }

    #[test]
    fn flags_are_exact_for_every_byte_beside_every_other() {
        for byte in 0..=u8::MAX {
            for other in 0..=u8::MAX {
                let word = Word::from_le_bytes([other, byte, other, 0, byte, u8::MAX, byte, other]);
                for (at, value) in word.to_le_bytes().into_iter().enumerate() {
                    for bound in [1, 0x20, 0x21, 0x7f, 0x80] {
                        assert_eq!(flagged(at_least(word, bound), at), value >= bound, "{word:x} {bound}");
                        assert_eq!(flagged(below(word, bound), at), value < bound, "{word:x} {bound}");
                    }
                    for wanted in [0, b'#', 0x7f, 0x80, u8::MAX] {
                        assert_eq!(flagged(equal(word, wanted), at), value == wanted, "{word:x} {wanted}");
                    }
                    for (low, high) in [(b'!', b'~'), (b'a', b'z'), (1, 1)] {
                        let expected = (low..=high).contains(&value);
                        assert_eq!(flagged(between(word, low, high), at), expected, "{word:x} {low}");
                    }
                    assert_eq!(flagged(letters(word), at), value.is_ascii_alphabetic(), "{word:x}");
                    assert_eq!(flagged(controls(word), at), value.is_ascii_control(), "{word:x}");
                }
                assert_eq!(
                    lower_case(word, letters(word)).to_le_bytes(),
                    word.to_le_bytes().map(|byte| byte.to_ascii_lowercase())
                );
            }
        }
    }

    #[test]
    fn the_first_byte_is_found_at_every_offset_of_every_length() {
        for len in 0..40 {
            let mut bytes = vec![b'x'; len];
            assert_eq!(first(&bytes, |word| equal(word, 0)), len);
            assert_eq!(first(&bytes, |word| equal(word, b'#')), len);
            for at in (0..len).rev() {
                bytes[at] = b'#';
                assert_eq!(first(&bytes, |word| equal(word, b'#')), at);
                // Bytes beyond the end are in no class.
                assert_eq!(first(&bytes[..at], |word| below(word, 0x20)), at);
            }
        }
    }

    #[test]
    fn words_are_cut() {
        for len in 0..8 {
            let mut bytes = *b"abcdefgh";
            bytes[len..].fill(0);
            assert_eq!(truncate(Word::from_le_bytes(*b"abcdefgh"), len), Word::from_le_bytes(bytes));
        }
    }
}

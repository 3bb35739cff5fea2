//! `Range` of requests (RFC 9110 §14.2) for one stored body.

use std::ops::Range;

/// Ranges that a request asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RangeRequest {
    /// None: no field, an invalid one, or a unit other than bytes, which is ignored.
    #[default]
    None,
    /// One range.
    One(ByteRange),
    /// Several ranges, which are answered with the whole body: their parts could overlap without end.
    Several,
}

/// One range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// `first-last`, both included.
    FromTo(u64, u64),
    /// `first-`
    From(u64),
    /// `-count`: the last bytes.
    Last(u64),
}

impl RangeRequest {
    /// Parses the value of `Range`.
    pub fn parse(value: &[u8]) -> Self {
        let Some((unit, set)) = value.split_at_checked("bytes=".len()) else { return Self::None };
        if !unit.eq_ignore_ascii_case(b"bytes=") {
            return Self::None;
        }
        let mut ranges =
            set.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|one| !one.is_empty());
        let Some(first) = ranges.next().and_then(ByteRange::parse) else { return Self::None };
        let mut count = 1;
        for one in ranges {
            if ByteRange::parse(one).is_none() {
                return Self::None;
            }
            count += 1;
        }
        if count > 1 { Self::Several } else { Self::One(first) }
    }
}

impl ByteRange {
    fn parse(text: &[u8]) -> Option<Self> {
        let dash = text.iter().position(|byte| *byte == b'-')?;
        let (first, last) = (&text[..dash], &text[dash + 1..]);
        match (first.is_empty(), last.is_empty()) {
            (true, true) => None,
            (true, false) => Some(Self::Last(number(last)?)),
            (false, true) => Some(Self::From(number(first)?)),
            (false, false) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::FromTo(first, last))
            }
        }
    }

    /// Returns the bytes of a body of this length that the range selects; `None` if there are none, which is
    /// 416 (RFC 9110 §14.1.2).
    pub fn resolve(self, len: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::FromTo(first, last) => first..last.saturating_add(1).min(len),
            Self::From(first) => first..len,
            Self::Last(count) => len.saturating_sub(count)..len,
        };
        (range.start < range.end).then_some(range)
    }
}

/// Parses a position. More than 64 bits are beyond every body.
fn number(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(
        digits.iter().fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))),
    )
}

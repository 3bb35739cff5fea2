//! `Accept-Encoding` reduced to the codings that caches and compression know (RFC 9110 §12.5.3).
//!
//! Browsers and tools send dozens of spellings of one wish. With a cache, the reduced one is part of the key
//! and is what the origin gets, so that a resource has eight variants at most.

use ringway_wire::headers::list_elements;

/// Set of content codings that a client accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Codings(u8);

impl Codings {
    /// `zstd`
    pub const ZSTD: Self = Self(1);
    /// `br`
    pub const BR: Self = Self(2);
    /// `gzip`
    pub const GZIP: Self = Self(4);

    /// Reads all lines of `Accept-Encoding`. Without one, a client would accept any coding; here it gets
    /// none, for clients that do not ask often cannot decode.
    pub fn parse<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut accepted, mut refused, mut accepts_others) = (0, 0, false);
        for element in values.flat_map(list_elements) {
            let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            let is_accepted = !parts.any(is_zero_or_invalid_weight);
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            let coding = if is("gzip") || is("x-gzip") {
                Self::GZIP
            } else if is("br") {
                Self::BR
            } else if is("zstd") {
                Self::ZSTD
            } else {
                accepts_others |= name == b"*" && is_accepted;
                continue;
            };
            *(if is_accepted { &mut accepted } else { &mut refused }) |= coding.0;
        }
        let others = if accepts_others { Self::ZSTD.0 | Self::BR.0 | Self::GZIP.0 } else { 0 };
        Self((accepted | others) & !refused)
    }

    /// Returns whether all codings of another set are in this one.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns whether no coding is accepted.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The value of `Accept-Encoding` for the origin; `None` for the empty set, which is no field at all.
    pub fn value(self) -> Option<&'static str> {
        const VALUES: [&str; 8] =
            ["", "zstd", "br", "zstd, br", "gzip", "zstd, gzip", "br, gzip", "zstd, br, gzip"];
        VALUES.get(usize::from(self.0)).copied().filter(|value| !value.is_empty())
    }
}

/// `q=0`, `q=0.0`, and weights that are none (RFC 9110 §12.4.2).
fn is_zero_or_invalid_weight(parameter: &[u8]) -> bool {
    let [b'q' | b'Q', b'=', weight @ ..] = parameter else { return false };
    match weight {
        [b'0' | b'1'] => weight == b"0",
        [b'0', b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => {
            digits.iter().all(|digit| *digit == b'0')
        }
        [b'1', b'.', zeros @ ..] if zeros.len() <= 3 && zeros.iter().all(|zero| *zero == b'0') => false,
        _ => true,
    }
}

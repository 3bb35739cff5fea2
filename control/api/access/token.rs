//! Bearer tokens, kept as their SHA-256 digests.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};

use crate::limits::{API_TOKEN_BYTES_MAX, API_TOKEN_BYTES_MIN};

/// SHA-256 digest of a token. Plain, without salt: tokens are random, not passwords that people choose.
#[derive(Clone, Copy)]
pub struct TokenDigest([u8; SHA256_OUTPUT_LEN]);

impl TokenDigest {
    /// Digest of a token.
    pub fn of(token: &[u8]) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest(&SHA256, token).as_ref());
        Self(bytes)
    }

    /// Parses `sha256:` and 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        if digits.len() != 2 * SHA256_OUTPUT_LEN || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// Compares in a time that does not depend on the digests.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(..)")
    }
}

const PREFIX: &str = "sha256:";

/// The single token of the API, which permits everything. Only its digest is kept.
#[derive(Clone, Copy, Debug)]
pub struct Token(TokenDigest);

impl Token {
    /// Parses a token of `API_TOKEN_BYTES_MIN` to `API_TOKEN_BYTES_MAX` visible ASCII characters.
    ///
    /// # Errors
    /// [`TokenError`], which does not repeat the token.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.len() < API_TOKEN_BYTES_MIN {
            return Err(TokenError::TooShort);
        }
        if text.len() > API_TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        match text.bytes().all(|b| b.is_ascii_graphic()) {
            true => Ok(Self(TokenDigest::of(text.as_bytes()))),
            false => Err(TokenError::Character),
        }
    }

    /// Whether `given` is the digest of this token, in constant time.
    pub(crate) fn matches(&self, given: &TokenDigest) -> bool {
        self.0.matches(given)
    }
}

/// Parse error of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Shorter than `API_TOKEN_BYTES_MIN`.
    TooShort,
    /// Longer than `API_TOKEN_BYTES_MAX`.
    TooLong,
    /// A space, a control or a non-ASCII character.
    Character,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => write!(f, "the API token must have at least {API_TOKEN_BYTES_MIN} characters"),
            Self::TooLong => write!(f, "the API token must have at most {API_TOKEN_BYTES_MAX} characters"),
            Self::Character => f.write_str("the API token must be visible ASCII without spaces"),
        }
    }
}

impl std::error::Error for TokenError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    #[test]
    fn tokens_have_a_least_length_and_stay_secret() {
        assert_eq!(Token::parse(&TOKEN[1..]).unwrap_err(), TokenError::TooShort);
        assert_eq!(Token::parse(&"x".repeat(API_TOKEN_BYTES_MAX + 1)).unwrap_err(), TokenError::TooLong);
        assert_eq!(Token::parse("0123456789abcde\n").unwrap_err(), TokenError::Character);
        assert!(!format!("{:?}", Token::parse(TOKEN).unwrap()).contains("9f9f"), "not even the digest");
    }

    #[test]
    fn tokens_match_whole_or_not_at_all() {
        let token = Token::parse(TOKEN).unwrap();
        assert!(token.matches(&TokenDigest::of(TOKEN.as_bytes())));
        let doubled = TOKEN.repeat(2);
        for wrong in ["", "0", &TOKEN[..15], "0123456789abcdeF", &doubled, "0123456789abcdef0"] {
            assert!(!token.matches(&TokenDigest::of(wrong.as_bytes())), "{wrong}");
        }
    }

    #[test]
    fn digests_are_read_as_they_are_written() {
        // FIPS 180-2, example of "abc".
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(TokenDigest::of(b"abc").to_string(), text);
        assert!(TokenDigest::parse(text).unwrap().matches(&TokenDigest::of(b"abc")));
        assert!(TokenDigest::parse(&text.to_uppercase().replace("SHA256", "sha256")).is_some());
        for wrong in [&text[..70], &text[7..], &format!("{text}0"), &text.replace('b', "g"), "", "sha256:"] {
            assert!(TokenDigest::parse(wrong).is_none(), "{wrong}");
        }
    }
}

//! Normalisation of request paths, for hosts whose rules match by path.
//!
//! Two spellings of one path must not lead to two rules, and an endpoint must not read a path otherwise than
//! the rule that matched it. A path is therefore normalised once, or refused, and later code uses nothing
//! but the result:
//!
//! | received                                   | result                                        |
//! |--------------------------------------------|-----------------------------------------------|
//! | `%41`, an escaped unreserved byte          | `A` (RFC 3986 §6.2.2.2)                       |
//! | `%c3`                                      | `%C3` (RFC 3986 §6.2.2.1)                     |
//! | `/a/./b`, `/a/../b`                        | `/a/b`, `/b` (RFC 3986 §5.2.4)                |
//! | `//`                                       | `/`, or as received: [`Slashes`]              |
//! | `/..`, above the root                      | refused                                       |
//! | `/..;x`, a dot segment with a parameter    | refused: servlet containers resolve it        |
//! | escaped `/`, `\`, `;`, `?`, `#` or NUL     | refused: some endpoints decode them first     |
//! | `\`                                        | refused: some endpoints take it for `/`       |
//! | `%`, `%zz`                                 | refused: `%%32f` would become an escaped `/`  |
//!
//! The result is a fixed point: normalised again, it stays the same.

use std::fmt;

/// Handling of empty segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slashes {
    /// `//` becomes `/`, as most servers read it.
    #[default]
    Merge,
    /// Empty segments are kept, for endpoints whose paths contain others, such as URLs.
    Keep,
}

/// Reason why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathError {
    /// An escaped `/`, `\`, `;`, `?`, `#` or NUL.
    EscapedDelimiter,
    /// A backslash.
    Backslash,
    /// `%` without two hexadecimal digits.
    BadEscape,
    /// `..` above the root.
    AboveRoot,
    /// A dot segment with a parameter, `..;x`.
    DotParameter,
    /// Some servers read it as a path that is protected otherwise. Normalisation does not return it.
    OtherGuard,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EscapedDelimiter => "the path has an escaped / \\ ; ? # or NUL",
            Self::Backslash => "the path has a backslash",
            Self::BadEscape => "the path has a % without two hexadecimal digits",
            Self::AboveRoot => "the path leads above the root",
            Self::DotParameter => "the path has a dot segment with a parameter",
            Self::OtherGuard => "some servers read the path as one that is protected otherwise",
        })
    }
}

impl std::error::Error for PathError {}

/// Whether a path is in its normal form beyond doubt. One pass without escapes, dot segments and empty
/// segments; `false` may need no change all the same.
pub fn is_plain(path: &[u8]) -> bool {
    let mut previous = 0;
    for &byte in path {
        let is_suspect = match byte {
            b'%' | b'\\' => true,
            b'/' | b'.' => previous == b'/',
            _ => false,
        };
        if is_suspect {
            return false;
        }
        previous = byte;
    }
    true
}

/// Appends the normal form of `path`, which begins with `/` and is visible ASCII, to `out`.
///
/// Cost: linear; no allocation while `out` has room.
///
/// # Errors
/// [`PathError`]; `out` has a part of the path then.
pub fn normalize(out: &mut String, path: &str, slashes: Slashes) -> Result<(), PathError> {
    let root = out.len();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        let start = out.len();
        out.push('/');
        push_unescaped(out, segment)?;
        let (dots, parameter) = match out[start + 1..].split_once(';') {
            Some((dots, _)) => (dots, true),
            None => (&out[start + 1..], false),
        };
        let keep = match dots {
            "." | ".." if parameter => return Err(PathError::DotParameter),
            "." => start,
            ".." if start == root => return Err(PathError::AboveRoot),
            ".." => root + out[root..start].rfind('/').ok_or(PathError::AboveRoot)?,
            "" if !parameter && !is_last && slashes == Slashes::Merge => start,
            _ => continue,
        };
        out.truncate(keep);
        // The path of a folder ends in a slash: `/a/.` is `/a/`.
        if is_last {
            out.push('/');
        }
    }
    Ok(())
}

/// Whether a byte never needs an escape (RFC 3986 §2.3).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Appends a segment without the escapes that it does not need.
fn push_unescaped(out: &mut String, segment: &str) -> Result<(), PathError> {
    let mut rest = segment;
    while let Some(at) = rest.find(['%', '\\']) {
        let (plain, escape) = rest.split_at(at);
        out.push_str(plain);
        if escape.starts_with('\\') {
            return Err(PathError::Backslash);
        }
        let [_, high, low, ..] = escape.as_bytes() else { return Err(PathError::BadEscape) };
        let (Some(high), Some(low)) = (hex(*high), hex(*low)) else { return Err(PathError::BadEscape) };
        match high << 4 | low {
            b'/' | b'\\' | b';' | b'?' | b'#' | 0 => return Err(PathError::EscapedDelimiter),
            byte if is_unreserved(byte) => out.push(byte.into()),
            _ => {
                out.push('%');
                out.extend([high, low].map(|digit| char::from(HEX[usize::from(digit)])));
            }
        }
        rest = &escape[3..];
    }
    out.push_str(rest);
    Ok(())
}

/// Value of a hexadecimal digit.
pub fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;

//! Keys of entries: length-prefixed bytes, kept with the entry and compared whole.
//!
//! ```text
//! primary: 0 ‖ scope ‖ is_https ‖ port ‖ host ‖ target ‖ pool ‖ values of vary_headers
//! variant: 1 ‖ length of the primary key ‖ primary key ‖ generation ‖ values of Vary
//! ```
//! Every part has its length before it, so that no two requests with different parts have the same bytes. The
//! method is no part: HEAD reads the entry of GET.

use std::fmt;

use crate::limits::KEY_BYTES_MAX;

/// Number of a scope: one route of one tenant. Entries of different scopes never have the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeId(pub u32);

/// Parts of a primary key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyParts<'a> {
    /// Route and tenant.
    pub scope: ScopeId,
    /// Scheme of the request: https, or http.
    pub is_https: bool,
    /// Port of the request, or the scheme's.
    pub port: u16,
    /// Normalised host: lower case, no trailing dot.
    pub host: &'a str,
    /// Path and query as sent to the origin.
    pub target: &'a [u8],
    /// Pool that the request was assigned to, if the route has several; otherwise empty.
    pub pool: &'a str,
}

/// Key that cannot be made; the request bypasses the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// It has more than [`KEY_BYTES_MAX`] bytes.
    TooLong,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("target and varying fields are too long for a cache key")
    }
}

impl std::error::Error for KeyError {}

/// First byte of a key.
const PRIMARY: u8 = 0;
const VARIANT: u8 = 1;

/// Writes a primary key into `out`, which is cleared. `varying` are the values of the route's `vary_headers`,
/// in their order; `None` for an absent field, which differs from an empty one.
///
/// Cost: copies; no allocation once `out` has grown.
///
/// # Errors
/// [`KeyError`]; `out` is empty then.
pub fn write_key<'a>(
    out: &mut Vec<u8>,
    parts: &KeyParts<'_>,
    varying: impl Iterator<Item = Option<&'a [u8]>>,
) -> Result<(), KeyError> {
    out.clear();
    out.push(PRIMARY);
    out.extend_from_slice(&parts.scope.0.to_le_bytes());
    out.push(u8::from(parts.is_https));
    out.extend_from_slice(&parts.port.to_le_bytes());
    push(out, parts.host.as_bytes());
    push(out, parts.target);
    push(out, parts.pool.as_bytes());
    push_values(out, varying);
    check(out)
}

/// Writes the key of a variant into `out`, which is cleared. `generation` is the one of the marker that the
/// primary key holds: with a new marker, all variants of the former one are out of reach.
///
/// # Errors
/// [`KeyError`]; `out` is empty then.
pub fn write_variant_key<'a>(
    out: &mut Vec<u8>,
    primary: &[u8],
    generation: u64,
    values: impl Iterator<Item = Option<&'a [u8]>>,
) -> Result<(), KeyError> {
    out.clear();
    out.push(VARIANT);
    push(out, primary);
    out.extend_from_slice(&generation.to_le_bytes());
    push_values(out, values);
    check(out)
}

impl<'a> KeyParts<'a> {
    /// Reads the parts of a key: a primary one, or that of a variant. `None` for other bytes.
    pub fn parse(key: &'a [u8]) -> Option<Self> {
        let mut rest = match key.split_first()? {
            (&PRIMARY, rest) => rest,
            (&VARIANT, mut rest) => take(&mut rest)?.strip_prefix(&[PRIMARY])?,
            _ => return None,
        };
        let (scope, after) = rest.split_first_chunk::<4>()?;
        let (&is_https, after) = after.split_first()?;
        let (port, after) = after.split_first_chunk::<2>()?;
        rest = after;
        Some(Self {
            scope: ScopeId(u32::from_le_bytes(*scope)),
            is_https: is_https != 0,
            port: u16::from_le_bytes(*port),
            host: std::str::from_utf8(take(&mut rest)?).ok()?,
            target: take(&mut rest)?,
            pool: std::str::from_utf8(take(&mut rest)?).ok()?,
        })
    }
}

/// Length of an absent value: no value of a key is that long.
const ABSENT: u32 = u32::MAX;

fn push(out: &mut Vec<u8>, part: &[u8]) {
    // Only a key that `check` refuses has a longer part.
    let len = u32::try_from(part.len()).unwrap_or(ABSENT);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(part);
}

fn push_values<'a>(out: &mut Vec<u8>, values: impl Iterator<Item = Option<&'a [u8]>>) {
    for value in values {
        match value {
            Some(value) => push(out, value),
            None => out.extend_from_slice(&ABSENT.to_le_bytes()),
        }
    }
}

fn check(out: &mut Vec<u8>) -> Result<(), KeyError> {
    if out.len() > KEY_BYTES_MAX {
        out.clear();
        return Err(KeyError::TooLong);
    }
    Ok(())
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, after) = rest.split_first_chunk::<4>()?;
    let (part, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *rest = after;
    Some(part)
}

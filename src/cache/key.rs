//! Keys of entries: length-prefixed bytes, kept with the entry and compared whole.
//!
//! ```text
//! primary: 0 ‖ scope ‖ is_https ‖ port ‖ host ‖ target ‖ pool ‖ values of vary_headers
//! variant: 1 ‖ length of the primary key ‖ primary key ‖ generation ‖ values of Vary
//! ```
//! Every part has its length before it, so that no two requests with different parts have the same bytes. The
//! method is no part: HEAD reads the entry of GET.

use std::fmt;

use crate::fields::FieldSource;
use crate::limits::KEY_BYTES_MAX;
use crate::settings::Settings;
use crate::vary::push_value;

/// Number of a scope: one route of one tenant. Entries of different scopes never have the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeId(pub u32);

/// Parts of a primary key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyParts<'a> {
    /// Route and tenant.
    pub scope: ScopeId,
    /// Scheme as sent to the origin: https, or http.
    pub is_https: bool,
    /// Port as sent to the origin, or the scheme's.
    pub port: u16,
    /// Host as sent to the origin, normalised: lower case, no trailing dot.
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

/// Writes a primary key into `out`, which is cleared. `source` are the request's fields as sent to the
/// origin, for the route's `vary_headers`; an absent field differs from an empty one.
///
/// Cost: copies; no allocation once `out` has grown.
///
/// # Errors
/// [`KeyError`]; `out` is empty then.
pub fn write_key<'a>(
    out: &mut Vec<u8>,
    parts: &KeyParts<'_>,
    settings: &Settings,
    source: impl FieldSource<'a>,
) -> Result<(), KeyError> {
    out.clear();
    out.push(PRIMARY);
    out.extend_from_slice(&parts.scope.0.to_le_bytes());
    out.push(u8::from(parts.is_https));
    out.extend_from_slice(&parts.port.to_le_bytes());
    push(out, parts.host.as_bytes());
    push_with(out, |out| write_key_target(out, parts.target, settings));
    push(out, parts.pool.as_bytes());
    for name in &settings.vary_headers {
        push_value(out, name, source, settings.mode);
    }
    check(out)
}

/// Appends a target as keys have it: with `sort_query` and `ignore_params`, its query in normal form,
/// otherwise as it is. Parameters of one name keep their order, which may have a meaning.
pub fn write_key_target(out: &mut Vec<u8>, target: &[u8], settings: &Settings) {
    let is_raw = !settings.sorts_query && settings.ignored_params.is_empty();
    let query_at = target.iter().position(|byte| *byte == b'?').filter(|_| !is_raw);
    let Some(query_at) = query_at else { return out.extend_from_slice(target) };
    out.extend_from_slice(&target[..query_at]);
    let name_of = |param: &[u8]| param.iter().position(|byte| *byte == b'=').unwrap_or(param.len());
    let kept = || {
        target[query_at + 1..].split(|byte| *byte == b'&').filter(|param| {
            let name = &param[..name_of(param)];
            !settings.ignored_params.iter().any(|ignored| ignored.as_bytes() == name)
        })
    };
    let mut sorted: [&[u8]; SORTED_PARAMS_MAX] = [&[]; SORTED_PARAMS_MAX];
    let mut count = 0;
    for param in kept() {
        if let Some(slot) = sorted.get_mut(count) {
            *slot = param;
        }
        count += 1;
    }
    let mut separator = b'?';
    let mut write = |param: &[u8]| {
        out.push(separator);
        out.extend_from_slice(param);
        separator = b'&';
    };
    match sorted.get_mut(..count) {
        Some(sorted) if settings.sorts_query => {
            // Insertion is stable, and needs no memory.
            for at in 1..sorted.len() {
                let mut at = at;
                while at > 0 && sorted[at][..name_of(sorted[at])] < sorted[at - 1][..name_of(sorted[at - 1])]
                {
                    sorted.swap(at, at - 1);
                    at -= 1;
                }
            }
            sorted.iter().for_each(|param| write(param));
        }
        _ => kept().for_each(write),
    }
}

/// Parameters that are sorted; a longer query keeps its order.
const SORTED_PARAMS_MAX: usize = 64;

/// Begins the key of a variant, whose values follow.
pub(crate) fn begin_variant_key(out: &mut Vec<u8>, primary: &[u8], generation: u64) {
    out.clear();
    out.push(VARIANT);
    push(out, primary);
    out.extend_from_slice(&generation.to_le_bytes());
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
    push_with(out, |out| out.extend_from_slice(part));
}

/// Appends a part that `write` appends, with its length before it.
pub(crate) fn push_with(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    // Only a key that `check` refuses has a longer part.
    let len = u32::try_from(out.len() - start - 4).unwrap_or(ABSENT);
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

/// Appends an absent value.
pub(crate) fn push_absent(out: &mut Vec<u8>) {
    out.extend_from_slice(&ABSENT.to_le_bytes());
}

pub(crate) fn check(out: &mut Vec<u8>) -> Result<(), KeyError> {
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

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;

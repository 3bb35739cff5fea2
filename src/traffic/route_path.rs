//! Paths that a configuration names: their normal form, in which they are compared with those of requests.

use std::fmt;
use std::sync::Arc;

use ringway_wire::path::{self, PathError, Slashes};

/// Reason why a path of a route is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoutePathError {
    /// It does not begin with a slash.
    NoSlash,
    /// It has a query or a fragment.
    NotOnlyPath,
    /// No request can have it.
    Unreachable(PathError),
}

impl fmt::Display for RoutePathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlash => f.write_str("does not begin with /"),
            Self::NotOnlyPath => f.write_str("has a ? or a #; conditions on the query stand in `query`"),
            Self::Unreachable(error) => write!(f, "cannot be requested: {error}"),
        }
    }
}

impl std::error::Error for RoutePathError {}

/// Returns the normal form of a path: as for requests, and with escapes for bytes that need them in a
/// request, such as spaces and other than ASCII ones.
pub(crate) fn normal(text: &str, slashes: Slashes) -> Result<Arc<str>, RoutePathError> {
    if !text.starts_with('/') {
        return Err(RoutePathError::NoSlash);
    }
    if text.contains(['?', '#']) {
        return Err(RoutePathError::NotOnlyPath);
    }
    let escaped = text.bytes().fold(String::with_capacity(text.len()), |mut escaped, byte| {
        match byte {
            b'!'..=b'~' => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
        escaped
    });
    let mut normal = String::with_capacity(escaped.len());
    path::normalize(&mut normal, &escaped, slashes).map_err(RoutePathError::Unreachable)?;
    Ok(normal.into())
}

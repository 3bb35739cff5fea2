//! How an instance's health is asked for and told.

use std::fmt;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use crate::limits;

/// How to find out whether an instance is well. Absent values fall back to the process's defaults.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct HealthCheck {
    /// What to ask.
    pub probe: Probe,
    /// Time between two checks, [`limits::HEALTH_INTERVAL_MIN`] to [`limits::HEALTH_INTERVAL_MAX`].
    pub interval: Option<Duration>,
    /// How long one check may take; never longer than the interval.
    pub timeout: Option<Duration>,
    /// Consecutive failures that make an instance unhealthy.
    pub unhealthy_threshold: Option<NonZeroU8>,
    /// Consecutive successes that make it healthy again.
    pub healthy_threshold: Option<NonZeroU8>,
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub enum Probe {
    /// Does it accept a TCP connection?
    #[default]
    Tcp,
    /// Does `GET path` answer with a status from 200 to 399?
    Http(Arc<str>),
}

impl Probe {
    /// An HTTP probe of `path`: origin-form, visible ASCII, at most [`limits::HEALTH_PATH_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// It is not of that form.
    pub fn http(path: &str) -> Result<Self, HealthCheckError> {
        if !path.starts_with('/') {
            return Err(HealthCheckError::PathStart);
        }
        if path.len() > limits::HEALTH_PATH_BYTES_MAX {
            return Err(HealthCheckError::PathLength);
        }
        if !path.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
            return Err(HealthCheckError::PathCharacter);
        }
        Ok(Self::Http(path.into()))
    }
}

/// Why a health check cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthCheckError {
    /// The path does not begin with `/`.
    PathStart,
    /// The path is longer than [`limits::HEALTH_PATH_BYTES_MAX`].
    PathLength,
    /// The path has a space, a control or non-ASCII character, or `#`.
    PathCharacter,
}

impl fmt::Display for HealthCheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PathStart => f.write_str("must begin with / as in /health"),
            Self::PathLength => write!(f, "must not be longer than {} bytes", limits::HEALTH_PATH_BYTES_MAX),
            Self::PathCharacter => {
                f.write_str("must be visible ASCII without #; percent-encode anything else")
            }
        }
    }
}

impl std::error::Error for HealthCheckError {}

/// What active checks and leases say about an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// Not checked yet: takes traffic, so that a registration is live at once.
    Unknown,
    /// In rotation.
    Healthy,
    /// Out of rotation.
    Unhealthy,
}

impl Health {
    /// The word that the API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_probes_take_paths_only() {
        assert_eq!(Probe::http("/health?full=1"), Ok(Probe::Http("/health?full=1".into())));
        assert_eq!(Probe::http("health"), Err(HealthCheckError::PathStart));
        assert_eq!(Probe::http("/a b"), Err(HealthCheckError::PathCharacter));
        assert_eq!(Probe::http("/a\r\nX: y"), Err(HealthCheckError::PathCharacter));
        let longest = "/".repeat(limits::HEALTH_PATH_BYTES_MAX);
        assert!(Probe::http(&longest).is_ok());
        assert_eq!(Probe::http(&format!("{longest}a")), Err(HealthCheckError::PathLength));
    }
}

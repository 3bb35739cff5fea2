//! Check of uploaded certificates, before they are stored.

use std::fmt;

use ringway_model::{Hostname, Timestamp};
use ringway_tls::{Identity, IdentityError};

use crate::files::Pair;
use crate::host::PublishError;

/// Reason for a refused upload. Nothing has changed then, except with [`UploadError::NotLive`].
#[derive(Debug)]
#[non_exhaustive]
pub enum UploadError {
    /// No such domain is registered.
    UnknownDomain,
    /// The domain's certificate is not `provided`.
    NotProvided,
    /// It is not a certificate with its key.
    Invalid(IdentityError),
    /// It covers other names only.
    WrongName {
        /// Name that it must cover.
        host: Hostname,
        /// Names that it covers.
        names: Vec<String>,
    },
    /// Its extended key usage excludes servers.
    NotForServers,
    /// It has expired.
    Expired(Timestamp),
    /// It is not valid yet.
    NotYetValid(Timestamp),
    /// It could not be stored; reason and remedy.
    NotStored(String),
    /// The disk queue is full.
    Busy,
    /// It is stored, but not every core has acknowledged it yet.
    NotLive(PublishError),
}

/// Checks an upload, and returns the pair to store. Pure.
pub(crate) fn check_upload(
    host: &Hostname,
    chain: &[u8],
    key: &[u8],
    now: Timestamp,
) -> Result<(Pair, Identity), UploadError> {
    // Checked again after filtering: dropped sections must not have counted, and the kept ones are those
    // served.
    Identity::from_pem(chain, key).map_err(UploadError::Invalid)?;
    let pair = Pair::from_pem(chain, key);
    let identity = Identity::from_pem(&pair.chain, &pair.key).map_err(UploadError::Invalid)?;
    let facts = identity.facts();
    if !facts.covers(host.as_str()) {
        return Err(UploadError::WrongName { host: host.clone(), names: facts.names.clone() });
    }
    if !facts.for_servers {
        return Err(UploadError::NotForServers);
    }
    if now > facts.not_after {
        return Err(UploadError::Expired(facts.not_after));
    }
    if now < facts.not_before {
        return Err(UploadError::NotYetValid(facts.not_before));
    }
    Ok((pair, identity))
}

impl fmt::Display for UploadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownDomain => f.write_str("no such domain is registered"),
            Self::NotProvided => {
                f.write_str("the certificate of this domain is not `provided`: set `certificate` to `provided` first")
            }
            Self::Invalid(error) => error.fmt(f),
            Self::WrongName { host, names } => {
                match names.is_empty() {
                true => write!(f, "certificate: it names no host (subjectAltName); it must name {host}"),
                false => write!(f, "certificate: it does not cover {host}, only {}", Names(names)),
            }
            }
            Self::NotForServers => f.write_str(
                "certificate: its extended key usage does not allow servers (serverAuth), so clients would reject it",
            ),
            Self::Expired(at) => write!(f, "certificate: it has expired on {}", at.to_http_date()),
            Self::NotYetValid(at) => write!(f, "certificate: it is not valid before {}", at.to_http_date()),
            Self::NotStored(reason) => write!(f, "it could not be stored: {reason}"),
            Self::Busy => f.write_str("too many certificates wait to be stored; try again in a moment"),
            Self::NotLive(reason) => write!(f, "it is stored but not live on every core yet: {reason}"),
        }
    }
}

impl std::error::Error for UploadError {}

/// The first few of many names.
struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Enough to recognise a certificate.
        const SHOWN_MAX: usize = 5;
        for (index, name) in self.0.iter().take(SHOWN_MAX).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", name.escape_debug())?;
        }
        match self.0.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;

//! Certificates that are handed to us: what is refused, and why, before anything is stored.

use std::fmt;

use ringway_model::{Hostname, Timestamp};
use ringway_tls::{Identity, IdentityError};

use crate::files::Pair;
use crate::host::Unpublished;

/// Why an upload was refused. Nothing has changed then, but for [`UploadError::NotLive`].
#[derive(Debug)]
#[non_exhaustive]
pub enum UploadError {
    /// No such domain is registered.
    UnknownDomain,
    /// The domain's certificate is not `provided`.
    NotProvided,
    /// It is no certificate with its key.
    Invalid(IdentityError),
    /// It is for other names.
    WrongName {
        /// What it should cover.
        host: Hostname,
        /// What it covers.
        names: Vec<String>,
    },
    /// It says that servers may not use it.
    NotForServers,
    /// It is past its end.
    Expired(Timestamp),
    /// It is not valid yet.
    NotYetValid(Timestamp),
    /// It could not be stored; why, and what to do.
    NotStored(String),
    /// Too much waits for the disk.
    Busy,
    /// It is stored, and not every core has acknowledged it yet; they will.
    NotLive(Unpublished),
}

/// Checks an upload, and gives what is to be stored. Pure.
pub(crate) fn check_upload(
    host: &Hostname,
    chain: &[u8],
    key: &[u8],
    now: Timestamp,
) -> Result<(Pair, Identity), UploadError> {
    // What is left out must not have counted, and what is kept is what is judged.
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
                f.write_str("the certificate of this domain is not provided by you: set `certificate` to `provided` first")
            }
            Self::Invalid(error) => error.fmt(f),
            Self::WrongName { host, names } => {
                match names.is_empty() {
                true => write!(f, "certificate: it names no host (subjectAltName); it must name {host}"),
                false => write!(f, "certificate: it does not cover {host}, only {}", Names(names)),
            }
            }
            Self::NotForServers => f.write_str(
                "certificate: its extended key usage does not allow servers (serverAuth), and no client would take it",
            ),
            Self::Expired(at) => write!(f, "certificate: it has expired on {}", at.to_http_date()),
            Self::NotYetValid(at) => write!(f, "certificate: it is not valid before {}", at.to_http_date()),
            Self::NotStored(why) => write!(f, "it could not be stored: {why}"),
            Self::Busy => f.write_str("too many certificates wait to be stored; try again in a moment"),
            Self::NotLive(why) => write!(f, "it is stored and not live everywhere yet: {why}"),
        }
    }
}

impl std::error::Error for UploadError {}

/// A few names of many.
struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Enough to recognise a certificate by.
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

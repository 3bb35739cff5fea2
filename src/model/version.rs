//! Versions: history of the sets that an operator's owner configured.

use std::fmt;
use std::sync::Arc;

use crate::{Configured, Kind, Owner, Timestamp};

/// One set as it was configured, kept to look at and to return to.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigVersion {
    /// The key: `OWNER@SEQUENCE`, unique over all owners.
    pub key: Arc<str>,
    /// The owner.
    pub owner: Owner,
    /// Position in the owner's history, from 1; a rollback is a new position with old content.
    pub sequence: u64,
    /// Hash of the content.
    pub version: SetVersion,
    /// Time of the change.
    pub at: Timestamp,
    /// Name of the user or the source that changed it.
    pub by: Arc<str>,
    /// The reason that was given.
    pub reason: Arc<str>,
    /// The documents in their canonical form, compressed by the control plane.
    pub source: Arc<[u8]>,
    /// Whether it has served long enough to be trusted at a start.
    pub is_proven: bool,
}

impl fmt::Debug for ConfigVersion {
    /// Omits the documents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ConfigVersion");
        shown.field("key", &self.key).field("version", &self.version).field("bytes", &self.source.len());
        shown.field("at", &self.at).field("is_proven", &self.is_proven).finish_non_exhaustive()
    }
}

impl ConfigVersion {
    /// The key of a position in an owner's history.
    pub fn key_of(owner: &Owner, sequence: u64) -> Arc<str> {
        format!("{owner}@{sequence}").into()
    }
}

impl Configured for ConfigVersion {
    fn key(&self) -> &str {
        &self.key
    }

    fn owner(&self) -> &Owner {
        &self.owner
    }

    fn parent(&self) -> Option<(Kind, &str)> {
        None
    }
}

/// Hash of the content of an owner's set: the first 12 hexadecimal digits of a SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetVersion(Arc<str>);

impl SetVersion {
    /// Number of digits.
    pub const DIGITS: usize = 12;

    /// Parses the digits, lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == Self::DIGITS && text.bytes().all(is_digit)).then(|| Self(text.into()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SetVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

//! All records of a store in memory, sealed, with their totals.

use std::collections::BTreeMap;

use ringway_model::{Resource, Revision};

use crate::mark::Totals;
use crate::record::{self, Key, Sealed};
use crate::{Batch, Finding, LoadReport, Loaded};

/// Sealed records by kind and key: the content of the memory adapter, of an export, and of a repair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Image {
    records: BTreeMap<Key, Sealed>,
    /// Size of keys and records.
    bytes: u64,
}

impl Image {
    /// Puts a record and returns the one that it replaces.
    pub(crate) fn put(&mut self, key: Key, sealed: Sealed) -> Option<Sealed> {
        let key_bytes = key.1.len();
        self.bytes += (key_bytes + sealed.bytes().len()) as u64;
        let replaced = self.records.insert(key, sealed);
        if let Some(replaced) = &replaced {
            self.bytes -= (key_bytes + replaced.bytes().len()) as u64;
        }
        replaced
    }

    pub(crate) fn remove(&mut self, key: &Key) -> Option<Sealed> {
        let removed = self.records.remove(key);
        if let Some(removed) = &removed {
            self.bytes -= (key.1.len() + removed.bytes().len()) as u64;
        }
        removed
    }

    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.records.contains_key(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &Sealed)> {
        self.records.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    pub(crate) fn apply(&mut self, edits: BTreeMap<Key, Option<Sealed>>) {
        for (key, value) in edits {
            match value {
                Some(sealed) => self.put(key, sealed),
                None => self.remove(&key),
            };
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for ((kind, _), sealed) in &self.records {
            totals.add(*kind, sealed.seal());
        }
        totals
    }

    /// Size of keys and records in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Decodes every record; one that matches its checksum and cannot be decoded is reported.
    pub(crate) fn load(&self, revision: Revision, mut report: LoadReport) -> Loaded {
        let mut resources = Vec::with_capacity(self.records.len());
        for ((kind, key), sealed) in &self.records {
            match record::decode(*kind, sealed.body()) {
                Some(resource) => resources.push(resource),
                None => report.push(Finding::RecordDamaged { kind: *kind, key: key.clone() }),
            }
        }
        Loaded { resources, revision, report }
    }

    /// The same records in the present formats. Records that cannot be decoded stay as they are.
    pub(crate) fn migrated(&self) -> Self {
        let mut image = Self::default();
        for (key, sealed) in &self.records {
            let encoded = match record::decode(key.0, sealed.body()) {
                Some(resource) => record::encode(&resource).1,
                None => sealed.clone(),
            };
            image.put(key.clone(), encoded);
        }
        image
    }
}

impl<'a> FromIterator<&'a Resource> for Image {
    fn from_iter<I: IntoIterator<Item = &'a Resource>>(resources: I) -> Self {
        let mut image = Self::default();
        for (key, sealed) in resources.into_iter().map(record::encode) {
            image.put(key, sealed);
        }
        image
    }
}

/// Converts a batch to one edit per record: an engine may not keep the order of two writes to one key.
pub(crate) fn edits(batch: &Batch<'_>) -> BTreeMap<Key, Option<Sealed>> {
    batch.deltas.iter().map(record::edit).collect()
}

/// Formats a key of any bytes for messages.
pub(crate) fn printable(key: &[u8]) -> String {
    String::from_utf8_lossy(key).chars().take(256).flat_map(char::escape_default).collect()
}

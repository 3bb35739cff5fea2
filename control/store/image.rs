//! All records of a store in memory, sealed, with their totals.

use std::collections::BTreeMap;

use ringway_model::Revision;

use crate::mark::Totals;
use crate::record::{Key, Record, RecordKind, Sealed, edit};
use crate::{Batch, Finding, LoadReport, Loaded};

/// Sealed records by kind and key. The content of the memory adapter, of an export, and of a repair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Image {
    records: BTreeMap<Key, Sealed>,
    /// Of keys and records, carried along.
    bytes: u64,
}

impl Image {
    /// Puts a record, and gives back the one that it replaces.
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

    /// Bytes of the keys and the records.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Decodes every record; one that fits its checksum and still cannot be understood is reported.
    pub(crate) fn load(&self, revision: Revision, mut report: LoadReport) -> Loaded {
        let mut loaded = Loaded { revision, ..Loaded::default() };
        for ((kind, key), sealed) in &self.records {
            match Record::decode(*kind, sealed.body()) {
                Some(Record::App(app)) => loaded.apps.push(app),
                Some(Record::Instance(instance)) => loaded.instances.push(instance),
                Some(Record::Domain(domain)) => loaded.domains.push(domain),
                None => report.push(Finding::RecordDamaged { kind: *kind, key: key.clone() }),
            }
        }
        loaded.report = report;
        loaded
    }
}

impl FromIterator<Record> for Image {
    fn from_iter<I: IntoIterator<Item = Record>>(records: I) -> Self {
        let mut image = Self::default();
        for (key, sealed) in records.into_iter().map(|record| record.encode()) {
            image.put(key, sealed);
        }
        image
    }
}

impl Loaded {
    pub(crate) fn image(&self) -> Image {
        let apps = self.apps.iter().cloned().map(Record::App);
        let instances = self.instances.iter().cloned().map(Record::Instance);
        let domains = self.domains.iter().cloned().map(Record::Domain);
        apps.chain(instances).chain(domains).collect()
    }
}

/// What a batch does, one edit per record: an engine may not keep the order of two writes to one key.
pub(crate) fn edits(batch: &Batch<'_>) -> BTreeMap<Key, Option<Sealed>> {
    batch.deltas.iter().map(edit).collect()
}

/// A key as it can be printed and reported, whatever its bytes are.
pub(crate) fn printable(key: &[u8]) -> String {
    String::from_utf8_lossy(key).chars().take(256).flat_map(char::escape_default).collect()
}

pub(crate) fn position(kind: RecordKind) -> usize {
    kind as usize
}

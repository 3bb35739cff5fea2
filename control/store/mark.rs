//! Marks: revision, number of records and a hash over all of them.
//!
//! The same mark stands in every batch and, outside the engine, in the file HEAD. Comparing the two detects
//! an engine that silently comes up with less than it acknowledged.

use ringway_model::{Kind, Revision};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::record::checksum;

/// The version of everything that this crate writes to disk. Raised by every change that an older version
/// would misread: another record format, another kind, another layout.
///
/// - 1: apps, instances and domains without an owner.
/// - 2: records begin with their format and their owner.
/// - 3: policies, routes, versions and certificates of operators; policies of apps and domains, weights of
///   instances.
/// - 4: traffic settings of policies, pools and routes; states of canaries, overrides of endpoints.
/// - 5: chains of middleware stages and plugins; chains of routes.
/// - 6: caches of routes; Lua scripts.
pub(crate) const SCHEMA: u32 = 6;

/// Number of records and the sum of their checksums. A sum can be updated for one record without reading the
/// others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// By [`Kind::index`]. Marks of older schemas have fewer kinds.
    #[serde(deserialize_with = "deserialize_counts")]
    pub(crate) counts: [u64; Kind::COUNT],
    pub(crate) sum: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, kind: Kind, seal: u64) {
        self.counts[kind.index()] += 1;
        self.sum = self.sum.wrapping_add(seal);
    }

    pub(crate) fn remove(&mut self, kind: Kind, seal: u64) {
        let count = &mut self.counts[kind.index()];
        *count = count.saturating_sub(1);
        self.sum = self.sum.wrapping_sub(seal);
    }

    pub(crate) fn records(&self) -> u64 {
        self.counts.iter().sum()
    }
}

fn deserialize_counts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u64; Kind::COUNT], D::Error> {
    let found = Vec::<u64>::deserialize(deserializer)?;
    let mut counts = [0; Kind::COUNT];
    let known =
        counts.get_mut(..found.len()).ok_or_else(|| de::Error::custom("more kinds than are known"))?;
    known.copy_from_slice(&found);
    Ok(counts)
}

/// State of a store in one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mark {
    pub(crate) schema: u32,
    pub(crate) revision: u64,
    pub(crate) totals: Totals,
    /// Whether the process that wrote it closed the store.
    pub(crate) clean: bool,
}

/// Result of reading a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MarkRead {
    Whole(Mark),
    Damaged,
    Missing,
    /// Whole, but of a newer schema.
    Newer(u32),
}

impl Mark {
    pub(crate) fn new(revision: Revision, totals: Totals) -> Self {
        Self { schema: SCHEMA, revision: revision.0, totals, clean: false }
    }

    /// Whether this may be the mark of the same store after its migration: equal records in another format.
    /// HEAD is written last, and the process may be killed before that.
    pub(crate) fn is_migration_of(&self, other: &Self) -> bool {
        self.schema > other.schema
            && self.revision == other.revision
            && self.totals.counts == other.totals.counts
    }

    pub(crate) fn revision(&self) -> Revision {
        Revision(self.revision)
    }

    /// Encodes the mark as `checksum json newline`, readable by a person.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let body = serde_json::to_string(self).expect("numbers and a flag serialise");
        format!("{:016x} {body}\n", checksum(0, b"mark", body.as_bytes())).into_bytes()
    }

    pub(crate) fn decode(bytes: &[u8]) -> MarkRead {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let Some(body) = verified(bytes) else { return MarkRead::Damaged };
        match serde_json::from_str::<Version>(body) {
            Ok(Version { schema }) if schema > SCHEMA => return MarkRead::Newer(schema),
            Ok(_) => {}
            Err(_) => return MarkRead::Damaged,
        }
        serde_json::from_str(body).map_or(MarkRead::Damaged, MarkRead::Whole)
    }
}

fn verified(bytes: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    let (seal, body) = line.split_once(' ')?;
    let seal = u64::from_str_radix(seal, 16).ok()?;
    (checksum(0, b"mark", body.as_bytes()) == seal).then_some(body)
}

//! What a store says about itself: which revision, how many records, and a hash over all of them.
//!
//! The same mark stands in every batch and, outside the engine, in the file HEAD. An engine that comes up with
//! less than it acknowledged, and says nothing, is found out by comparing the two.

use ringway_model::Revision;
use serde::{Deserialize, Serialize};

use crate::image::position;
use crate::record::{RecordKind, checksum};

/// The version of everything in this crate that is written to disk. Raised by every change that an older
/// version would misread.
pub(crate) const SCHEMA: u32 = 1;

/// How many records there are, and the sum of their checksums. A sum, because it can be carried forward by one record
/// without reading the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// By [`position`].
    pub(crate) counts: [u64; 3],
    pub(crate) sum: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, kind: RecordKind, seal: u64) {
        self.counts[position(kind)] += 1;
        self.sum = self.sum.wrapping_add(seal);
    }

    pub(crate) fn remove(&mut self, kind: RecordKind, seal: u64) {
        let count = &mut self.counts[position(kind)];
        *count = count.saturating_sub(1);
        self.sum = self.sum.wrapping_sub(seal);
    }

    pub(crate) fn records(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// A store's state in one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mark {
    pub(crate) schema: u32,
    pub(crate) revision: u64,
    pub(crate) totals: Totals,
    /// Whether the process that wrote it had ended its work.
    pub(crate) clean: bool,
}

/// What is left of a mark that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MarkRead {
    Whole(Mark),
    Damaged,
    Missing,
    /// Whole, but of a schema that this version does not know.
    Newer(u32),
}

impl Mark {
    pub(crate) fn new(revision: Revision, totals: Totals) -> Self {
        Self { schema: SCHEMA, revision: revision.0, totals, clean: false }
    }

    pub(crate) fn revision(&self) -> Revision {
        Revision(self.revision)
    }

    /// `checksum json newline`, readable by a person.
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

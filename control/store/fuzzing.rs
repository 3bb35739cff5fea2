//! A door for the fuzz targets (`tests/fuzz`): one stored record, without a store.

use crate::RecordKind;
use crate::record::{Record, Sealed};

/// The kinds of records.
pub const KINDS: [RecordKind; 3] = RecordKind::ALL;

/// Reads the body of a record, and writes it again: its key and the stored bytes, which begin with their seal. `None` when
/// it is no record of this kind.
pub fn rewrite(kind: RecordKind, body: &[u8]) -> Option<(String, Vec<u8>)> {
    let (key, sealed) = Record::decode(kind, body)?.encode();
    Some((key.1, sealed.bytes().to_vec()))
}

/// The body of stored bytes that fit their seal.
pub fn unseal(kind: RecordKind, key: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    Sealed::verify(kind, key, bytes).map(|sealed| sealed.body().to_vec())
}

//! Entry points for the fuzz targets (`tests/fuzz`): one stored record, without a store.

use ringway_model::Kind;

use crate::record::{self, Sealed};

/// Decodes the body of a record and encodes it again: its key and the stored bytes, which begin with their
/// checksum. `None` when it is not a record of this kind.
pub fn rewrite(kind: Kind, body: &[u8]) -> Option<(String, Vec<u8>)> {
    let (key, sealed) = record::encode(&record::decode(kind, body)?);
    Some((key.1, sealed.bytes().to_vec()))
}

/// The body of stored bytes, if their checksum matches.
pub fn unseal(kind: Kind, key: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    Sealed::verify(kind, key, bytes).map(|sealed| sealed.body().to_vec())
}

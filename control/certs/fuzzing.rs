//! Entry point of the fuzz targets (`tests/fuzz`): the check of an upload, without a domain and a disk.

use ringway_model::{Hostname, Timestamp};
use ringway_tls::Identity;

use crate::UploadError;
use crate::upload::check_upload;

/// Checks an upload; returns the chain and key to store, and the identity to serve.
///
/// # Errors
/// The reason for a refusal.
pub fn upload(
    host: &Hostname,
    chain: &[u8],
    key: &[u8],
    now: Timestamp,
) -> Result<(Vec<u8>, Vec<u8>, Identity), UploadError> {
    let (pair, identity) = check_upload(host, chain, key, now)?;
    Ok((pair.chain, pair.key, identity))
}

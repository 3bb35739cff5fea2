//! A door for the fuzz targets (`tests/fuzz`): what is made of an upload, without a domain and a disk.

use ringway_model::{Hostname, Timestamp};
use ringway_tls::Identity;

use crate::UploadError;
use crate::upload::check_upload;

/// Checks an upload; gives what would be stored of chain and key, and the identity that would be served.
///
/// # Errors
/// What the uploader would be told.
pub fn upload(
    host: &Hostname,
    chain: &[u8],
    key: &[u8],
    now: Timestamp,
) -> Result<(Vec<u8>, Vec<u8>, Identity), UploadError> {
    let (pair, identity) = check_upload(host, chain, key, now)?;
    Ok((pair.chain, pair.key, identity))
}

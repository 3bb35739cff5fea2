//! History of an owner's sets: canonical documents, compressed, as versions of the stored configuration.

use std::sync::Arc;

use ringway_config::limits::DOCUMENT_BYTES_MAX;
use ringway_model::{ConfigVersion, Desired, Owner};

use super::requests::{Current, Version};
use ringway_config::canonical::{self, Secrets};
use ringway_config::{Beside, Document, Finding, Source};

/// Compresses a document.
pub(super) fn pack(document: &str) -> Arc<[u8]> {
    lz4_flex::compress_prepend_size(document.as_bytes()).into()
}

/// Restores a document; `None` when the stored bytes are damaged.
pub(super) fn unpack(packed: &[u8]) -> Option<String> {
    let (size, _) = lz4_flex::block::uncompressed_size(packed).ok()?;
    // A canonical document may be larger than its source: keys are quoted, defaults written out.
    (size <= 4 * DOCUMENT_BYTES_MAX).then_some(())?;
    String::from_utf8(lz4_flex::decompress_size_prepended(packed).ok()?).ok()
}

/// Kept versions of an owner, newest first.
pub(super) fn versions(desired: &Desired, owner: &Owner) -> Vec<Version> {
    let kept = desired.versions_of(owner);
    let current = kept.last().map(|last| last.sequence);
    kept.iter().rev().map(|version| describe(version, current == Some(version.sequence))).collect()
}

/// Newest kept version with this hash.
pub(super) fn find(desired: &Desired, owner: &Owner, version: &str) -> Option<Arc<ConfigVersion>> {
    desired.versions_of(owner).into_iter().rev().find(|kept| kept.version.as_str() == version)
}

/// Version before the present one.
pub(super) fn previous(desired: &Desired, owner: &Owner) -> Option<Arc<ConfigVersion>> {
    desired.versions_of(owner).into_iter().rev().nth(1)
}

/// Reads a kept version again. What it refers to may be gone by now, which the claims find.
///
/// # Errors
/// The findings: the version is damaged, or has words that this program no longer knows.
pub(super) fn reopen(version: &ConfigVersion) -> Result<Document, Vec<Finding>> {
    let name: Arc<str> = format!("version {}", version.version).into();
    let damaged = || vec![super::judge::error("damaged", format!("{name} cannot be read"), None)];
    let text = unpack(&version.source).ok_or_else(damaged)?;
    let beside = Beside { is_known: &|_, _| true, base: None, builtins: None };
    let reading = ringway_config::read_beside(&[Source { name: name.clone(), text }], &beside);
    let mut document = reading.document.ok_or(reading.findings)?;
    // The hash by the program that stored it.
    document.version = version.version.clone();
    Ok(document)
}

/// A version with its document, without values that may be secrets.
///
/// # Errors
/// As [`reopen`].
pub(super) fn show(version: &ConfigVersion, is_current: bool) -> Result<Current, Vec<Finding>> {
    let document = reopen(version)?;
    let shown = canonical::document(&document.set, &document.governance, document.bake, Secrets::Hidden);
    Ok(Current {
        owner: version.owner.clone(),
        version: describe(version, is_current),
        document: shown.to_string().into(),
    })
}

fn describe(version: &ConfigVersion, is_current: bool) -> Version {
    Version {
        owner: version.owner.clone(),
        version: version.version.as_str().into(),
        sequence: version.sequence,
        at: version.at,
        by: version.by.clone(),
        reason: version.reason.clone(),
        is_proven: version.is_proven,
        is_current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_restored_exactly() {
        for text in ["", "{}", &"{\"routes\":[]}".repeat(10_000)] {
            assert_eq!(unpack(&pack(text)).as_deref(), Some(text));
        }
    }

    #[test]
    fn damaged_bytes_are_no_document() {
        let packed = pack("{\"routes\":[{\"id\":\"a\"}]}");
        assert_eq!(unpack(&packed[..packed.len() - 1]), None);
        assert_eq!(unpack(&[]), None);
        // A size that would take 4 GB.
        assert_eq!(unpack(&[0xff, 0xff, 0xff, 0xff, 0]), None);
    }
}

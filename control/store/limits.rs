//! Limits of the store: each with its unit and its reason.

// --- Store ------------------------------------------------------

/// Findings listed about a damaged store; further ones are counted.
pub(crate) const STORE_FINDINGS_MAX: usize = 1_000;
/// Copies of damaged store files that are kept; the oldest are removed.
pub(crate) const STORE_COPIES_MAX: usize = 3;
/// Commits after which a logical export is due at the latest, in a small store.
pub(crate) const STORE_EXPORT_COMMITS: u64 = 1_000;

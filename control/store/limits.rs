//! Limits of the store: each with its unit and its reason.

// --- Store ---------------------------------------------------------------------------------------------------

/// Findings that are listed about a damaged store; beyond that they are counted. Enough to see what happened.
pub(crate) const STORE_FINDINGS_MAX: usize = 1_000;
/// Copies of damaged store files that are kept: the last damages, not all there ever were.
pub(crate) const STORE_COPIES_MAX: usize = 3;
/// Commits after which a logical export is due at the latest, in a small store.
pub(crate) const STORE_EXPORT_COMMITS: u64 = 1_000;

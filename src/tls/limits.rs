//! Limits of TLS material and sessions: each with its unit and its reason.

// --- Certificates ------------------------------------------------------------------------------------------

/// Certificates of a chain: a leaf, a few intermediates and cross-signed roots. Each client gets them all.
pub(crate) const CERTIFICATE_CHAIN_MAX: usize = 10;
/// Bytes of a file with CAs: a whole distribution's has about 220 KiB.
pub(crate) const CA_PEM_BYTES_MAX: usize = 1024 * 1024;
/// Certificates of a file with CAs: a whole distribution's has about 150.
pub(crate) const CA_CERTIFICATES_MAX: usize = 1_000;
/// Servers whose TLS sessions one core remembers for one app, so that the next connection is cheap.
pub(crate) const UPSTREAM_TLS_SESSIONS_MAX: usize = 32;

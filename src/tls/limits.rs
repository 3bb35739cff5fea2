//! Limits of certificates, keys and TLS sessions: each with its unit and its reason.

// --- Certificates ------------------------------------------------------------------------------------------

/// Certificates of a chain: a leaf, a few intermediates and cross-signed roots. Every handshake sends all of
/// them.
pub(crate) const CERTIFICATE_CHAIN_MAX: usize = 10;
/// Bytes of a file with CAs: a whole distribution's has about 220 KiB.
pub(crate) const CA_PEM_BYTES_MAX: usize = 1024 * 1024;
/// Certificates of a file with CAs: a whole distribution's has about 150.
pub(crate) const CA_CERTIFICATES_MAX: usize = 1_000;
/// Servers of one app whose TLS sessions one core stores for resumption.
pub(crate) const UPSTREAM_TLS_SESSIONS_MAX: usize = 32;

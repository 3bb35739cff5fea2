//! Limits of middleware stages.

/// 8 KiB: a token; longer ones do not fit into the heads that servers accept.
pub(crate) const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// 256 KiB: a JWK set.
pub(crate) const JWK_SET_BYTES_MAX: usize = 256 * 1024;
/// 64: keys of a JWK set; providers have two to ten.
pub(crate) const JWK_SET_KEYS_MAX: usize = 64;
/// 4: keys that the signature of a token without a key id is tried with; each costs up to 110 us.
pub(crate) const KEYS_TRIED_MAX: usize = 4;
/// 4,096: verified tokens of one core, up to 8 KiB each.
pub(crate) const TOKENS_CACHED_MAX: usize = 4096;
/// 4: settings of routes that one token is kept for; a token is rarely used at more.
pub(crate) const TOKEN_SETTINGS_MAX: usize = 4;
/// 300 s: longest time that a verified token is not verified again.
pub(crate) const TOKEN_CACHED_SECONDS: u64 = 300;
/// 1,024 bytes: a claim as the value of a header field.
pub(crate) const CLAIM_BYTES_MAX: usize = 1024;
/// 64: claims of a token that header fields may have.
pub(crate) const CLAIMS_MAX: usize = 64;
/// 10,000: users or keys of one file.
pub(crate) const USERS_MAX: usize = 10_000;
/// 256 MiB, in KiB: memory of one verification of argon2; two run at a time.
pub(crate) const ARGON2_MEMORY_KIB_MAX: u32 = 256 * 1024;
/// 16: passes of argon2, over all of the memory.
pub(crate) const ARGON2_PASSES_MAX: u32 = 16;
/// 512 bytes: a hash of a password.
pub(crate) const PASSWORD_HASH_BYTES_MAX: usize = 512;
/// 16: lanes of argon2.
pub(crate) const ARGON2_LANES_MAX: u32 = 16;
/// 1,024 bytes: name and password in base64.
pub(crate) const LOGIN_BYTES_MAX: usize = 1024;
/// 512 bytes: a key of a client.
pub(crate) const API_KEY_BYTES_MAX: usize = 512;
/// 4,096: verified passwords of one core.
pub(crate) const PASSWORDS_CACHED_MAX: usize = 4096;
/// 60 s: longest time that a verified password is not verified again.
pub(crate) const PASSWORD_CACHED_SECONDS: u64 = 60;
/// 200 ms: average time between failed authentications of one client on one core, beyond the burst.
pub(crate) const AUTH_FAILURE_INTERVAL_US: u64 = 200_000;
/// 50: failed authentications of one client at once.
pub(crate) const AUTH_FAILURE_BURST: u64 = 50;
/// 4,096: clients of one core whose failed authentications are counted.
pub(crate) const AUTH_FAILING_CLIENTS_MAX: usize = 4096;
/// 64 KiB: content of the response of an external filter.
pub(crate) const DECISION_BYTES_MAX: usize = 64 * 1024;
/// 64: edits of one decision of an external filter.
pub(crate) const DECISION_EDITS_MAX: usize = 64;
/// 4,096: decisions of external filters that one core keeps.
pub(crate) const DECISIONS_CACHED_MAX: usize = 4096;
/// 4 KiB: a decision that is kept; larger ones are made again.
pub(crate) const DECISION_CACHED_BYTES_MAX: usize = 4 * 1024;

//! Limits of the cache.

use std::time::Duration;

/// 2^31 seconds, 68 years: the largest lifetime and age; larger numbers become it (RFC 9111 §1.2.2).
pub const DELTA_SECONDS_MAX: u32 = 2_147_483_648;
/// 8: names that a response's `Vary` may list; each is part of every key of its resource.
pub const VARY_NAMES_MAX: usize = 8;
/// 32: variants of one resource; more mean that the origin varies by something with no bound.
pub const VARIANTS_MAX: usize = 32;
/// 64: tags of one response.
pub const TAGS_MAX: usize = 64;
/// 128 bytes: a tag; longer ones are ignored.
pub const TAG_BYTES_MAX: usize = 128;
/// 16 KiB: a key, with the values of varying fields; requests with longer ones bypass the cache.
pub const KEY_BYTES_MAX: usize = 16 * 1024;
/// 24 h: longest lifetime that is guessed from `Last-Modified` (RFC 9111 §4.2.2).
pub const HEURISTIC_SECONDS_MAX: u32 = 24 * 3600;
/// 10 s: longest lifetime that the configuration alone gives a 404: what is missing may appear.
pub const NOT_FOUND_SECONDS_MAX: u32 = 10;

// --- Store -------------------------------------------------------------------------------------------------

/// 64 KiB: a chunk of a body; one write to a socket takes several.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// 1 KiB: first memory of a body of unknown length; further memory is at most as much as has come.
pub(crate) const BLOCK_BYTES_MIN: usize = 1024;
/// A quarter: part of a route, a tenant's share and the store that responses under way may claim by
/// evictions, beside the largest one of them. Slow endpoints push out no more than that.
pub(crate) const CLAIM_SHARE: u64 = 4;
/// Bytes of an entry beside key and head: itself, its places in the tables, the allocator's rounding.
pub(crate) const ENTRY_OVERHEAD_BYTES: usize = 320;
/// Bytes of a body beside its chunks, the same way.
pub(crate) const BODY_OVERHEAD_BYTES: usize = 128;
/// Bytes of a chunk beside its content: handle, shared count, rounding.
pub(crate) const CHUNK_OVERHEAD_BYTES: usize = 80;
/// Bytes of a set of variants beside key and names, with handles of its variants.
pub(crate) const VARIANT_SET_OVERHEAD_BYTES: usize = 256 + 16 * VARIANTS_MAX;
/// 256 MB: memory of the store, where the configuration has no other size.
pub const STORE_BYTES_MAX: u64 = 256_000_000;
/// 10,000: entries of the store, where the configuration has no other number.
pub const STORE_ENTRIES_MAX: u64 = 10_000;
/// 25 %: share of one tenant of the store's memory and entries.
pub const TENANT_SHARE_PERCENT: u64 = 25;
/// Entries that are evicted for one insertion at most: 64 KiB of the smallest ones. Without room then, the
/// new one is not stored.
pub(crate) const EVICTIONS_MAX: usize = 256;
/// Scopes that are drawn and compared to find the one that evicts.
pub(crate) const SAMPLED_SCOPES: usize = 8;
/// Purges during one request to an origin, beyond which its response is not stored.
pub(crate) const PURGES_KEPT: usize = 256;
/// The same for invalidations by requests of one scope: seconds of a busy API.
pub(crate) const INVALIDATIONS_KEPT: usize = 4_096;
/// Entries that a scan copies under one lock.
pub(crate) const SCAN_SLICE: usize = 64;
/// Bytes of a purge's pattern.
pub const PURGE_PATTERN_BYTES_MAX: usize = 1_024;
/// Asterisks in a purge's pattern.
pub const PURGE_PATTERN_STARS_MAX: usize = 8;
/// 1 h: time past its last use, as stale response too, after which an entry is removed.
pub(crate) const KEEP_UNUSABLE: Duration = Duration::from_secs(3600);
/// 1 s: pause after the first failed refresh of an entry.
pub(crate) const REFRESH_PAUSE: Duration = Duration::from_secs(1);
/// 30 s: the longest such pause.
pub(crate) const REFRESH_PAUSE_MAX: Duration = Duration::from_secs(30);
/// 120 s: time for which requests for a key do not wait for each other after its response could not be
/// stored.
pub(crate) const UNCACHEABLE_TIME: Duration = Duration::from_secs(120);
/// Such keys of one scope.
pub(crate) const UNCACHEABLE_KEYS_MAX: usize = 4_096;
/// Bytes of such keys in all scopes: 16 MiB.
pub(crate) const UNCACHEABLE_BYTES_MAX: u64 = 16 * 1024 * 1024;

// --- Fills -------------------------------------------------------------------------------------------------

/// Requests that wait for one fill; further ones go to the origin themselves.
pub const FILL_WAITERS_MAX: u32 = 1_000;
/// Requests that wait for fills, on all cores.
pub const WAITERS_MAX: u32 = 10_000;
/// Leaders of a fill after the first one, when clients leave or connections break.
pub(crate) const SUCCESSIONS_MAX: u8 = 2;
/// 1 MiB: bytes ahead of the slowest reader while a response passes that is too large to be stored.
pub(crate) const WINDOW_BYTES: u64 = 1024 * 1024;
/// 10 s: time without a read after which a reader that holds up such a response is cut off.
pub(crate) const READER_STALL: Duration = Duration::from_secs(10);
/// 1 MiB: remainder that is fetched although no client reads it any longer.
pub(crate) const ORPHAN_REST_BYTES: u64 = 1024 * 1024;

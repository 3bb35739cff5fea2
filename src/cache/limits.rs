//! Limits of the cache.

/// 2^31 seconds, 68 years: the largest lifetime and age; larger numbers become it (RFC 9111 §1.2.2).
pub const DELTA_SECONDS_MAX: u32 = 1 << 31;
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
/// 5 s: time that a request waits for the fill of another one, where the configuration has no other.
pub const COALESCE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
/// 60 s: time past its lifetime that a response is served in safe mode while its origin cannot be reached.
pub const STALE_ON_DISCONNECT_SECONDS: u32 = 60;
/// 1 day: the same in the mode `rfc9111`.
pub const STALE_ON_DISCONNECT_RFC9111_SECONDS: u32 = 24 * 3600;
/// 10 MB: entries of one route together, where the configuration has no other size.
pub const ROUTE_BYTES_MAX: u64 = 10_000_000;
/// 8 MiB: body of one entry, where the configuration has no other size; at most a quarter of the route's.
pub const OBJECT_BYTES_MAX: u64 = 8 * 1024 * 1024;

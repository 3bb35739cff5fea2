//! Limits of configuration documents: each with its unit and its reason.

use std::time::Duration;

/// Bytes of all documents of one reading: twice the size of 50,000 routes with headers.
pub const DOCUMENT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Values (scalars, lists and mappings) of one document: 8 MiB of the shortest ones would be ten times as
/// many, and take a second of a core.
pub const DOCUMENT_VALUES_MAX: usize = 500_000;
/// Nesting levels of a document: the deepest valid one has nine.
pub const DOCUMENT_DEPTH_MAX: usize = 32;
/// Files of one configuration folder.
pub const SOURCES_MAX: usize = 1_000;
/// Findings of one reading: more do not help whoever mends the file.
pub const DOCUMENT_FINDINGS_MAX: usize = 100;
/// Bytes of one text in a document, such as a path or a name.
pub const TEXT_BYTES_MAX: usize = 4_096;
/// Bytes of a path in a condition or a rewrite: longer than the URLs that browsers and proxies accept.
pub const PATH_BYTES_MAX: usize = 2_048;
/// Conditions of one kind (methods, header fields, parameters) on one route.
pub const CONDITIONS_MAX: usize = 32;
/// Routes made from one tenant: its hosts times its paths.
pub const TENANT_ROUTES_MAX: usize = 1_000;
/// Bytes of one Lua script: all scripts together may not have more.
pub const SCRIPT_BYTES_MAX: usize = 1024 * 1024;
/// Longest trial of a change on one core.
pub const BAKE_MAX: Duration = Duration::from_secs(3_600);

// --- Policies ----------------------------------------------------------------------------------------------

/// Lowest `open_duration`, `ejection_duration` and the like, in milliseconds: shorter ones protect nothing.
pub const OPEN_MS_MIN: u64 = 100;
/// Highest of them, in milliseconds: an hour; a breaker that stays open longer is an outage of its own.
pub const OPEN_MS_MAX: u64 = 3_600_000;
/// Failures, successes or requests that a breaker counts: more than a second of the fastest backend.
pub const BREAKER_COUNT_MAX: u32 = 1_000_000;
/// Failures in a row that eject an endpoint.
pub const CONSECUTIVE_FAILURES_MAX: u8 = 100;
/// Successes in a row that close a breaker: each is one trial request at a time.
pub const BREAKER_SUCCESSES_MAX: u8 = 100;
/// Retries per second beyond the share of the successful requests.
pub const RETRY_FLOOR_MAX: u16 = 10_000;
/// Longest pause before a retry, in milliseconds: the client waits for it.
pub const BACKOFF_MS_MAX: u64 = 10_000;
/// Requests per second of a rate limit: its table counts in microseconds.
pub const RATE_MAX: u32 = 1_000_000;
/// Requests at once of a rate limit.
pub const BURST_MAX: u32 = 10_000_000;
/// Longest time in which a rate limit forgets a whole burst.
pub const BURST_TIME_MAX: Duration = Duration::from_secs(86_400);
/// Parts of the key of a rate limit: one of each kind, and a few header fields.
pub const RATE_LIMIT_KEYS_MAX: usize = 8;
/// Refused requests before a ban.
pub const BAN_AFTER_MAX: u32 = 1_000_000;
/// Shortest ban in milliseconds: `Retry-After` counts in seconds.
pub const BAN_MS_MIN: u64 = 1_000;
/// Longest ban in milliseconds: a day; addresses change their owners.
pub const BAN_MS_MAX: u64 = 86_400_000;
/// Shortest delay of a hedged request in milliseconds.
pub const HEDGE_MS_MIN: u64 = 1;
/// Longest delay of a hedged request in milliseconds: a minute.
pub const HEDGE_MS_MAX: u64 = 60_000;

// --- Traffic management ------------------------------------------------------------------------------------

/// Shortest slow start in milliseconds.
pub const SLOW_START_MS_MIN: u64 = 1_000;
/// Longest slow start in milliseconds: an hour.
pub const SLOW_START_MS_MAX: u64 = 3_600_000;
/// Requests at a time to one endpoint, or of one route.
pub const CONCURRENT_MAX: u32 = 1_000_000;
/// Requests of one route that wait: 16 KiB each, 1 GiB in all.
pub const QUEUE_MAX: u32 = 65_536;
/// Longest wait in a queue in milliseconds: five minutes; clients give up sooner.
pub const QUEUE_MS_MAX: u64 = 300_000;
/// Steps of a canary.
pub const CANARY_STEPS_MAX: usize = 20;
/// Shortest time between two steps of a canary in milliseconds.
pub const CANARY_STEP_MS_MIN: u64 = 1_000;
/// Longest time between two steps of a canary in milliseconds: 30 days.
pub const CANARY_STEP_MS_MAX: u64 = 30 * 86_400_000;
/// Cohorts of one route.
pub const COHORTS_MAX: usize = 256;
/// Bytes of the name of a cohort, and so of the header field or cookie that names it.
pub const COHORT_BYTES_MAX: usize = 128;
/// Longest timeout of a mirrored request in milliseconds: a minute.
pub const MIRROR_MS_MAX: u64 = 60_000;
/// Bytes of the name of a cookie.
pub const COOKIE_NAME_BYTES_MAX: usize = 128;

// --- Middleware --------------------------------------------------------------------------------------------

/// Bytes of a page of `maintenance` or `error_pages`: it is in every core's snapshot.
pub const PAGE_BYTES_MAX: usize = 16 * 1024;
/// Media types of one stage: each is compared with that of every response.
pub const MEDIA_TYPES_MAX: usize = 64;
/// Pages of one stage: a few for each kind of error.
pub const ERROR_PAGES_MAX: usize = 32;
/// Methods of one `auth` stage: each may cost a request a decision.
pub const AUTH_METHODS_MAX: usize = 8;
/// Audiences of tokens.
pub const AUDIENCES_MAX: usize = 32;
/// Values of a claim of which a token needs one.
pub const CLAIM_VALUES_MAX: usize = 64;
/// Longest tolerance of clocks in milliseconds: five minutes; a token that is stolen lives as much longer.
pub const LEEWAY_MS_MAX: u64 = 300_000;
/// Longest timeout of a decision in milliseconds: ten seconds; the client waits for it.
pub const DECISION_MS_MAX: u64 = 10_000;
/// Longest time that a decision is kept, in milliseconds: a minute; revocations wait for it.
pub const DECISION_TTL_MS_MAX: u64 = 60_000;
/// Fields that a service gets, that it asserts, and that its decision depends on.
pub const DECISION_FIELDS_MAX: usize = 64;

// --- Caches ------------------------------------------------------------------------------------------------

/// Longest configured lifetime: a year, beyond which caches treat responses as good for ever (RFC 9111
/// §1.2.2).
pub const CACHE_TTL_MAX: Duration = Duration::from_secs(366 * 86_400);
/// Longest time past its lifetime that a response is served.
pub const CACHE_STALE_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Shortest wait for another request's response in milliseconds: less is no wait.
pub const COALESCE_MS_MIN: u64 = 10;
/// Longest wait for another request's response in milliseconds: a minute; clients give up sooner.
pub const COALESCE_MS_MAX: u64 = 60_000;
/// Statuses of one cache.
pub const CACHE_STATUSES_MAX: usize = 64;
/// Fields that target a cache; each is looked for in every response.
pub const CACHE_TARGETS_MAX: usize = 4;
/// Fields of the key, and ignored parameters; each costs every request a look-up.
pub const CACHE_NAMES_MAX: usize = 32;
/// Bytes of a parameter's name, or of a pattern.
pub const CACHE_NAME_BYTES_MAX: usize = 256;
/// Patterns of one cache: each is tried for a response without a lifetime.
pub const CACHE_PATTERNS_MAX: usize = 64;
/// Least maximum of one body that is stored.
pub const CACHE_BYTES_MIN: u64 = 1024;
/// 64 KB: least memory of a route's stored responses; below, hardly a page has room beside its overhead.
pub const CACHE_SIZE_MIN: u64 = 64_000;
/// Most memory of a route's cache: 1 TiB, more than machines have.
pub const CACHE_BYTES_MAX: u64 = 1024 * 1024 * 1024 * 1024;

// --- Scripts -----------------------------------------------------------------------------------------------

/// 128: longest id of a script, which names it in logs and errors.
pub const SCRIPT_ID_BYTES_MAX: usize = 128;

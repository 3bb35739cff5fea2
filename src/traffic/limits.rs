//! Limits of snapshots, breakers and balancing: each with its unit and its reason.

use std::time::Duration;

// --- Breaker -----------------------------------------------------------------------------------------------

/// Consecutive request failures that open an instance's breaker: single failures do not.
pub(crate) const BREAKER_FAILURES: u8 = 5;
/// Open time of a breaker after it opened from closed.
pub(crate) const BREAKER_OPEN: Duration = Duration::from_secs(30);
/// Longest open time of a breaker: a failed probe doubles the time, 30, 60, 120 s.
pub(crate) const BREAKER_OPEN_MAX: Duration = Duration::from_secs(120);
/// Interval between the probes of a half-open breaker while none has ended: a slow probe delays recovery by
/// it.
pub(crate) const BREAKER_PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Interval between the requests admitted to a pool without an available endpoint (`trickle`).
pub(crate) const TRICKLE_INTERVAL: Duration = Duration::from_secs(1);

// --- Outliers and breakers of pools ------------------------------------------------------------------------

/// Bucket of the attempts that outliers and breakers of pools count: a window of ten is ten seconds.
pub(crate) const TALLY_BUCKET: Duration = Duration::from_secs(1);
/// Microseconds between two sums of all cores' counters by one core: a sum reads a cache line of each core.
pub(crate) const EVALUATION_INTERVAL_US: u64 = 100_000;
/// Attempts of an endpoint within the window, below which its error rate says nothing.
pub(crate) const OUTLIER_ATTEMPTS_MIN: u64 = 20;
/// Endpoints with as many attempts, below which none is compared with the others.
pub(crate) const OUTLIER_ENDPOINTS_MIN: usize = 3;
/// Distance of an outlier's error rate from that of the others, in hundredths of a percent: with a common
/// cause, all are alike.
pub(crate) const OUTLIER_DISTANCE_MIN: u16 = 2_000;

// --- Request samples ---------------------------------------------------------------------------------------

/// One request of so many is sampled: enough for a simulation, and not to be measured per request.
pub(crate) const SAMPLE_INTERVAL: u8 = 16;
/// Samples kept per core.
pub(crate) const SAMPLES_MAX: usize = 4_096;
/// Bytes of the samples of one core; with long heads they are fewer than [`SAMPLES_MAX`].
pub(crate) const SAMPLE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of target and host of a sample; requests with longer ones are not sampled.
pub(crate) const SAMPLE_LINE_BYTES_MAX: usize = 2 * 1024;
/// Field lines of a sample: rules match by few of them.
pub(crate) const SAMPLE_FIELDS_MAX: usize = 64;
/// Bytes of the field lines of a sample.
pub(crate) const SAMPLE_FIELD_BYTES_MAX: usize = 2 * 1024;

// --- Patterns of hosts and paths ---------------------------------------------------------------------------

/// Nesting of a regular expression: parsing recurses.
pub(crate) const PATTERN_NESTING_MAX: u32 = 32;
/// Bytes of the table of a regular expression, and of the memory for making it: common ones need a few
/// kilobytes, and hostile ones are refused within a tenth of a second.
pub(crate) const PATTERN_TABLE_BYTES_MAX: usize = 256 * 1024;
/// Regular expressions of one host: a request may try them all.
pub(crate) const PATTERNS_PER_HOST_MAX: usize = 256;
/// Steps of compiling all regular expressions of one configuration. A step, one NFA state looked at for one
/// transition of a table, takes some nanoseconds: a second or two in all, and thousands of common expressions
/// with 5,000 to 200,000 steps each.
pub(crate) const PATTERN_STEPS_MAX: u64 = 256_000_000;
/// Steps that an expression counts for being parsed, beside those of its table: some microseconds.
pub(crate) const PATTERN_PARSE_STEPS: u64 = 4_000;
/// Steps that an expression counts which is refused for its size: ten milliseconds.
pub(crate) const PATTERN_REFUSED_STEPS: u64 = 4_000_000;

/// Redirects that are followed in the search for circles: as many as browsers follow.
pub(crate) const REDIRECTS_FOLLOWED_MAX: usize = 20;
/// Bytes compared in the search for circles of redirects, [`REDIRECT_BYTES`] for each request: half a second.
pub(crate) const REDIRECT_BYTES_MAX: usize = 100_000_000;
/// Bytes that each request of the search counts beside those that patterns are compared with.
pub(crate) const REDIRECT_BYTES: usize = 1_000;

// --- Balancing ---------------------------------------------------------------------------------------------

/// Picks in the cycle of endpoints with unlike weights: 8 KiB, made in a fifth of a millisecond. Finer
/// differences of weights than one in as many are rounded.
pub(crate) const SEQUENCE_LENGTH_MAX: u64 = 4_096;

// --- Rate limits -------------------------------------------------------------------------------------------

/// Words of the table of rate limits, 8 bytes each: one for each client, or other key, that is in debt at the
/// same time. 8 MiB, allocated with the first limit; up to half a million keys in debt lose nothing worth
/// counting.
pub(crate) const RATE_LIMIT_WORDS: usize = 1024 * 1024;
/// Longest debt of a key of a rate limit in microseconds, 2⁴³ - 1 or 101 days: half of the range of the
/// table's clock.
pub(crate) const RATE_LIMIT_DEBT_US_MAX: u64 = 8_796_093_022_207;

// --- Overload ----------------------------------------------------------------------------------------------

/// Microseconds by which a waiter of another core has to have waited longer to be served before one of the
/// core that gives a permit back: by this, a fifth of the permits wakes another core, and the order is strict
/// beyond it.
pub(crate) const QUEUE_SLACK_US: u64 = 20_000;
/// First limit of an adaptive overload protection: it doubles with each round of good responses.
pub(crate) const ADAPTIVE_START: u32 = 20;

// --- Security events ---------------------------------------------------------------------------------------

/// Security events of different routes and reasons that a core counts apart within a second, about 100 bytes
/// each; further ones are counted together by kind.
pub(crate) const SECURITY_EVENTS_MAX: usize = 128;

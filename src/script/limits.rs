//! Limits of scripts. A namespace may lower those of a call.

use std::time::Duration;

/// 200,000: steps of a call (calls of functions and turns of loops), which take 3 to 4 ms.
pub const STEPS_MAX: u32 = 200_000;
/// 50 ms: CPU time of a call. Steps end scripts before; this ends what one step makes expensive.
pub const CPU_MAX: Duration = Duration::from_millis(50);
/// 1 s: deadline of a call, with everything that it waits for.
pub const CALL_DEADLINE: Duration = Duration::from_secs(1);
/// 8 MiB: memory of a VM; an empty one has half a MiB.
pub const MEMORY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// 1,000: calls of a VM that wait at the same time, with about 5 KiB each.
pub const WAITING_MAX: u32 = 1_000;
/// 4: fetches of a call, whether at the same time or not.
pub const FETCHES_MAX: u32 = 4;
/// 64 KiB: content of a request that a script reads, or sends with a fetch.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// 1 MiB: content of the response to a fetch, and of a script's own reply.
pub const REPLY_BYTES_MAX: usize = 1024 * 1024;
/// 64: edits of header fields by one request.
pub const EDITS_MAX: u32 = 64;
/// 8 KiB: value of a header field; servers accept no longer ones.
pub const FIELD_BYTES_MAX: usize = 8 * 1024;
/// 64 KiB: header fields of a reply or a fetch together.
pub const FIELDS_BYTES_MAX: usize = 64 * 1024;
/// 256 KiB: text that a function of the API takes.
pub const STRING_BYTES_MAX: usize = 256 * 1024;
/// 10: lines that a call writes to the log.
pub const LOG_LINES_MAX: u32 = 10;
/// 2 KiB: a line of the log; longer ones are cut.
pub const LOG_LINE_BYTES_MAX: usize = 2 * 1024;
/// 4 KiB: names and values of `req.vars`.
pub const VARS_BYTES_MAX: usize = 4 * 1024;
/// 64: tasks of one `gw.all`.
pub const TASKS_MAX: usize = 64;
/// 60 s: longest sleep, whatever the deadline of the call.
pub const SLEEP_MAX: Duration = Duration::from_secs(60);

// --- Bundles -----------------------------------------------------------------------------------------------

/// 1 MiB: sources of a bundle.
pub const BUNDLE_BYTES_MAX: usize = 1024 * 1024;
/// 1,000: files of a bundle.
pub const BUNDLE_FILES_MAX: usize = 1_000;
/// 2,000,000: steps of loading a bundle; 1,000 routes take 30,000.
pub const LOAD_STEPS_MAX: u32 = 2_000_000;
/// 10,000: routes of a bundle.
pub const ROUTES_MAX: usize = 10_000;
/// 1,000: hooks of a bundle.
pub const HOOKS_MAX: usize = 1_000;
/// 16: groups inside each other.
pub const GROUP_DEPTH_MAX: usize = 16;
/// 1,024 bytes: a pattern of paths.
pub const PATTERN_BYTES_MAX: usize = 1_024;
/// 8: parameters of a pattern.
pub const PARAMETERS_MAX: usize = 8;
/// 32: segments of a pattern.
pub const SEGMENTS_MAX: usize = 32;
/// 64 bytes: name of a dictionary, limit, metric, secret or configuration value.
pub const NAME_BYTES_MAX: usize = 64;
/// 4 KiB: message of an error with its traceback; the rest is cut.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024;

// --- Shared state ------------------------------------------------------------------------------------------

/// 10 MiB: keys and values of one dictionary.
pub const DICTIONARY_BYTES_MAX: usize = 10 * 1024 * 1024;
/// 16: dictionaries of a namespace.
pub const DICTIONARIES_MAX: usize = 16;
/// 1 KiB: a key of a dictionary, a limit or `gw.once`.
pub const KEY_BYTES_MAX: usize = 1024;
/// 64 KiB: a value of a dictionary.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;
/// 1,000: results of `gw.once` that a VM keeps.
pub const ONCE_KEYS_MAX: usize = 1_000;
/// 1,000,000 per second: rate of a limit.
pub const LIMIT_RATE_MAX: u32 = 1_000_000;

// --- Breaker -----------------------------------------------------------------------------------------------

/// Failures of a script in a row that open its breaker.
pub const BREAKER_FAILURES: u32 = 10;
/// Failures that a call counts for which had to be stopped: it has cost a core more than others.
pub const BREAKER_KILL_WEIGHT: u32 = 5;
/// Calls of which a half must have failed to open the breaker of a script.
pub const BREAKER_CALLS: u32 = 100;
/// Time of a trial until another call may try, in us: 2 s.
pub const BREAKER_TRIAL_US: u64 = 2_000_000;

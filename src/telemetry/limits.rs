//! Limits of metrics and the access log: each with its unit and its reason.

use std::time::Duration;

/// Bytes of one block of access-log lines.
pub(crate) const LOG_BLOCK_BYTES: usize = 64 * 1024;
/// Queue of blocks for the writer thread; when it is full, lines are dropped and counted.
pub(crate) const LOG_BLOCKS_MAX: usize = 64;
/// Longest time that a line waits for its block to fill.
pub(crate) const LOG_FLUSH_AGE: Duration = Duration::from_secs(1);
/// Bytes of a path or user agent in a log line.
pub(crate) const LOG_FIELD_BYTES_MAX: usize = 1_024;

//! Limits of the command line: each with its unit and its reason.

use std::time::Duration;

// --- Data plane: size --------------------------------------------------------------------------------------

/// What a connection costs that has sent half a request, and means no good: its buffers of 16 KiB on both sides, and what the
/// kernel keeps. (Idle ones cost 3 to 9 KB.)
pub(crate) const CONNECTION_BYTES: u64 = 40 * 1024;
/// Connections may fill one part in so many of the memory, when nobody says how many there may be: the rest is for what they do.
pub(crate) const CONNECTIONS_MEMORY_PART: u64 = 2;

// --- Commands ----------------------------------------------------------------------------------------------

/// How long a command waits for a whole answer of the API: longer than a change may take there.
pub(crate) const CLI_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that a command reads: a page of the largest list has some 10 MiB.
pub(crate) const CLI_RESPONSE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Connections of one sample app of the demo; more are closed.
pub(crate) const DEMO_CONNECTIONS_MAX: usize = 256;
/// Instances that the demo counts requests of; further ones are counted together.
pub(crate) const DEMO_INSTANCES_MAX: usize = 32;

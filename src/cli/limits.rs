//! Limits of the command line: each with its unit and its reason.

use std::time::Duration;

// --- Data plane: size --------------------------------------------------------------------------------------

/// Memory of a connection that has sent half a request: its buffers of 16 KiB on both sides, and those of the
/// kernel. (Idle ones cost 3 to 9 KB.)
pub(crate) const CONNECTION_BYTES: u64 = 40 * 1024;
/// Divisor of the memory for connections, where PROXY_CONNECTIONS_MAX is not set; the rest is for their
/// requests.
pub(crate) const CONNECTIONS_MEMORY_PART: u64 = 2;

// --- Commands ----------------------------------------------------------------------------------------------

/// Longest time that a command waits for a whole response of the API: longer than a change may take there.
pub(crate) const CLI_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a response that a command reads: a page of the largest list has some 10 MiB.
pub(crate) const CLI_RESPONSE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Connections of one sample app of the demo; more are closed.
pub(crate) const DEMO_CONNECTIONS_MAX: usize = 256;
/// Instances whose requests the demo counts; further ones are counted together.
pub(crate) const DEMO_INSTANCES_MAX: usize = 32;

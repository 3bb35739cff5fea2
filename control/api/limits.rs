//! Limits of the admin API: each with its unit and its reason.

use std::time::Duration;

// --- Data plane: time --------------------------------------------------------------------------------------

/// Longest time that an answer of the admin API about an instance can be waited for: a wait occupies a place of
/// [`API_WAITS_MAX`], and whoever waits longer asks again.
pub(crate) const API_WAIT_MAX: Duration = Duration::from_secs(300);

// --- Admin API ---------------------------------------------------------------------------------------------

/// Bytes of an API request's body.
pub(crate) const API_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Connections of the admin API. Whoever is slow gives way to whoever comes.
pub(crate) const API_CONNECTIONS_MAX: usize = 512;
/// Requests of the admin API that wait for a state of an instance at one time. They do not give way to new connections, so
/// that these are an eighth of all: the rest stays free for heartbeats, registrations and metrics.
pub(crate) const API_WAITS_MAX: usize = API_CONNECTIONS_MAX / 8;
/// To read one API request.
pub(crate) const API_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle time of an API connection.
pub(crate) const API_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of an `Idempotency-Key`: a UUID has 36.
pub(crate) const API_KEY_BYTES_MAX: usize = 255;
/// Bytes of the shortest API token: 16 random hex digits are 64 bits.
pub(crate) const API_TOKEN_BYTES_MIN: usize = 16;
/// Bytes of the longest API token: fits a request head with room to spare.
pub(crate) const API_TOKEN_BYTES_MAX: usize = 1024;
/// Without a single byte taken of an API answer before the connection is closed.
pub(crate) const API_WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Apps that a status names unless more are asked for: what fits on a screen.
pub(crate) const STATUS_APPS: usize = 20;

//! Limits of the loading of credentials.

use std::time::Duration;

/// 256 KiB: the answer of an identity provider.
pub(crate) const ANSWER_BYTES_MAX: u64 = 256 * 1024;
/// 4 MiB: a file of users or keys.
pub(crate) const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// 5 s: one request to an identity provider.
pub(crate) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// 4: sources that are fetched at a time; the others wait.
pub(crate) const FETCHES_MAX: usize = 4;
/// 5 min: shortest time between two regular loads of a URL, whatever its `max-age`.
pub(crate) const REFRESH_MIN: Duration = Duration::from_secs(300);
/// 1 h: time between two regular loads of a URL without `max-age`.
pub(crate) const REFRESH_DEFAULT: Duration = Duration::from_secs(3600);
/// 24 h: longest time between two regular loads of a URL.
pub(crate) const REFRESH_MAX: Duration = Duration::from_secs(86_400);
/// 10 s: shortest time between two loads of a URL for tokens with an unknown key; random key ids cause no
/// more.
pub(crate) const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(10);
/// 2 s: time between two looks at a file.
pub(crate) const FILE_INTERVAL: Duration = Duration::from_secs(2);
/// 2 s: time until a failed load is repeated; doubles up to five minutes.
pub(crate) const RETRY_MIN: Duration = Duration::from_secs(2);
/// 5 min: longest time until a failed load is repeated.
pub(crate) const RETRY_MAX: Duration = Duration::from_secs(300);
/// 24 h: time that keys of a URL stay in use while it cannot be loaded.
pub(crate) const STALE_MAX: Duration = Duration::from_secs(86_400);
/// 2: threads that verify passwords.
pub(crate) const PASSWORD_THREADS: usize = 2;
/// 64: passwords that wait for a thread; the requests of further ones get 503.
pub(crate) const PASSWORDS_WAITING_MAX: usize = 64;
/// 4,096: messages to the loader that wait.
pub(crate) const MESSAGES_MAX: usize = 4096;
/// 4,096: events that wait for the control thread.
pub(crate) const EVENTS_MAX: usize = 4096;

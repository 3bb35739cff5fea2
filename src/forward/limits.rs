//! Limits of the forward proxy: each with its unit and its reason.

use std::time::Duration;

/// 4,000,000: rules of one list, four times the largest lists in use; 64 MB.
pub const LIST_RULES_MAX: usize = 4_000_000;
/// 128 MiB: a file of a list.
pub const LIST_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// 16: lists; each costs every request a lookup.
pub const LISTS_MAX: usize = 16;
/// Half: a list that has fewer rules than this share of the former ones is refused without `force`.
pub const LIST_LOSS_DIVISOR: usize = 2;
/// 1 MiB: a file of users.
pub const USERS_BYTES_MAX: u64 = 1024 * 1024;
/// 64: names in flight to the name servers; more would overrun the buffers of a socket.
pub const LOOKUPS_IN_FLIGHT_MAX: usize = 64;
/// 1,024: names that wait for their turn; more are refused.
pub const LOOKUPS_QUEUED_MAX: usize = 1_024;
/// 5 s: resolution of a name with all repeats.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// 5 s: shortest time that addresses are kept, whatever their TTL: shorter ones are meant to flip.
pub const NAME_TTL_MIN: Duration = Duration::from_secs(5);
/// 300 s: longest time that addresses are kept.
pub const NAME_TTL_MAX: Duration = Duration::from_secs(300);
/// 5 s: a name that could not be resolved is not asked again before.
pub const NAME_FAILURE_TTL: Duration = Duration::from_secs(5);
/// 4,096: names that a core keeps, with their addresses.
pub const NAMES_PER_CORE_MAX: usize = 4_096;
/// 16: addresses of a name; further ones are dropped.
pub const ADDRESSES_PER_NAME_MAX: usize = 16;
/// 16,384: clients whose rate, tunnels and failures a core counts; the least recently seen one is dropped.
pub const CLIENTS_PER_CORE_MAX: usize = 16_384;
/// 10: wrong passwords of a client in [`AUTH_FAILURE_WINDOW`] after which it is banned.
pub const AUTH_FAILURES_MAX: u32 = 10;
/// 60 s: window of wrong passwords.
pub const AUTH_FAILURE_WINDOW: Duration = Duration::from_secs(60);
/// 60 s: ban after too many wrong passwords.
pub const AUTH_BAN: Duration = Duration::from_secs(60);
/// 250 ms: wait for a connection before the next address is tried beside it (RFC 8305 §5).
pub const CONNECT_ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// 5 min: a tunnel without a byte in either direction.
pub const TUNNEL_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// 30 s: a tunnel one side of which has ended, without a byte of the other.
pub const TUNNEL_HALF_CLOSED_TIMEOUT: Duration = Duration::from_secs(30);
/// 24 h: a tunnel, from its connection on.
pub const TUNNEL_LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
/// 1,024: requests of cores, and answers to one, that wait between threads.
pub const MESSAGES_MAX: usize = 1_024;

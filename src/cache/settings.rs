//! Settings of a route's cache, as compiled from its configuration.

use std::time::Duration;

use crate::limits::{
    COALESCE_TIMEOUT, OBJECT_BYTES_MAX, ROUTE_BYTES_MAX, STALE_ON_DISCONNECT_RFC9111_SECONDS,
    STALE_ON_DISCONNECT_SECONDS,
};

/// Rules that decide what is stored and what is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Stores only what no reading of the headers makes personal, and ignores clients' directives that ask for
    /// fresh responses.
    #[default]
    Safe,
    /// Everything that RFC 9111 allows a shared cache.
    Rfc9111,
}

/// Treatment of responses with `Set-Cookie`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetCookies {
    /// They are not stored.
    Bypass,
    /// They are stored without the field; the client of the request gets it.
    Strip,
    /// They are stored with the field.
    Store,
}

/// Settings of one route's cache. Seconds are whole ones, as in the directives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Rules that decide.
    pub mode: Mode,
    /// Lifetime, in seconds, of responses that have none of their own; of all, if `respects_headers` is false.
    pub ttl: Option<u32>,
    /// Whether the lifetimes of responses come before `ttl`. `no-store` and `private` always do.
    pub respects_headers: bool,
    /// Statuses that are stored, sorted; in the mode `rfc9111`, those that are stored without an explicit
    /// lifetime of their own.
    pub statuses: Box<[u16]>,
    /// Whether requests with `Authorization` use the cache. `vary_headers` must then have `Authorization`.
    pub is_auth_aware: bool,
    /// Request fields whose values are part of the key, in lower case.
    pub vary_headers: Box<[Box<str>]>,
    /// Treatment of responses with `Set-Cookie`.
    pub set_cookies: SetCookies,
    /// Whether simultaneous misses for one key share one request to the origin.
    pub coalesces: bool,
    /// Time that a request waits for another's fill.
    pub coalesce_timeout: Duration,
    /// Seconds past the lifetime that a response without `stale-while-revalidate` is served during a refresh.
    pub stale_while_revalidate: u32,
    /// Seconds past the lifetime that a response without `stale-if-error` answers for failures of the origin.
    pub stale_if_error: u32,
    /// Seconds past the lifetime that a response is served while the origin cannot be reached.
    pub stale_on_disconnect: u32,
    /// Fields that target this cache, best first, before `Cache-Control` (RFC 9213).
    pub targets: Box<[Box<str>]>,
    /// Bytes of all entries of the route.
    pub bytes_max: u64,
    /// Bytes of one entry's body.
    pub object_bytes_max: u64,
    /// Patterns of paths to which `ttl` is limited, such as `*.css`; none: it applies to all.
    pub patterns: Box<[Box<str>]>,
    /// Whether the parameters of the query are sorted in the key.
    pub sorts_query: bool,
    /// Parameters of the query that are no part of the key.
    pub ignored_params: Box<[Box<str>]>,
}

impl Settings {
    /// The defaults of a mode.
    pub fn of_mode(mode: Mode) -> Self {
        let is_safe = mode == Mode::Safe;
        Self {
            mode,
            ttl: None,
            respects_headers: true,
            statuses: [200, 301, 404].into(),
            is_auth_aware: false,
            vary_headers: [].into(),
            set_cookies: if is_safe { SetCookies::Bypass } else { SetCookies::Store },
            coalesces: true,
            coalesce_timeout: COALESCE_TIMEOUT,
            stale_while_revalidate: 0,
            stale_if_error: 0,
            stale_on_disconnect: if is_safe {
                STALE_ON_DISCONNECT_SECONDS
            } else {
                STALE_ON_DISCONNECT_RFC9111_SECONDS
            },
            targets: ["cdn-cache-control".into()].into(),
            bytes_max: ROUTE_BYTES_MAX,
            object_bytes_max: OBJECT_BYTES_MAX.min(ROUTE_BYTES_MAX / 4),
            patterns: [].into(),
            sorts_query: false,
            ignored_params: [].into(),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::of_mode(Mode::Safe)
    }
}

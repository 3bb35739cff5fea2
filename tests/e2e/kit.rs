//! Test kit: a scripted origin, a raw client, a strict HTTP/1.1 parser, and the real binary as a process.
//!
//! Nothing here uses the product's own code: a bug in `wire` must not hide itself. Every wait has a deadline
//! and none is a fixed sleep; the kernel chooses every port.

#![allow(dead_code, reason = "a kit offers more than one scenario uses")]

pub(crate) mod api;
pub(crate) mod client;
pub(crate) mod clients;
pub(crate) mod clock;
pub(crate) mod h2;
pub(crate) mod h2_origin;
pub(crate) mod h2_script;
pub(crate) mod hpack;
pub(crate) mod http;
pub(crate) mod identity;
pub(crate) mod load;
pub(crate) mod origin;
pub(crate) mod pebble;
pub(crate) mod proxy;
pub(crate) mod records;
#[cfg(test)]
mod selftest;
pub(crate) mod tls;
pub(crate) mod tokens;
pub(crate) mod ws;

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

pub(crate) use api::Api;
pub(crate) use client::Client;
pub(crate) use clock::Clock;
pub(crate) use http::{Fault, Framing, Message};
pub(crate) use origin::{After, Connection, Origin};
pub(crate) use proxy::{Driver, Proxy, output};
pub(crate) use serde_json::{Value, json};
pub(crate) use tls::{Authority, Tls, TlsFault};

/// Timeout of events that should happen at once. Generous: the machine may be busy with a build.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Timeout of a response of the admin API, which waits for the disk; a build may keep the disk busy.
pub(crate) const SOON_ON_DISK: Duration = Duration::from_secs(90);

/// Runs a test on both drivers, as `name::io_uring` and `name::epoll`.
macro_rules! on_both_drivers {
    ($($(#[$meta:meta])* fn $name:ident($driver:ident) $body:block)*) => {
        $(
            mod $name {
                #[allow(unused_imports)]
                use super::*;

                $(#[$meta])*
                #[test]
                fn io_uring() {
                    run(crate::kit::Driver::IoUring);
                }

                $(#[$meta])*
                #[test]
                fn epoll() {
                    run(crate::kit::Driver::Epoll);
                }

                fn run($driver: crate::kit::Driver) $body
            }
        )*
    };
}
pub(crate) use on_both_drivers;

/// Calls `probe` until it returns a value; panics after [`SOON`] with the name of the awaited event.
pub(crate) fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    eventually_within(SOON, what, probe)
}

/// Like [`eventually`], with its own timeout.
pub(crate) fn eventually_within<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        pause();
    }
}

/// Time between two polls of a loop that has a deadline.
pub(crate) fn pause() {
    pace(Duration::from_millis(5));
}

/// Keeps the pace of a slow peer, a sampler or a poll: the time itself is what the test needs. To wait for an
/// event, use [`eventually`] or a [`Gate`].
pub(crate) fn pace(interval: Duration) {
    let (_sender, never) = std::sync::mpsc::sync_channel::<()>(0);
    let _ = never.recv_timeout(interval);
}

/// Gate that a test opens for a waiting origin.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<u64>, Condvar)>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Lets one waiter pass, now or later.
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() += 1;
        self.0.1.notify_all();
    }

    /// Passes if it is open, without waiting.
    pub(crate) fn pass_now(&self) -> bool {
        let mut count = self.0.0.lock().unwrap();
        let open = *count > 0;
        *count -= u64::from(open);
        open
    }

    /// Waits for one `open`; `false` at the timeout.
    pub(crate) fn pass(&self) -> bool {
        let (count, changed) = &*self.0;
        let mut guard = count.lock().unwrap();
        let end = Instant::now() + 3 * SOON;
        while *guard == 0 {
            let now = Instant::now();
            if now >= end {
                return false;
            }
            guard = changed.wait_timeout(guard, end - now).unwrap().0;
        }
        *guard -= 1;
        true
    }
}

/// Bytes that differ by position, which shows a lost or doubled piece.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Encodes `bytes` as a chunked body with chunks of `size`.
pub(crate) fn chunked(bytes: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in bytes.chunks(size) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

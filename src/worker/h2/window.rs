//! Receive windows that grow with bandwidth and delay, under a budget.
//!
//! ```text
//! half a window of DATA ──► PING ──► DATA … ──► ACK: did the window limit the bytes of a round trip?
//!                                          └► and faster than before: window × 4, within the budget
//! ```
//! A transfer of less than half a window costs nothing, and one that is limited by its window a few PINGs.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::limits;
use ringway_model::Tick;

use crate::accept::handshakes::network;

/// Bandwidth estimator of one connection, which sizes the windows of its streams.
pub(super) struct Growth {
    window: u32,
    /// Bytes of DATA in this burst, or since the start of the current measurement.
    bytes: u64,
    /// Times of the first and the last of them, in microseconds.
    first_us: u64,
    last_us: u64,
    /// Time of the PING of the current measurement.
    began_us: Option<u64>,
    /// Best measured rate, in bytes per second.
    best: u128,
    /// Earliest time of the next measurement.
    next: Tick,
    pause: Duration,
}

impl Growth {
    /// An estimator of a connection whose streams start with this window.
    pub(super) fn new(window: u32) -> Self {
        let pause = limits::H2_WINDOW_PAUSE;
        Self { window, bytes: 0, first_us: 0, last_us: 0, began_us: None, best: 0, next: Tick(0), pause }
    }

    /// Window of a stream.
    #[cfg(test)]
    pub(super) fn window(&self) -> u32 {
        self.window
    }

    /// Records DATA.
    pub(super) fn note_data(&mut self, bytes: u64, now_us: u64) {
        if self.began_us.is_none() && now_us.saturating_sub(self.last_us) > BURST_GAP_US {
            self.bytes = 0;
        }
        if self.bytes == 0 {
            self.first_us = now_us;
        }
        self.bytes += bytes;
        self.last_us = now_us;
    }

    /// Whether to send a PING: a large transfer is in progress, and the windows can grow.
    pub(super) fn wants_ping(&mut self, now: Tick) -> bool {
        if self.began_us.is_some() || self.bytes < u64::from(self.window / 2) {
            return false;
        }
        if now < self.next || self.window >= limits::H2_STREAM_WINDOW_MAX {
            self.bytes = 0;
            return false;
        }
        true
    }

    /// Starts a measurement with a PING.
    pub(super) fn begin(&mut self, now_us: u64) {
        self.began_us = Some(now_us);
    }

    /// Ends the measurement with the ACK of the PING. Returns the next window if it should grow: call
    /// [`grow`](Self::grow) then, or [`rest`](Self::rest).
    pub(super) fn end(&mut self, now_us: u64, now: Tick) -> Option<u32> {
        let began_us = self.began_us.take()?;
        let bytes = std::mem::take(&mut self.bytes);
        let round_trip = Duration::from_micros(now_us.saturating_sub(began_us));
        // DATA in response to window updates come after the ACK: a peer that is limited by its window has
        // sent just that since the first byte.
        let rate = u128::from(bytes) * 1_000_000 / u128::from(now_us.saturating_sub(self.first_us).max(1));
        let in_a_round_trip = rate * round_trip.as_micros() / 1_000_000;
        let is_short = in_a_round_trip >= u128::from(self.window) * 2 / 3;
        // Where the window is not the limit, a larger one does not raise the rate. 5 % is noise.
        let is_faster = rate * 20 > self.best * 21;
        if is_short && is_faster && round_trip >= ROUND_TRIP_MIN {
            self.best = rate;
            return Some(self.window.saturating_mul(GROWTH).min(limits::H2_STREAM_WINDOW_MAX));
        }
        self.rest(now);
        None
    }

    /// Records that the windows were raised.
    pub(super) fn grow(&mut self, window: u32) {
        self.window = window;
        self.pause = limits::H2_WINDOW_PAUSE;
    }

    /// Postpones the next measurement, as the windows were not raised.
    pub(super) fn rest(&mut self, now: Tick) {
        self.next = now.after(self.pause);
        self.pause = (self.pause * 2).min(limits::H2_WINDOW_PAUSE_MAX);
    }
}

/// Returns the window of a client's connection for that of its streams: one stream alone must not exhaust it.
pub(super) fn connection_window(window: u32) -> u32 {
    window.saturating_mul(2).max(limits::H2_CONNECTION_WINDOW)
}

/// Returns the maximum of concurrent requests of a connection to an endpoint for the window of its streams:
/// slow readers must not exhaust the window of the connection.
pub(super) fn streams_max(window: u32) -> usize {
    (UPSTREAM_CONNECTION_WINDOW / window).max(1) as usize
}

/// Window of a connection to an endpoint.
pub(super) const UPSTREAM_CONNECTION_WINDOW: u32 =
    limits::H2_UPSTREAM_WINDOW * limits::H2_UPSTREAM_STREAMS_MAX as u32;

/// Pause that ends a burst: earlier bytes do not show the rate of the peer.
const BURST_GAP_US: u64 = 5_000;
/// Growth factor of a window. Two round trips show whether it was enough.
const GROWTH: u32 = 4;
/// Minimum round-trip time: below it, the initial windows allow a gigabit per second.
const ROUND_TRIP_MIN: Duration = Duration::from_millis(1);

/// Budget for the growth of client windows: of a core, and of each client.
#[derive(Clone, Default)]
pub(crate) struct Budget(Rc<Spent>);

#[derive(Default)]
struct Spent {
    bytes: Cell<u32>,
    /// Clients with larger windows only: some tens at most, by the limit of the core.
    clients: RefCell<HashMap<u128, u32, ahash::RandomState>>,
}

/// Part of the budget that one connection has taken; released on drop.
pub(super) struct Grant {
    budget: Budget,
    client: Option<u128>,
    bytes: u32,
}

impl Budget {
    /// An empty grant for a connection of this client; trusted proxies have no limit of their own.
    pub(super) fn grant(&self, client: Option<IpAddr>) -> Grant {
        Grant { budget: self.clone(), client: client.map(network), bytes: 0 }
    }
}

impl Grant {
    /// Raises the grant to `bytes` in all, if the budget allows.
    pub(super) fn raise_to(&mut self, bytes: u32) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let spent = &self.budget.0;
        if spent.bytes.get() + more > limits::H2_WINDOW_GROWTH_PER_CORE {
            return false;
        }
        if let Some(client) = self.client {
            let mut clients = spent.clients.borrow_mut();
            let of_client = clients.get(&client).copied().unwrap_or_default() + more;
            if of_client > limits::H2_WINDOW_GROWTH_PER_CLIENT {
                return false;
            }
            if of_client > 0 {
                clients.insert(client, of_client);
            }
        }
        spent.bytes.update(|bytes| bytes + more);
        self.bytes += more;
        true
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let spent = &self.budget.0;
        spent.bytes.update(|bytes| bytes - self.bytes);
        if let Some(client) = self.client.filter(|_| self.bytes > 0) {
            let mut clients = spent.clients.borrow_mut();
            let left = clients.get(&client).copied().unwrap_or_default() - self.bytes;
            match left {
                0 => drop(clients.remove(&client)),
                left => drop(clients.insert(client, left)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const MIB: u32 = 1024 * 1024;

    /// Simulates a transfer of some seconds over a path with a bandwidth and a delay, by a peer that sends as
    /// much as its window allows. Returns the final window and the number of PINGs.
    fn transfer(bytes_per_second: u64, round_trip: Duration) -> (u32, u32) {
        const STEP_US: u64 = 100;
        let mut growth = Growth::new(limits::H2_STREAM_WINDOW);
        let (mut pings, mut pong) = (0, None);
        let rtt_us = round_trip.as_micros() as u64;
        // DATA within the last round trip: their window was not granted again yet.
        let (mut came, mut recent) = (VecDeque::new(), 0);
        for now_us in (0..20_000_000).step_by(STEP_US as usize) {
            let now = Tick(now_us / 1000);
            while let Some((at, bytes)) = came.front().copied()
                && at + rtt_us <= now_us
            {
                came.pop_front();
                recent -= bytes;
            }
            if pong.is_some_and(|pong| pong <= now_us) {
                pong = None;
                if let Some(window) = growth.end(now_us, now) {
                    growth.grow(window);
                }
            }
            let bytes = (bytes_per_second * STEP_US / 1_000_000).min(u64::from(growth.window()) - recent);
            if bytes > 0 {
                came.push_back((now_us, bytes));
                recent += bytes;
                growth.note_data(bytes, now_us);
            }
            if growth.wants_ping(now) {
                pings += 1;
                growth.begin(now_us);
                pong = Some(now_us + rtt_us);
            }
        }
        (growth.window(), pings)
    }

    #[test]
    fn windows_grow_to_what_the_path_holds() {
        let ms = Duration::from_millis;
        // 60 MB/s at 50 ms are 3 MB on the way.
        assert_eq!(transfer(60_000_000, ms(50)), (4 * MIB, 2));
        // 10 MB/s at 50 ms are 500 KB.
        let (window, _) = transfer(10_000_000, ms(50));
        assert_eq!(window, MIB);
        // 2 MB/s at 50 ms are 100 KB: the first window is enough, and measurements become rare.
        let (window, pings) = transfer(2_000_000, ms(50));
        assert_eq!(window, limits::H2_STREAM_WINDOW);
        assert!(pings < 12, "{pings}");
        // A burst of a whole window, and then a wait for more.
        assert_eq!(transfer(5_000_000_000, ms(50)).0, 4 * MIB);
        // On the same machine.
        assert_eq!(transfer(5_000_000_000, Duration::from_micros(200)).0, limits::H2_STREAM_WINDOW);
    }

    #[test]
    fn a_small_body_costs_nothing() {
        let mut growth = Growth::new(limits::H2_STREAM_WINDOW);
        growth.note_data(u64::from(limits::H2_STREAM_WINDOW / 2 - 1), 0);
        assert!(!growth.wants_ping(Tick(0)));
        growth.note_data(1, 5_000);
        assert!(growth.wants_ping(Tick(0)));
        // DATA after a pause are another burst.
        growth.note_data(1, 10_001);
        assert!(!growth.wants_ping(Tick(0)));
    }

    #[test]
    fn the_budget_limits_a_core_and_each_client() {
        let budget = Budget::default();
        let client = |last| Some(IpAddr::from([192, 0, 2, last]));
        let mut first = budget.grant(client(1));
        assert!(first.raise_to(7 * MIB) && first.raise_to(15 * MIB));
        let mut second = budget.grant(client(1));
        assert!(!second.raise_to(2 * MIB), "limit of the client");
        assert!(second.raise_to(MIB));
        // A trusted proxy stands for many clients.
        let mut proxy = budget.grant(None);
        assert!(proxy.raise_to(48 * MIB));
        assert!(!budget.grant(client(2)).raise_to(1), "limit of the core");
        drop(first);
        assert!(second.raise_to(16 * MIB));
        drop((second, proxy));
        assert_eq!((budget.0.bytes.get(), budget.0.clients.borrow().len()), (0, 0));
    }

    #[test]
    fn slow_readers_never_exhaust_the_window_of_a_shared_connection() {
        assert_eq!(streams_max(limits::H2_UPSTREAM_WINDOW), limits::H2_UPSTREAM_STREAMS_MAX);
        let mut window = limits::H2_UPSTREAM_WINDOW;
        while window <= limits::H2_STREAM_WINDOW_MAX {
            assert!(streams_max(window) as u64 * u64::from(window) <= u64::from(UPSTREAM_CONNECTION_WINDOW));
            assert!(connection_window(window) >= 2 * window);
            window *= 2;
        }
    }
}

//! Receive windows that grow with bandwidth and delay, under a budget.
//!
//! ```text
//! half a window of DATA at once ──► PING ──► DATA … ──► PONG: as much in a round trip as the window lets through?
//!                                                 └► and faster than ever: four times the window, while the budget lasts
//! ```
//! It costs a transfer of less than half a window nothing, and one that is short of its window a few PINGs.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::limits;
use ringway_model::Tick;

use crate::accept::handshakes::network;

/// Measures one connection and says how large the windows of its streams should be.
pub(super) struct Growth {
    window: u32,
    /// Bytes of DATA that came in this burst, or since it began that is being measured.
    bytes: u64,
    /// When the first and the last of them came, in microseconds.
    first_us: u64,
    last_us: u64,
    /// When the PING of this measurement was sent.
    began_us: Option<u64>,
    /// The best that was measured, in bytes a second.
    best: u128,
    /// No measurement before.
    next: Tick,
    pause: Duration,
}

impl Growth {
    /// Of a connection whose streams begin with this window.
    pub(super) fn new(window: u32) -> Self {
        let pause = limits::H2_WINDOW_PAUSE;
        Self { window, bytes: 0, first_us: 0, last_us: 0, began_us: None, best: 0, next: Tick(0), pause }
    }

    /// The window of a stream.
    #[cfg(test)]
    pub(super) fn window(&self) -> u32 {
        self.window
    }

    /// DATA came.
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

    /// Whether a PING is worth it now: something large is on its way, and windows may still grow.
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

    /// The PING is sent.
    pub(super) fn begin(&mut self, now_us: u64) {
        self.began_us = Some(now_us);
    }

    /// Its answer came. The next window, if that should be larger: [`grow`](Self::grow) then, or
    /// [`rest`](Self::rest).
    pub(super) fn end(&mut self, now_us: u64, now: Tick) -> Option<u32> {
        let began_us = self.began_us.take()?;
        let bytes = std::mem::take(&mut self.bytes);
        let round_trip = Duration::from_micros(now_us.saturating_sub(began_us));
        // What comes in answer to our window updates comes behind the answer to the PING: a peer that is held
        // up by its window has sent just that since the first byte.
        let rate = u128::from(bytes) * 1_000_000 / u128::from(now_us.saturating_sub(self.first_us).max(1));
        let in_a_round_trip = rate * round_trip.as_micros() / 1_000_000;
        let is_short = in_a_round_trip >= u128::from(self.window) * 2 / 3;
        // Where the window is not what is short, a larger one makes nothing faster. 5 % is noise.
        let is_faster = rate * 20 > self.best * 21;
        if is_short && is_faster && round_trip >= ROUND_TRIP_MIN {
            self.best = rate;
            return Some(self.window.saturating_mul(GROWTH).min(limits::H2_STREAM_WINDOW_MAX));
        }
        self.rest(now);
        None
    }

    /// The windows have been made larger.
    pub(super) fn grow(&mut self, window: u32) {
        self.window = window;
        self.pause = limits::H2_WINDOW_PAUSE;
    }

    /// They have not: measures again after a while.
    pub(super) fn rest(&mut self, now: Tick) {
        self.next = now.after(self.pause);
        self.pause = (self.pause * 2).min(limits::H2_WINDOW_PAUSE_MAX);
    }
}

/// The window of a client's connection, given that of its streams: one of them alone must not use it up.
pub(super) fn connection_window(window: u32) -> u32 {
    window.saturating_mul(2).max(limits::H2_CONNECTION_WINDOW)
}

/// Requests at one time on a connection to an endpoint, given the window of its streams: those that are read
/// slowly must not use up the window of all.
pub(super) fn streams_max(window: u32) -> usize {
    (UPSTREAM_CONNECTION_WINDOW / window).max(1) as usize
}

/// The window of a connection to an endpoint.
pub(super) const UPSTREAM_CONNECTION_WINDOW: u32 =
    limits::H2_UPSTREAM_WINDOW * limits::H2_UPSTREAM_STREAMS_MAX as u32;

/// A longer silence ends a burst: what came before it says nothing about how fast the peer can send.
const BURST_GAP_US: u64 = 5_000;
/// How much larger a window gets at a time. It takes two round trips each time to see whether that was
/// enough.
const GROWTH: u32 = 4;
/// On a shorter way, the smallest windows let a gigabit through.
const ROUND_TRIP_MIN: Duration = Duration::from_millis(1);

/// Bytes by which windows of clients' connections may have grown: of a core, and of each client.
#[derive(Clone, Default)]
pub(crate) struct Budget(Rc<Spent>);

#[derive(Default)]
struct Spent {
    bytes: Cell<u32>,
    /// Only those with larger windows: some tens at most, by the bound of the core.
    clients: RefCell<HashMap<u128, u32, ahash::RandomState>>,
}

/// What the windows of one connection have taken of the budget; given back when dropped.
pub(super) struct Grant {
    budget: Budget,
    client: Option<u128>,
    bytes: u32,
}

impl Budget {
    /// Nothing yet, for a connection of this client; a proxy of ours has no bound of its own.
    pub(super) fn grant(&self, client: Option<IpAddr>) -> Grant {
        Grant { budget: self.clone(), client: client.map(network), bytes: 0 }
    }
}

impl Grant {
    /// Makes it so many bytes in all, as far as the budget lasts.
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

    /// A path with a bandwidth and a delay, on which a peer sends as much as its window lets it, for some
    /// seconds. Returns the window at the end and how many PINGs that took.
    fn transfer(bytes_per_second: u64, round_trip: Duration) -> (u32, u32) {
        const STEP_US: u64 = 100;
        let mut growth = Growth::new(limits::H2_STREAM_WINDOW);
        let (mut pings, mut pong) = (0, None);
        let rtt_us = round_trip.as_micros() as u64;
        // What came within the last round trip: only that was granted again since.
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
        // 2 MB/s at 50 ms are 100 KB: the first window is enough, and asking grows rare.
        let (window, pings) = transfer(2_000_000, ms(50));
        assert_eq!(window, limits::H2_STREAM_WINDOW);
        assert!(pings < 12, "{pings}");
        // A burst of all that the window lets through, and then a wait for more.
        assert_eq!(transfer(5_000_000_000, ms(50)).0, 4 * MIB);
        // The same machine.
        assert_eq!(transfer(5_000_000_000, Duration::from_micros(200)).0, limits::H2_STREAM_WINDOW);
    }

    #[test]
    fn a_small_body_costs_nothing() {
        let mut growth = Growth::new(limits::H2_STREAM_WINDOW);
        growth.note_data(u64::from(limits::H2_STREAM_WINDOW / 2 - 1), 0);
        assert!(!growth.wants_ping(Tick(0)));
        growth.note_data(1, 5_000);
        assert!(growth.wants_ping(Tick(0)));
        // Another after a while is not the same burst.
        growth.note_data(1, 10_001);
        assert!(!growth.wants_ping(Tick(0)));
    }

    #[test]
    fn the_budget_bounds_a_core_and_each_client() {
        let budget = Budget::default();
        let client = |last| Some(IpAddr::from([192, 0, 2, last]));
        let mut first = budget.grant(client(1));
        assert!(first.raise_to(7 * MIB) && first.raise_to(15 * MIB));
        let mut second = budget.grant(client(1));
        assert!(!second.raise_to(2 * MIB), "a client's own bound");
        assert!(second.raise_to(MIB));
        // A proxy of ours stands for many.
        let mut proxy = budget.grant(None);
        assert!(proxy.raise_to(48 * MIB));
        assert!(!budget.grant(client(2)).raise_to(1), "the core's bound");
        drop(first);
        assert!(second.raise_to(16 * MIB));
        drop((second, proxy));
        assert_eq!((budget.0.bytes.get(), budget.0.clients.borrow().len()), (0, 0));
    }

    #[test]
    fn slow_readers_never_use_up_the_window_of_a_shared_connection() {
        assert_eq!(streams_max(limits::H2_UPSTREAM_WINDOW), limits::H2_UPSTREAM_STREAMS_MAX);
        let mut window = limits::H2_UPSTREAM_WINDOW;
        while window <= limits::H2_STREAM_WINDOW_MAX {
            assert!(streams_max(window) as u64 * u64::from(window) <= u64::from(UPSTREAM_CONNECTION_WINDOW));
            assert!(connection_window(window) >= 2 * window);
            window *= 2;
        }
    }
}

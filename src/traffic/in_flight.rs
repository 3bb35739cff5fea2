//! Requests in flight per endpoint, counted by each core on a cache line of its own.
//!
//! ```text
//! core:    pick an endpoint ─► InFlight::begin(core) ─► Guard … dropped at the end of the attempt
//! control: a snapshot without the endpoint is acknowledged by all cores ─► InFlight::requests() only falls
//! ```
//! A core writes its own line only, with plain stores; the control thread adds the lines up. The sum is exact
//! for an endpoint that is in no core's snapshot: a core's acknowledgement follows all of its earlier stores.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Counters of one endpoint. The lines are allocated with the first request, so that idle endpoints cost
/// nothing.
#[derive(Debug, Default)]
pub struct InFlight {
    cores: usize,
    lines: OnceLock<Box<[Line]>>,
    is_drained: AtomicBool,
}

/// One core's counters, on a cache line of their own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line {
    requests: AtomicU32,
    tunnels: AtomicU32,
}

/// A request in flight, counted until this is dropped.
#[derive(Debug)]
#[must_use = "the request is counted until this is dropped"]
pub struct Guard<'a> {
    counter: Option<&'a AtomicU32>,
}

impl InFlight {
    /// Returns counters of `cores` cores, all zero.
    pub fn new(cores: usize) -> Self {
        Self { cores, lines: OnceLock::new(), is_drained: AtomicBool::new(false) }
    }

    /// Counts a request. Called by core number `core` only.
    #[inline]
    pub fn begin(&self, core: usize) -> Guard<'_> {
        self.line(core).map_or(Guard { counter: None }, |line| Guard::count(&line.requests))
    }

    /// Counts a tunnel, in addition to the request that opened it. Called by core number `core` only.
    pub fn begin_tunnel(&self, core: usize) -> Guard<'_> {
        self.line(core).map_or(Guard { counter: None }, |line| Guard::count(&line.tunnels))
    }

    /// Requests in flight on all cores, tunnels included.
    pub fn requests(&self) -> u64 {
        self.sum(|line| &line.requests)
    }

    /// Open upgraded connections on all cores.
    pub fn tunnels(&self) -> u64 {
        self.sum(|line| &line.tunnels)
    }

    /// Whether the endpoint's drain is over: its tunnels then end as soon as it is removed.
    pub fn is_drained(&self) -> bool {
        self.is_drained.load(Ordering::Relaxed)
    }

    /// Sets [`is_drained`](Self::is_drained). To be called before the snapshot without the endpoint is
    /// published.
    pub fn set_drained(&self, is_drained: bool) {
        self.is_drained.store(is_drained, Ordering::Relaxed);
    }

    #[inline]
    fn line(&self, core: usize) -> Option<&Line> {
        let lines = self.lines.get_or_init(|| (0..self.cores).map(|_| Line::default()).collect());
        debug_assert!(core < lines.len(), "core {core} of {}", lines.len());
        lines.get(core)
    }

    fn sum(&self, counter: impl Fn(&Line) -> &AtomicU32) -> u64 {
        let lines = self.lines.get().map_or(&[][..], |lines| lines);
        lines.iter().map(|line| u64::from(counter(line).load(Ordering::Relaxed))).sum()
    }
}

impl<'a> Guard<'a> {
    #[inline]
    fn count(counter: &'a AtomicU32) -> Self {
        // A load and a store instead of an atomic addition: the line has one writer.
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        Self { counter: Some(counter) }
    }
}

impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(counter) = self.counter {
            counter.store(counter.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_tunnels_of_all_cores_are_added_up() {
        let counts = InFlight::new(3);
        assert_eq!((counts.requests(), counts.tunnels()), (0, 0));
        let first = counts.begin(0);
        let second = counts.begin(2);
        let tunnel = counts.begin_tunnel(2);
        assert_eq!((counts.requests(), counts.tunnels()), (2, 1));
        drop(first);
        drop(tunnel);
        assert_eq!((counts.requests(), counts.tunnels()), (1, 0));
        drop(second);
        assert_eq!(counts.requests(), 0);
    }

    /// The guarantee that drains rely on: an acknowledgement is a message, and its receiver sees all
    /// earlier counts of the core.
    #[test]
    fn counts_before_an_acknowledgement_are_visible_after_it() {
        for _ in 0..1_000 {
            let counts = InFlight::new(1);
            let (acknowledge, acknowledged) = std::sync::mpsc::channel();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let request = counts.begin(0);
                    let sent = acknowledge.send(());
                    std::mem::forget(request);
                    sent
                });
                assert_eq!(acknowledged.recv(), Ok(()));
                assert_eq!(counts.requests(), 1);
            });
        }
    }
}

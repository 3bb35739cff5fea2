//! Requests in flight per endpoint, counted by each core on a cache line of its own.
//!
//! ```text
//! core:    pick an endpoint ─► InFlight::begin(core) ─► Guard … dropped at the end of the attempt
//! control: a snapshot without the endpoint is acknowledged by all cores ─► InFlight::requests() only falls
//! ```
//! A core writes its own line only, with plain stores; the control thread adds the lines up. The sum is exact
//! for an endpoint that is in no core's snapshot: a core's acknowledgement follows all of its earlier stores.
//!
//! Pools that balance by load, or bound the requests of each endpoint, also count on a word that all cores
//! share. A core's own count is blind there: with a few requests per core, its lines are nearly all zero
//! while an endpoint is full. Adding up all lines reads one foreign cache line per core and candidate, which
//! is some microseconds with 64 cores; the shared word costs two atomic additions per request.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::permits::{Permit, Permits};

/// Counters of one endpoint. The lines are allocated with the first request, so that idle endpoints cost
/// nothing.
#[derive(Debug, Default)]
pub struct InFlight {
    cores: usize,
    lines: OnceLock<Box<[Line]>>,
    /// Count over all cores, for pools that need it at every pick.
    shared: OnceLock<Box<Permits>>,
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
    permit: Option<Permit<'a>>,
}

impl InFlight {
    /// Returns counters of `cores` cores, all zero.
    pub fn new(cores: usize) -> Self {
        Self { cores, lines: OnceLock::new(), shared: OnceLock::new(), is_drained: AtomicBool::new(false) }
    }

    /// Counts a request. Called by core number `core` only.
    #[inline]
    pub fn begin(&self, core: usize) -> Guard<'_> {
        Guard::count(self.line(core).map(|line| &line.requests))
    }

    /// Counts a request, on the shared word too; `None` while `max` are in flight there. Called by core
    /// number `core` only.
    pub fn begin_shared(&self, core: usize, max: u32) -> Option<Guard<'_>> {
        let permit = self.shared.get_or_init(Box::default).take(max)?;
        let mut guard = self.begin(core);
        guard.permit = Some(permit);
        Some(guard)
    }

    /// Counts a tunnel, in addition to the request that opened it. Called by core number `core` only.
    pub fn begin_tunnel(&self, core: usize) -> Guard<'_> {
        Guard::count(self.line(core).map(|line| &line.tunnels))
    }

    /// Requests in flight on all cores that were counted with [`begin_shared`](Self::begin_shared). One
    /// relaxed load.
    #[inline]
    pub fn shared_requests(&self) -> u32 {
        self.shared.get().map_or(0, |shared| shared.in_use())
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
    fn count(counter: Option<&'a AtomicU32>) -> Self {
        if let Some(counter) = counter {
            // A load and a store instead of an atomic addition: the line has one writer.
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
        Self { counter, permit: None }
    }

    /// Whether it is counted on the shared word, too.
    pub fn has_permit(&self) -> bool {
        self.permit.is_some()
    }

    /// Ends the count on the shared word: from here on, the request may take hours and is no load.
    pub fn release_permit(&mut self) {
        self.permit = None;
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

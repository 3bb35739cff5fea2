//! Successes and failures over a sliding window, counted by each core on a line of its own.
//!
//! ```text
//! core 0:   add ─► line 0: [ b0 b1 … b9 ]  ┐
//! core 1:   add ─► line 1: [ b0 b1 … b9 ]  ├─ sum(now): buckets of the last ten periods
//! ```
//! Time is divided into periods of one bucket's length. A line is a ring of ten buckets, each with the number
//! of the period that it counts; a bucket of an older period counts as empty, so that nothing is swept. A
//! core writes its own line only, with plain stores; any thread adds the lines up.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ringway_model::Percent;

use crate::verdict::Verdict;

/// Buckets of a line, hence periods of a window.
pub const BUCKETS: usize = 10;

/// Counters of attempts over the last ten periods. The lines, 128 bytes per core, are allocated with the
/// first attempt: idle ones cost nothing.
#[derive(Debug)]
pub struct Tally {
    cores: usize,
    bucket_us: u64,
    lines: OnceLock<Box<[Line]>>,
}

/// Attempts within a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Attempts with [`Verdict::Success`].
    pub successes: u64,
    /// Attempts with [`Verdict::Failure`].
    pub failures: u64,
}

impl Counts {
    /// Attempts of both kinds.
    pub fn total(self) -> u64 {
        self.successes + self.failures
    }

    /// Share of the failures; zero without attempts.
    pub fn error_rate(self) -> Percent {
        let hundredths = (self.failures * 10_000).checked_div(self.total()).unwrap_or(0);
        Percent::from_hundredths(hundredths as u16).unwrap_or(Percent::ALL)
    }
}

/// One core's buckets. 128 bytes: some processors fetch cache lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Line([Bucket; BUCKETS]);

#[derive(Debug)]
struct Bucket {
    period: AtomicU32,
    successes: AtomicU32,
    failures: AtomicU32,
}

impl Tally {
    /// Returns empty counters of `cores` cores with buckets of this length, and a window of ten of them.
    ///
    /// A bucket of zero length is one microsecond long.
    pub fn new(cores: usize, bucket: Duration) -> Self {
        let bucket_us = u64::try_from(bucket.as_micros()).unwrap_or(u64::MAX).max(1);
        Self { cores, bucket_us, lines: OnceLock::new() }
    }

    /// Length of a bucket.
    pub fn bucket(&self) -> Duration {
        Duration::from_micros(self.bucket_us)
    }

    /// Counts an attempt; a neutral one is not counted. Called by core number `core` only, with a `now_us`
    /// that does not fall. Counters stop at their largest value.
    #[inline]
    pub fn add(&self, core: usize, verdict: Verdict, now_us: u64) {
        match verdict {
            Verdict::Success => self.count(core, now_us, |bucket| &bucket.successes),
            Verdict::Failure => self.count(core, now_us, |bucket| &bucket.failures),
            Verdict::Neutral => {}
        }
    }

    /// Attempts of all cores in the present period and the nine before it. Reads every core's line.
    pub fn sum(&self, now_us: u64) -> Counts {
        self.sum_since(0, now_us)
    }

    /// The same without the periods that began before `since_us`: for a window that starts again after a
    /// change.
    pub fn sum_since(&self, since_us: u64, now_us: u64) -> Counts {
        let last = self.period(now_us);
        let oldest = last.saturating_sub(BUCKETS as u32 - 1);
        let first = oldest.max(self.period(since_us.saturating_add(self.bucket_us - 1)));
        let lines = self.lines.get().map_or(&[][..], |lines| lines);
        lines.iter().flat_map(|line| &line.0).fold(Counts::default(), |sum, bucket| {
            // Acquire pairs with the release of `count`: the counters are those of this period, or of a later
            // one, never of an earlier one.
            let period = bucket.period.load(Ordering::Acquire);
            if !(first..=last).contains(&period) {
                return sum;
            }
            Counts {
                successes: sum.successes + u64::from(bucket.successes.load(Ordering::Relaxed)),
                failures: sum.failures + u64::from(bucket.failures.load(Ordering::Relaxed)),
            }
        })
    }

    #[inline]
    fn count(&self, core: usize, now_us: u64, counter: impl Fn(&Bucket) -> &AtomicU32) {
        let lines = self.lines.get_or_init(|| (0..self.cores).map(|_| Line::new()).collect());
        debug_assert!(core < lines.len(), "core {core} of {}", lines.len());
        let Some(line) = lines.get(core) else { return };
        let period = self.period(now_us);
        let bucket = &line.0[period as usize % BUCKETS];
        if bucket.period.load(Ordering::Relaxed) != period {
            bucket.successes.store(0, Ordering::Relaxed);
            bucket.failures.store(0, Ordering::Relaxed);
            bucket.period.store(period, Ordering::Release);
        }
        // A load and a store instead of an atomic addition: the line has one writer.
        let counter = counter(bucket);
        counter.store(counter.load(Ordering::Relaxed).saturating_add(1), Ordering::Relaxed);
    }

    /// Number of the period at a time: it fits 32 bits for decades, even with buckets of a second.
    #[inline]
    fn period(&self, at_us: u64) -> u32 {
        u32::try_from(at_us / self.bucket_us).unwrap_or(u32::MAX)
    }
}

impl Line {
    fn new() -> Self {
        Self(std::array::from_fn(|_| Bucket {
            period: AtomicU32::new(0),
            successes: AtomicU32::new(0),
            failures: AtomicU32::new(0),
        }))
    }
}

#[cfg(test)]
#[path = "tally_tests.rs"]
mod tests;

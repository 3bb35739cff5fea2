//! Latencies of a rule's responses, and the time in which 95 % of them come.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Histogram of latencies. Each core has a line that it alone writes; every some seconds it halves its
/// counts, so that what was long ago soon counts nothing. The lines are allocated with the first latency.
#[derive(Debug)]
pub(crate) struct Latencies {
    cores: usize,
    lines: OnceLock<Box<[Line]>>,
    /// Number of the second in which the quantile was last read, and its bucket.
    last: AtomicU64,
}

#[derive(Debug)]
#[repr(align(128))]
struct Line {
    /// Number of the period of the last halving.
    period: AtomicU32,
    counts: [AtomicU32; BUCKETS],
}

impl Latencies {
    pub(crate) fn new(cores: usize) -> Self {
        Self { cores, lines: OnceLock::new(), last: AtomicU64::new(pack(u32::MAX, NONE)) }
    }

    /// Records a latency. Called by core number `core` only.
    pub(crate) fn record(&self, core: usize, latency_us: u64, now_us: u64) {
        let lines = self.lines.get_or_init(|| (0..self.cores).map(|_| Line::default()).collect());
        let Some(line) = lines.get(core) else { return };
        let period = number(now_us, PERIOD);
        if line.period.load(Ordering::Relaxed) != period {
            line.period.store(period, Ordering::Relaxed);
            for count in &line.counts {
                count.store(count.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
            }
        }
        let count = &line.counts[bucket_of(latency_us)];
        count.store(count.load(Ordering::Relaxed).saturating_add(1), Ordering::Relaxed);
    }

    /// Time in which 95 % of the responses come, a millisecond at least; `None` while too few are known.
    pub(crate) fn p95(&self, now_us: u64) -> Option<Duration> {
        let second = number(now_us, Duration::from_secs(1));
        let (at, bucket) = unpack(self.last.load(Ordering::Relaxed));
        let bucket = if at == second { bucket } else { self.read(second, number(now_us, PERIOD)) };
        (bucket != NONE).then(|| Duration::from_micros(end_of(bucket as usize)).max(DELAY_MIN))
    }

    #[cold]
    fn read(&self, second: u32, period: u32) -> u32 {
        let mut counts = [0_u64; BUCKETS];
        for line in self.lines.get().into_iter().flatten() {
            // A core without requests does not halve its counts.
            if line.period.load(Ordering::Relaxed).saturating_add(PERIODS_KEPT) < period {
                continue;
            }
            for (sum, count) in counts.iter_mut().zip(&line.counts) {
                *sum += u64::from(count.load(Ordering::Relaxed));
            }
        }
        let total: u64 = counts.iter().sum();
        let mut left = total - total / 20;
        let found = counts.iter().position(|count| {
            left = left.saturating_sub(*count);
            left == 0
        });
        let bucket = found.filter(|_| total >= SAMPLES_MIN).map_or(NONE, |bucket| bucket as u32);
        self.last.store(pack(second, bucket), Ordering::Relaxed);
        bucket
    }
}

impl Default for Line {
    fn default() -> Self {
        Self { period: AtomicU32::new(0), counts: std::array::from_fn(|_| AtomicU32::new(0)) }
    }
}

/// Bucket of a latency: four for each power of two.
fn bucket_of(latency_us: u64) -> usize {
    let latency_us = latency_us.max(4);
    let power = latency_us.ilog2() as usize;
    let quarter = (latency_us >> (power - 2)) as usize & 3;
    ((power - 2) * 4 + quarter).min(BUCKETS - 1)
}

/// First latency beyond a bucket, in microseconds.
fn end_of(bucket: usize) -> u64 {
    let (power, quarter) = (bucket / 4 + 2, bucket as u64 % 4);
    (quarter + 5) << (power - 2)
}

fn number(now_us: u64, period: Duration) -> u32 {
    u32::try_from(now_us / period.as_micros() as u64).unwrap_or(u32::MAX - 1)
}

fn pack(number: u32, bucket: u32) -> u64 {
    u64::from(number) << 32 | u64::from(bucket)
}

fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

/// Bucket of no quantile.
const NONE: u32 = u32::MAX;
/// Up to 2²⁷ microseconds, or two minutes.
const BUCKETS: usize = 100;
/// Time between two halvings.
const PERIOD: Duration = Duration::from_secs(5);
/// Periods after which the line of a core without requests does not count.
const PERIODS_KEPT: u32 = 12;
/// Latencies from which the quantile is known: fewer have no one in twenty.
const SAMPLES_MIN: u64 = 40;
/// Shortest delay: an earlier second attempt costs more than it gains.
const DELAY_MIN: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(duration: Option<Duration>) -> Option<u128> {
        duration.map(|duration| duration.as_millis())
    }

    #[test]
    fn the_quantile_is_that_of_all_cores_and_follows_a_change() {
        let latencies = Latencies::new(2);
        assert_eq!(latencies.p95(0), None);
        for at in 0..100 {
            latencies.record(at % 2, if at < 93 { 2_000 } else { 500_000 }, 1_000_000);
        }
        let slow = millis(latencies.p95(1_000_000));
        assert!(matches!(slow, Some(500..=640)), "seven of a hundred are slow: {slow:?}");
        // The value of a second holds for that second.
        for _ in 0..1_000 {
            latencies.record(0, 2_000, 1_100_000);
        }
        assert_eq!(millis(latencies.p95(1_999_999)), slow);
        let fast = millis(latencies.p95(2_000_000));
        assert!(matches!(fast, Some(2..=3)), "{fast:?}");
    }

    #[test]
    fn what_was_long_ago_counts_nothing() {
        let latencies = Latencies::new(1);
        for _ in 0..100 {
            latencies.record(0, 2_000, 0);
        }
        assert!(latencies.p95(5_000_000).is_some());
        assert_eq!(latencies.p95(120_000_000), None);
    }

    #[test]
    fn a_short_quantile_is_a_millisecond() {
        let latencies = Latencies::new(1);
        for _ in 0..100 {
            latencies.record(0, 0, 0);
        }
        assert_eq!(latencies.p95(0), Some(Duration::from_millis(1)));
    }

    proptest! {
        #[test]
        fn a_bucket_ends_within_a_quarter_behind_each_of_its_latencies(latency_us in 4_u64..60_000_000) {
            let end = end_of(bucket_of(latency_us));
            prop_assert!(end > latency_us && end <= latency_us + latency_us / 4 + 1, "{end}");
        }
    }
}

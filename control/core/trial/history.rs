//! Request counts of each core in the last minute, second by second; pure.

use std::collections::VecDeque;
use std::time::Duration;

use ringway_model::CoreId;

use super::Tally;
use super::gate::Baseline;
use crate::time::Micros;

/// Counters of one core since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CoreCounts {
    pub(crate) core: CoreId,
    pub(crate) tally: Tally,
    /// Tasks that panicked.
    pub(crate) panics: u64,
}

/// Counts per core and second of the last minute.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// The last reading, and its time.
    last: Vec<CoreCounts>,
    read_at: Micros,
    /// One entry for each core, the oldest second first.
    seconds: VecDeque<Vec<Tally>>,
}

impl History {
    /// Time at which [`History::record`] is due.
    pub(crate) fn next_deadline(&self) -> Micros {
        self.read_at.after(SECOND)
    }

    /// Takes a reading of all cores, in the same order each time; one before it is due is ignored.
    pub(crate) fn record(&mut self, counts: impl Iterator<Item = CoreCounts>, now: Micros) {
        if now < self.next_deadline() && !self.last.is_empty() {
            return;
        }
        let counts: Vec<_> = counts.collect();
        if self.last.len() == counts.len() {
            let second =
                counts.iter().zip(&self.last).map(|(now, before)| now.tally.since(before.tally)).collect();
            self.seconds.push_back(second);
            if self.seconds.len() > SECONDS {
                self.seconds.pop_front();
            }
        }
        self.last = counts;
        self.read_at = now;
    }

    /// Summary of the last minute.
    pub(crate) fn baseline(&self) -> Baseline {
        Baseline::new(self.seconds.iter().flatten().copied())
    }

    /// The core with the most requests of those that `is_usable` admits, which says most about a change.
    pub(crate) fn busiest(&self, is_usable: impl Fn(CoreId) -> bool) -> Option<CoreId> {
        let requests = |index: usize| -> u64 {
            self.seconds.iter().filter_map(|second| second.get(index)).map(|tally| tally.requests).sum()
        };
        let usable = self.last.iter().enumerate().filter(|(_, counts)| is_usable(counts.core));
        // Of several the first.
        usable.rev().max_by_key(|(index, _)| requests(*index)).map(|(_, counts)| counts.core)
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// Seconds that are kept: bursts of failures are seen, and the traffic of an hour ago is not.
const SECONDS: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(requests: [u64; 2]) -> impl Iterator<Item = CoreCounts> {
        (0_u16..).zip(requests).map(|(core, requests)| CoreCounts {
            core: CoreId(core),
            tally: Tally { requests, errors: 0 },
            panics: 0,
        })
    }

    fn at(seconds: u64) -> Micros {
        Micros(seconds * 1_000_000)
    }

    #[test]
    fn keeps_a_minute() {
        let mut history = History::default();
        history.record(counts([5, 5]), at(1));
        assert_eq!(history.baseline().total.requests, 0, "counts before the first reading");
        history.record(counts([1000, 1000]), Micros(1_900_000));
        history.record(counts([10, 6]), at(2));
        assert_eq!(history.baseline().total.requests, 6, "a reading that was not due has no effect");
        for second in 3..100 {
            history.record(counts([10, 6 + second]), at(second));
        }
        // The first of these seconds has nine requests.
        assert_eq!(history.baseline().total.requests, 60);
    }

    #[test]
    fn the_busiest_usable_core_is_found() {
        let mut history = History::default();
        assert_eq!(history.busiest(|_| true), None);
        history.record(counts([0, 0]), at(1));
        assert_eq!(history.busiest(|_| true), Some(CoreId(0)), "the first without traffic");
        history.record(counts([1, 2]), at(2));
        assert_eq!(history.busiest(|_| true), Some(CoreId(1)));
        assert_eq!(history.busiest(|core| core == CoreId(0)), Some(CoreId(0)));
        assert_eq!(history.busiest(|_| false), None);
    }
}

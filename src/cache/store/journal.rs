//! Journal of the latest invalidations: what was asked before one is not stored after it.
//!
//! ```text
//! Ticket ◄── sequence numbers, before the origin is asked
//!   │
//! insert ──► records since then ──► one matches, or too many: not stored
//! ```
//! The store has a journal of purges, and each scope one of what its requests invalidate, so that no tenant
//! fills the journal of another one. A journal forgets its oldest records; a response that was asked before
//! them is then not stored at all.
//!
//! No response slips through: a purge appends its record before it looks for entries, and an entry is visible
//! to a purge before it is compared with the journal for the last time.

use std::collections::VecDeque;

use crate::sync::{AtomicU64, Mutex, Ordering};

/// Records with sequence numbers; the newest ones are kept.
#[derive(Debug)]
pub(crate) struct Journal<T> {
    /// Number of records ever appended.
    sequence: AtomicU64,
    records: Mutex<VecDeque<T>>,
    records_max: usize,
}

/// More records were appended than a journal keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forgotten;

impl<T: Clone> Journal<T> {
    pub(crate) fn new(records_max: usize) -> Self {
        Self { sequence: AtomicU64::new(0), records: Mutex::default(), records_max }
    }

    /// Number of the next record. One load.
    #[inline]
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::Acquire)
    }

    pub(crate) fn append(&self, record: T) {
        let mut records = self.records.lock();
        let oldest = if records.len() >= self.records_max { records.pop_front() } else { None };
        records.push_back(record);
        self.sequence.fetch_add(1, Ordering::SeqCst);
        drop(records);
        drop(oldest);
    }

    /// Copies the records from number `sequence` on, and the number that follows them.
    ///
    /// # Errors
    /// Some of them were forgotten.
    pub(crate) fn since(&self, sequence: u64) -> Result<(Vec<T>, u64), Forgotten> {
        let records = self.records.lock();
        let next = self.sequence();
        let count = usize::try_from(next - sequence).map_err(|_| Forgotten)?;
        let first = records.len().checked_sub(count).ok_or(Forgotten)?;
        Ok((records.range(first..).cloned().collect(), next))
    }
}

#[cfg(all(test, not(loom)))]
#[path = "journal_tests.rs"]
mod tests;

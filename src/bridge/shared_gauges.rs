//! Shared gauges: numbers that each owner writes and all read, such as the load of each core.

use crate::sync::{AtomicU32, Ordering};
use std::cell::Cell;
use std::sync::Arc;

/// Gauge of one owner, which also reads those of the others.
///
/// `Send`, to be moved to its thread, but not `Sync` and not `Clone`: there is one writer. Dropping it
/// [closes](Self::close) it.
#[derive(Debug)]
pub struct Gauge {
    /// Sixteen gauges share a cache line on purpose. All are read together, once for each connection, and
    /// written no more often: with a line each, reading 64 cores would cost 64 cache misses instead of four.
    numbers: Arc<[AtomicU32]>,
    own: usize,
    /// Last written number: writing it again touches no shared memory.
    written: Cell<u32>,
}

/// Creates `count` gauges of each other, all zero.
pub fn shared_gauges(count: usize) -> Vec<Gauge> {
    let numbers: Arc<[AtomicU32]> = (0..count).map(|_| AtomicU32::new(0)).collect();
    (0..count).map(|own| Gauge { numbers: numbers.clone(), own, written: Cell::new(0) }).collect()
}

impl Gauge {
    /// Index of this gauge.
    pub fn own(&self) -> usize {
        self.own
    }

    /// Number of gauges.
    pub fn count(&self) -> usize {
        self.numbers.len()
    }

    /// Writes the number, unless the gauge is closed. Wakes no thread.
    pub fn write(&self, number: usize) {
        let number = u32::try_from(number).unwrap_or(CLOSED).min(CLOSED - 1);
        if self.written.get() != CLOSED {
            self.put(number);
        }
    }

    /// Reads the number of a gauge; `None` once it is closed. A reader of `None` also sees everything that
    /// the owner did before it closed the gauge, in mailboxes too.
    ///
    /// # Panics
    /// When there is no such gauge.
    pub fn read(&self, index: usize) -> Option<usize> {
        match self.numbers[index].load(Ordering::Acquire) {
            CLOSED => None,
            number => Some(number as usize),
        }
    }

    /// Whether all other gauges are closed.
    pub fn is_last(&self) -> bool {
        (0..self.count()).all(|index| index == self.own || self.read(index).is_none())
    }

    /// Closes the gauge for good.
    pub fn close(&self) {
        self.put(CLOSED);
    }

    fn put(&self, number: u32) {
        if self.written.replace(number) != number {
            self.numbers[self.own].store(number, Ordering::Release);
        }
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.close();
    }
}

/// Marks a closed gauge. Above any number of connections of a core.
const CLOSED: u32 = u32::MAX;

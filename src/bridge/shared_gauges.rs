//! Numbers that everybody may read and only their owner writes: how much each core has to do.

use crate::sync::{AtomicU32, Ordering};
use std::cell::Cell;
use std::sync::Arc;

/// One number of a board: its owner writes it and reads those of the others.
///
/// `Send`, to be moved to its thread, but not `Sync` and not `Clone`: there is one writer. Dropped, it is
/// [closed](Self::close).
#[derive(Debug)]
pub struct Gauge {
    /// Sixteen of them share a cache line on purpose. They are read all together, once for each connection, and written no
    /// more often than that: a line apiece would make the reading of 64 cores 64 misses instead of four.
    numbers: Arc<[AtomicU32]>,
    own: usize,
    /// What was written last, so that writing the same again touches nothing that others read.
    written: Cell<u32>,
}

/// Makes a board of so many numbers, each of them zero.
pub fn shared_gauges(count: usize) -> Vec<Gauge> {
    let numbers: Arc<[AtomicU32]> = (0..count).map(|_| AtomicU32::new(0)).collect();
    (0..count).map(|own| Gauge { numbers: numbers.clone(), own, written: Cell::new(0) }).collect()
}

impl Gauge {
    /// Which one this is.
    pub fn own(&self) -> usize {
        self.own
    }

    /// Number of them.
    pub fn count(&self) -> usize {
        self.numbers.len()
    }

    /// Writes the number, unless the place was closed. Nobody is woken.
    pub fn write(&self, number: usize) {
        let number = u32::try_from(number).unwrap_or(CLOSED).min(CLOSED - 1);
        if self.written.get() != CLOSED {
            self.put(number);
        }
    }

    /// The number of a place, as of a moment ago; `None` once it is closed. Whoever reads `None` also sees everything
    /// that the owner did before it closed, in mailboxes too.
    ///
    /// # Panics
    /// When there is no such place.
    pub fn read(&self, place: usize) -> Option<usize> {
        match self.numbers[place].load(Ordering::Acquire) {
            CLOSED => None,
            number => Some(number as usize),
        }
    }

    /// Whether all others are closed.
    pub fn is_last(&self) -> bool {
        (0..self.count()).all(|place| place == self.own || self.read(place).is_none())
    }

    /// Tells that there will be no number any more, for good.
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

/// More than any number: a core with so many connections is beyond what a machine can hold.
const CLOSED: u32 = u32::MAX;

//! Permits: a bounded number that threads share without waiting, such as the connections of one listener.

use crate::sync::{AtomicU32, Ordering};
use std::sync::Arc;

/// Pool of permits. Clones share it.
#[derive(Clone, Debug)]
pub struct Permits {
    shared: Arc<Shared>,
}

/// One permit, given back when it is dropped, on any thread.
#[derive(Debug)]
#[must_use = "the permit is given back when this is dropped"]
pub struct Permit {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    taken: AtomicU32,
    max: u32,
}

impl Permits {
    /// Creates a pool of `max` permits.
    pub fn new(max: u32) -> Self {
        Self { shared: Arc::new(Shared { taken: AtomicU32::new(0), max }) }
    }

    /// Takes a permit; `None` when all are taken. One atomic operation on memory that all takers share.
    pub fn take(&self) -> Option<Permit> {
        let Shared { taken, max } = &*self.shared;
        // Nothing else is published by a permit: the number alone has to be right.
        let more = |count| (count < *max).then(|| count + 1);
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Permit { shared: self.shared.clone() })
    }

    /// Number of permits that are taken.
    pub fn taken(&self) -> u32 {
        self.shared.taken.load(Ordering::Relaxed)
    }

    /// Number of permits.
    pub fn max(&self) -> u32 {
        self.shared.max
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

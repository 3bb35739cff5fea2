//! Shared count with a maximum: permits for work in flight, exact over all cores.
//!
//! One word that all cores change. A limit split by cores would refuse requests on a busy core while others
//! have places free, so the count is shared, and only what has such a limit pays for it: about 35 ns for a
//! permit taken and given back by one core, 100 ns where several cores contend.
//!
//! A permit never waits: who finds none goes elsewhere, or waits in a queue of its own. The maximum is an
//! argument, for it changes with the configuration while the count goes on; permits above a lowered one are
//! given back as their requests end.

#[cfg(not(all(test, loom)))]
use std::sync::atomic::{AtomicU32, Ordering};

#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicU32, Ordering};

/// Permits in use. All methods may be called from any thread at any time.
///
/// All accesses are relaxed: the count guards no other memory, and each change is one atomic step.
#[derive(Debug, Default)]
// A line for itself: neighbours are read on every core.
#[repr(align(128))]
pub struct Permits {
    in_use: AtomicU32,
}

/// Permit in use, given back when it is dropped.
#[derive(Debug)]
#[must_use = "the permit is in use until this is dropped"]
pub struct Permit<'a>(&'a Permits);

impl Permits {
    /// Takes a permit, unless `max` are in use. At no time are more than `max` in use by requests with this
    /// maximum. A compare-and-exchange; a further round means that another thread took or gave one back.
    #[inline]
    pub fn take(&self, max: u32) -> Option<Permit<'_>> {
        let add = |in_use: u32| (in_use < max).then(|| in_use + 1);
        let taken = self.in_use.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        taken.ok().map(|_| Permit(self))
    }

    /// Number of permits in use. One relaxed load.
    #[inline]
    pub fn in_use(&self) -> u32 {
        self.in_use.load(Ordering::Relaxed)
    }

    /// Whether [`take`](Self::take) would find no permit now. One relaxed load.
    #[inline]
    pub fn is_full(&self, max: u32) -> bool {
        self.in_use() >= max
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(all(test, loom))]
#[path = "permits_models.rs"]
mod models;
#[cfg(all(test, not(loom)))]
#[path = "permits_tests.rs"]
mod tests;

//! State of an operator's pool that all cores share and that outlives snapshots.

use std::sync::atomic::Ordering;

#[cfg(not(all(test, loom)))]
use std::sync::atomic::{AtomicBool, AtomicU64};

#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicBool, AtomicU64};

use crate::throttle::Throttle;

/// Reason of an ejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EjectionReason {
    /// Failures in a row.
    ConsecutiveFailures,
    /// An error rate far above that of the other endpoints.
    ErrorRate,
}

impl EjectionReason {
    /// All reasons.
    pub const ALL: [Self; 2] = [Self::ConsecutiveFailures, Self::ErrorRate];

    /// Name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::ErrorRate => "error_rate",
        }
    }
}

/// Ejections of a pool's endpoints. All methods may be called from any thread at any time.
#[derive(Debug)]
pub struct PoolState {
    /// Whether a core decides about an ejection: one at a time, for else two could take the last place.
    is_ejecting: AtomicBool,
    /// By reason.
    ejections: [AtomicU64; EjectionReason::ALL.len()],
    would_eject: [AtomicU64; EjectionReason::ALL.len()],
    pub(crate) evaluated: Throttle,
}

impl PoolState {
    /// Returns the state of a pool without ejections that `cores` cores use.
    pub fn new(cores: usize) -> Self {
        Self {
            is_ejecting: AtomicBool::new(false),
            ejections: EjectionReason::ALL.map(|_| AtomicU64::new(0)),
            would_eject: EjectionReason::ALL.map(|_| AtomicU64::new(0)),
            evaluated: Throttle::new(cores),
        }
    }

    /// Ejections so far.
    pub fn ejections(&self, reason: EjectionReason) -> u64 {
        self.ejections[reason as usize].load(Ordering::Relaxed)
    }

    /// Ejections that did not happen so far: the pool had no place for another one, or its settings were a
    /// dry run.
    pub fn would_eject(&self, reason: EjectionReason) -> u64 {
        self.would_eject[reason as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn count_ejection(&self, reason: EjectionReason) {
        self.ejections[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_prevented(&self, reason: EjectionReason) {
        self.would_eject[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Runs `decide` unless another core runs one at this moment. What it sees includes all effects of those
    /// before it.
    pub(crate) fn alone<T>(&self, decide: impl FnOnce() -> T) -> Option<T> {
        let _turn = Turn::take(&self.is_ejecting)?;
        Some(decide())
    }
}

/// A taken flag, given back when this is dropped.
struct Turn<'a>(&'a AtomicBool);

impl<'a> Turn<'a> {
    fn take(flag: &'a AtomicBool) -> Option<Self> {
        // Acquire and release: each turn sees the words that the turns before it have written.
        flag.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok().then_some(Self(flag))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

//! Limit of lines about refused requests of clients that are not identified.

use std::cell::Cell;

use ringway_model::Tick;

use crate::limits::{AUDIT_REFUSALS_MAX, AUDIT_REFUSALS_WINDOW};

/// Counter of refusals within a window of time.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    window_began: Cell<Option<Tick>>,
    count: Cell<usize>,
    suppressed: Cell<u64>,
}

impl Refusals {
    /// Counts a refusal. Whether it gets a line.
    pub(crate) fn admit(&self, now: Tick) -> bool {
        let is_over = |began: Tick| began.after(AUDIT_REFUSALS_WINDOW) <= now;
        if self.window_began.get().is_none_or(is_over) {
            self.window_began.set(Some(now));
            self.count.set(0);
        }
        if self.count.get() < AUDIT_REFUSALS_MAX {
            self.count.update(|count| count + 1);
            return true;
        }
        self.suppressed.update(|count| count + 1);
        false
    }

    /// Takes the number of refusals without a line, for the next one.
    pub(crate) fn take_suppressed(&self) -> u64 {
        self.suppressed.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_a_limit_and_the_rest_is_counted() {
        let (refusals, start) = (Refusals::default(), Tick(5_000));
        for _ in 0..AUDIT_REFUSALS_MAX {
            assert!(refusals.admit(start));
        }
        assert!(!refusals.admit(start) && !refusals.admit(start));
        assert_eq!((refusals.take_suppressed(), refusals.take_suppressed()), (2, 0));
        assert!(refusals.admit(start.after(AUDIT_REFUSALS_WINDOW)), "the next window");
    }
}

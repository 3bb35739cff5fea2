//! Requests that wait for a state of an instance: bounded, and over when their client has left.

use std::cell::Cell;

/// The places of requests that wait.
pub(crate) struct Waits {
    taken: Cell<usize>,
    max: usize,
}

impl Waits {
    pub(crate) fn new(max: usize) -> Self {
        Self { taken: Cell::new(0), max }
    }

    /// Takes a place; none when all are taken.
    fn enter(&self) -> Option<Place<'_>> {
        let taken = self.taken.get();
        (taken < self.max).then(|| {
            self.taken.set(taken + 1);
            Place { waits: self }
        })
    }
}

/// A place among the requests that wait; free again when dropped.
struct Place<'a> {
    waits: &'a Waits,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waits.taken.set(self.waits.taken.get() - 1);
    }
}

/// Whether a request may go on waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It may.
    Waits,
    /// Nobody takes the answer any more, or the server ends.
    Over,
    /// As many requests as may wait do so already.
    Crowded,
}

/// The right of one request to wait. It takes a place only when it has to wait.
pub(crate) struct Waiter<'a> {
    waits: &'a Waits,
    /// Whether somebody is there to take the answer. Costs a system call.
    is_wanted: &'a dyn Fn() -> bool,
    place: Option<Place<'a>>,
}

impl<'a> Waiter<'a> {
    pub(crate) fn new(waits: &'a Waits, is_wanted: &'a dyn Fn() -> bool) -> Self {
        Self { waits, is_wanted, place: None }
    }

    /// Asked before each pause. The place that the first one takes is kept until the request is answered.
    pub(crate) fn patience(&mut self) -> Patience {
        if !(self.is_wanted)() {
            return Patience::Over;
        }
        if self.place.is_none() {
            self.place = self.waits.enter();
        }
        if self.place.is_some() { Patience::Waits } else { Patience::Crowded }
    }
}

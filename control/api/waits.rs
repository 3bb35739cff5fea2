//! Long polls: requests that wait for a state of an instance. Their number is limited, and a wait ends when
//! its client disconnects.

use std::cell::Cell;

/// Counter of waiting requests, with a limit.
pub(crate) struct Waits {
    taken: Cell<usize>,
    max: usize,
}

impl Waits {
    pub(crate) fn new(max: usize) -> Self {
        Self { taken: Cell::new(0), max }
    }

    /// Takes a permit; none at the limit.
    fn enter(&self) -> Option<Permit<'_>> {
        let taken = self.taken.get();
        (taken < self.max).then(|| {
            self.taken.set(taken + 1);
            Permit { waits: self }
        })
    }
}

/// Permit of a waiting request; released when dropped.
struct Permit<'a> {
    waits: &'a Waits,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.waits.taken.set(self.waits.taken.get() - 1);
    }
}

/// Whether a request may go on waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It may wait.
    Waits,
    /// The client has disconnected, or the server shuts down.
    Over,
    /// The limit of waiting requests is reached.
    Crowded,
}

/// Wait of one request. It takes a permit only when it has to wait.
pub(crate) struct Waiter<'a> {
    waits: &'a Waits,
    /// Whether the client still waits for the response. Costs a system call.
    is_wanted: &'a dyn Fn() -> bool,
    permit: Option<Permit<'a>>,
}

impl<'a> Waiter<'a> {
    pub(crate) fn new(waits: &'a Waits, is_wanted: &'a dyn Fn() -> bool) -> Self {
        Self { waits, is_wanted, permit: None }
    }

    /// Checks whether the request may wait; called before each pause. The permit is kept until the request is
    /// answered.
    pub(crate) fn patience(&mut self) -> Patience {
        if !(self.is_wanted)() {
            return Patience::Over;
        }
        if self.permit.is_none() {
            self.permit = self.waits.enter();
        }
        if self.permit.is_some() { Patience::Waits } else { Patience::Crowded }
    }
}

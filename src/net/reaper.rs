//! Deadlines of socket operations, at the cost of one store each.
//!
//! A timer per read would cost more than the read. Instead every socket has an entry in one flat table of its
//! core, with the deadlines of its pending read and write; starting and ending an operation writes one
//! number. One task per core sleeps until the earliest deadline, scans the table and cancels expired
//! operations. Most operations end long before: the scan then finds nothing, and sleeps until the next
//! earliest.
//!
//! ```text
//!  begin ─ busy? cancelled? ─▶ arm(deadline) ─▶ the operation ──────────────▶ drop: disarm
//!                                  │                 ▲
//!                 earlier than the next scan?        │ Canceller (a buffer is in the kernel) or
//!                 wake the reaper                    │ Waker (only readiness is awaited)
//!                                  ▼                 │
//!                     reaper: sleep ─▶ scan ─▶ expiry, or a cancellation by the owner
//! ```

use crate::clock;
use crate::limits::REAP_INTERVAL;
use monoio::io::{CancelHandle, Canceller};
use ringway_model::Tick;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Deadlines of all sockets of one core.
pub(crate) struct Reaper {
    watches: RefCell<Slab<Watch>>,
    /// Time of the next scan; [`Tick::NEVER`] while nothing is armed.
    next_scan: Cell<Tick>,
    task: Cell<Option<Waker>>,
    #[cfg(test)]
    scans: Cell<u64>,
}

/// Entry of one socket in the table of its core.
struct Watch {
    /// Deadlines of the pending read and write.
    deadlines: [Tick; 2],
    sides: Rc<[Side; 2]>,
}

/// Direction of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read = 0,
    Write = 1,
}

/// One direction of one socket, and the handles that end its pending operation.
#[derive(Default)]
pub(crate) struct Side {
    busy: Cell<bool>,
    /// The owner has cancelled this direction, until it resumes it.
    cancelled: Cell<bool>,
    /// The deadline of the pending operation has passed.
    expired: Cell<bool>,
    /// Ends an operation whose buffer is in the kernel; created by the first such operation.
    canceller: RefCell<Option<Canceller>>,
    /// Ends a wait for readiness, which holds no buffer.
    waker: Cell<Option<Waker>>,
}

/// Registration of a socket in the table of its core.
pub(crate) struct Registration {
    core: Rc<crate::core::Core>,
    key: usize,
    sides: Rc<[Side; 2]>,
}

/// Operation in progress: the exclusive use of one direction.
pub(crate) struct Operation<'a> {
    registration: &'a Registration,
    direction: Direction,
}

impl Reaper {
    pub(crate) fn new() -> Self {
        Self {
            watches: RefCell::default(),
            next_scan: Cell::new(Tick::NEVER),
            task: Cell::new(None),
            #[cfg(test)]
            scans: Cell::new(0),
        }
    }

    /// Cancels operations that are past their deadlines. Sleeps while nothing is armed.
    pub(crate) async fn run(&self) {
        let mut timer = pin!(monoio::time::sleep(Duration::from_secs(3600)));
        let mut timer_set = Tick::NEVER;
        let mut scanned = None::<Tick>;
        poll_fn(|cx| {
            loop {
                self.task.set(Some(cx.waker().clone()));
                let next_scan = self.next_scan.get();
                if next_scan == Tick::NEVER {
                    return Poll::<()>::Pending;
                }
                let due = scanned.map_or(next_scan, |scanned| next_scan.max(scanned.after(REAP_INTERVAL)));
                if due != timer_set {
                    timer.as_mut().reset(clock::instant_within_an_hour(due).into());
                    timer_set = due;
                }
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                let now = clock::now();
                scanned = Some(now);
                timer_set = Tick::NEVER;
                self.scan(now);
            }
        })
        .await;
    }

    /// Number of scans.
    #[cfg(test)]
    pub(crate) fn scans(&self) -> u64 {
        self.scans.get()
    }

    fn scan(&self, now: Tick) {
        #[cfg(test)]
        self.scans.update(|scans| scans + 1);
        let mut expired = Vec::new();
        let mut earliest = Tick::NEVER;
        for (_, watch) in self.watches.borrow_mut().iter_mut() {
            for direction in [Direction::Read, Direction::Write] {
                let deadline = &mut watch.deadlines[direction as usize];
                if *deadline <= now {
                    *deadline = Tick::NEVER;
                    expired.push((Rc::clone(&watch.sides), direction));
                } else {
                    earliest = earliest.min(*deadline);
                }
            }
        }
        self.next_scan.set(earliest);
        // Outside of the borrow: a wake-up may drop the last reference to a task, and with it a socket.
        for (sides, direction) in expired {
            let side = &sides[direction as usize];
            if side.busy.get() {
                side.expired.set(true);
                side.interrupt();
            }
        }
    }

    fn arm(&self, key: usize, direction: Direction, deadline: Tick) {
        if let Some(watch) = self.watches.borrow_mut().get_mut(key) {
            watch.deadlines[direction as usize] = deadline;
        }
        if deadline < self.next_scan.get() {
            self.next_scan.set(deadline);
            if let Some(task) = self.task.take() {
                task.wake();
            }
        }
    }
}

impl Side {
    /// Ends the pending operation; the flags state its error.
    fn interrupt(&self) {
        if !self.busy.get() {
            return;
        }
        // Cancelling consumes a canceller: the next operation gets a new one.
        if let Some(canceller) = self.canceller.take() {
            self.canceller.replace(Some(canceller.cancel()));
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Registration {
    /// # Errors
    /// When no runtime runs on this thread.
    pub(crate) fn new() -> io::Result<Self> {
        let core = crate::core::current()?;
        let sides = Rc::new([Side::default(), Side::default()]);
        let watch = Watch { deadlines: [Tick::NEVER; 2], sides: Rc::clone(&sides) };
        let key = core.reaper.watches.borrow_mut().insert(watch);
        Ok(Self { core, key, sides })
    }

    /// Starts an operation in one direction.
    ///
    /// # Errors
    /// `Interrupted` when the owner has cancelled this direction; `ResourceBusy` when it is in use, which is
    /// a bug: a panic in debug builds.
    pub(crate) fn begin(&self, direction: Direction) -> io::Result<Operation<'_>> {
        let side = &self.sides[direction as usize];
        if side.cancelled.get() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if side.busy.replace(true) {
            debug_assert!(false, "a second {direction:?} on one stream");
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        Ok(Operation { registration: self, direction })
    }

    /// Ends the pending operation of one direction, and all that start until [`Registration::resume`].
    pub(crate) fn cancel(&self, direction: Direction) {
        let side = &self.sides[direction as usize];
        side.cancelled.set(true);
        side.interrupt();
    }

    pub(crate) fn resume(&self, direction: Direction) {
        self.sides[direction as usize].cancelled.set(false);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.core.reaper.watches.borrow_mut().try_remove(self.key);
    }
}

impl Operation<'_> {
    /// Sets or moves the deadline, and clears an expiry of the one before.
    pub(crate) fn arm(&self, deadline: Tick) {
        self.side().expired.set(false);
        let Registration { core, key, .. } = self.registration;
        core.reaper.arm(*key, self.direction, deadline);
    }

    /// Returns the handle by which a kernel operation is cancelled. Allocates for the first of a side only.
    pub(crate) fn handle(&self) -> CancelHandle {
        self.side().canceller.borrow_mut().get_or_insert_with(Canceller::new).handle()
    }

    /// Returns the error of an operation that is cancelled or expired.
    pub(crate) fn interruption(&self) -> Option<io::Error> {
        let side = self.side();
        if side.cancelled.get() {
            Some(io::ErrorKind::Interrupted.into())
        } else if side.expired.get() {
            Some(io::ErrorKind::TimedOut.into())
        } else {
            None
        }
    }

    /// Awaits readiness, the deadline or a cancellation, in this order of precedence.
    pub(crate) async fn ready<T>(&self, readiness: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let mut readiness = pin!(readiness);
        poll_fn(|cx| {
            if let Poll::Ready(result) = readiness.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            if let Some(error) = self.interruption() {
                return Poll::Ready(Err(error));
            }
            self.side().waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }

    fn side(&self) -> &Side {
        &self.registration.sides[self.direction as usize]
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        self.arm(Tick::NEVER);
        let side = self.side();
        side.waker.set(None);
        side.busy.set(false);
    }
}

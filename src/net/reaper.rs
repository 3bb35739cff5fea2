//! Deadlines that cost nothing while they are kept.
//!
//! A timer per read would cost more than the read. Instead every socket has a line in one flat table of its core,
//! with the deadline of its pending read and of its pending write; starting and ending an operation writes one
//! number. One task per core sleeps until the earliest deadline that it knows of, scans the table and cancels what
//! is over. Most operations end long before: the scan then finds nothing and sleeps until the next earliest.
//!
//! ```text
//!  begin ─ busy? cancelled? ─▶ arm(deadline) ─▶ the operation ──────────────▶ end of turn: disarm
//!                                  │                 ▲
//!                 earlier than the next scan?        │ Canceller (a buffer is in the kernel) or
//!                 wake the reaper                    │ Waker (only readiness is awaited)
//!                                  ▼                 │
//!                     reaper: sleep ─▶ scan ─▶ expire, or the owner's cancel
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

/// The deadlines of all sockets of one core.
pub(crate) struct Reaper {
    watches: RefCell<Slab<Watch>>,
    /// When the task looks next; [`Tick::NEVER`] while nothing is armed.
    next_scan: Cell<Tick>,
    task: Cell<Option<Waker>>,
    #[cfg(test)]
    scans: Cell<u64>,
}

/// One socket's line in the table of its core.
struct Watch {
    /// Of the pending read and the pending write.
    deadlines: [Tick; 2],
    sides: Rc<[Side; 2]>,
}

/// The directions of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read = 0,
    Write = 1,
}

/// One direction of one socket: who uses it, and how to end what is pending.
#[derive(Default)]
pub(crate) struct Side {
    busy: Cell<bool>,
    /// The owner does not want this direction any more, until it resumes it.
    cancelled: Cell<bool>,
    /// The deadline of the pending operation has passed.
    expired: Cell<bool>,
    /// Ends an operation whose buffer is in the kernel; made by the first that wants it.
    canceller: RefCell<Option<Canceller>>,
    /// Ends a wait for readiness, which holds no buffer.
    waker: Cell<Option<Waker>>,
}

/// A socket's place in the table of its core.
pub(crate) struct Registration {
    core: Rc<crate::core::Core>,
    key: usize,
    sides: Rc<[Side; 2]>,
}

/// The exclusive use of one direction for one operation.
pub(crate) struct Turn<'a> {
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

    /// The task that cancels what is past its deadline. Sleeps while nothing is armed.
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

    /// How often the table was gone through.
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
    /// Ends what is pending; how it ends is told by the flags.
    fn interrupt(&self) {
        if !self.busy.get() {
            return;
        }
        // Cancelling uses a canceller up: the next operation gets a fresh one.
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
    /// When no runtime of ours runs on this thread.
    pub(crate) fn new() -> io::Result<Self> {
        let core = crate::core::current()?;
        let sides = Rc::new([Side::default(), Side::default()]);
        let watch = Watch { deadlines: [Tick::NEVER; 2], sides: Rc::clone(&sides) };
        let key = core.reaper.watches.borrow_mut().insert(watch);
        Ok(Self { core, key, sides })
    }

    /// Takes the exclusive use of one direction.
    ///
    /// # Errors
    /// `Interrupted` when the owner cancelled this direction, `ResourceBusy` when it is in use: our own mistake,
    /// so a panic in debug builds.
    pub(crate) fn begin(&self, direction: Direction) -> io::Result<Turn<'_>> {
        let side = &self.sides[direction as usize];
        if side.cancelled.get() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if side.busy.replace(true) {
            debug_assert!(false, "a second {direction:?} on one stream");
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        Ok(Turn { registration: self, direction })
    }

    /// Ends what is pending in one direction, and all that follows until [`Registration::resume`].
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

impl Turn<'_> {
    /// Sets or moves the deadline of this turn. One that has passed meanwhile counts no more.
    pub(crate) fn arm(&self, deadline: Tick) {
        self.side().expired.set(false);
        let Registration { core, key, .. } = self.registration;
        core.reaper.arm(*key, self.direction, deadline);
    }

    /// What the kernel operation needs to be cancelable. Allocates for the first of a side only.
    pub(crate) fn handle(&self) -> CancelHandle {
        self.side().canceller.borrow_mut().get_or_insert_with(Canceller::new).handle()
    }

    /// Why the pending operation should end; `None` while nothing speaks against it.
    pub(crate) fn verdict(&self) -> Option<io::Error> {
        let side = self.side();
        if side.cancelled.get() {
            Some(io::ErrorKind::Interrupted.into())
        } else if side.expired.get() {
            Some(io::ErrorKind::TimedOut.into())
        } else {
            None
        }
    }

    /// Awaits readiness, the deadline or a cancellation. Readiness wins.
    pub(crate) async fn ready<T>(&self, readiness: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let mut readiness = pin!(readiness);
        poll_fn(|cx| {
            if let Poll::Ready(result) = readiness.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            if let Some(verdict) = self.verdict() {
                return Poll::Ready(Err(verdict));
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

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.arm(Tick::NEVER);
        let side = self.side();
        side.waker.set(None);
        side.busy.set(false);
    }
}

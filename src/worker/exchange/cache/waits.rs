//! Tasks of one core that wait for fills, and the wake-ups that reach them from all cores.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use ringway_bridge::{MailboxReceiver, MailboxSender, mailbox};
use ringway_cache::{FillId, Wakeups};

use crate::limits;

/// Waiting tasks of one core, by fill.
#[derive(Default)]
pub(crate) struct FillWaits {
    tasks: RefCell<HashMap<FillId, Rc<Tasks>>>,
}

/// Tasks that wait for one fill.
#[derive(Default)]
struct Tasks {
    /// Number of wake-ups so far.
    wakes: Cell<u64>,
    wakers: RefCell<Vec<Waker>>,
}

/// Wait of one task for the next wake-up of a fill. May be dropped at any time.
pub(super) struct Wait<'w> {
    waits: &'w FillWaits,
    fill: FillId,
    tasks: Rc<Tasks>,
    seen: u64,
}

impl FillWaits {
    /// Begins to wait: wake-ups from here on count.
    pub(super) fn begin(&self, fill: FillId) -> Wait<'_> {
        let tasks = self.tasks.borrow_mut().entry(fill).or_default().clone();
        let seen = tasks.wakes.get();
        Wait { waits: self, fill, tasks, seen }
    }

    fn wake(&self, fill: FillId) {
        let tasks = self.tasks.borrow().get(&fill).cloned();
        if let Some(tasks) = tasks {
            tasks.wake();
        }
    }

    fn wake_all(&self) {
        let all: Vec<_> = self.tasks.borrow().values().cloned().collect();
        all.iter().for_each(|tasks| tasks.wake());
    }
}

impl Tasks {
    fn wake(&self) {
        self.wakes.update(|count| count + 1);
        self.wakers.take().into_iter().for_each(Waker::wake);
    }
}

impl Wait<'_> {
    /// Waits for the next wake-up, or returns at once if one has come since the last call.
    pub(super) async fn next(&mut self) {
        let Self { tasks, seen, .. } = self;
        poll_fn(|cx| {
            if tasks.wakes.get() != *seen {
                *seen = tasks.wakes.get();
                return Poll::Ready(());
            }
            let mut wakers = tasks.wakers.borrow_mut();
            if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                wakers.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        // This one, and the table.
        if Rc::strong_count(&self.tasks) == 2 {
            self.waits.tasks.borrow_mut().remove(&self.fill);
        }
    }
}

/// Sending ends of the wake-ups of all cores.
pub struct FillWakers(Vec<FillWaker>);

struct FillWaker {
    fills: MailboxSender<FillId>,
    waker: ringway_bridge::Waker,
    /// There was no room for a number: all tasks look again.
    is_over: Arc<AtomicBool>,
}

/// Receiving end of the wake-ups of one core.
#[derive(Debug)]
pub struct FillWakeups {
    fills: MailboxReceiver<FillId>,
    is_over: Arc<AtomicBool>,
}

/// Creates the wake-ups of fills, with the wakers of all cores by their numbers.
pub fn fill_wakeups(wakers: &[ringway_bridge::Waker]) -> (FillWakers, Vec<FillWakeups>) {
    let (senders, receivers) = wakers
        .iter()
        .map(|waker| {
            let (sender, fills) = mailbox(limits::FILL_WAKEUPS_MAX, waker.clone());
            let is_over = Arc::new(AtomicBool::new(false));
            (
                FillWaker { fills: sender, waker: waker.clone(), is_over: is_over.clone() },
                FillWakeups { fills, is_over },
            )
        })
        .unzip();
    (FillWakers(senders), receivers)
}

impl Wakeups for FillWakers {
    fn wake(&self, core: usize, fill: FillId) {
        let Some(waker) = self.0.get(core) else { return };
        if waker.fills.send(fill).is_err() {
            waker.is_over.store(true, Ordering::Release);
            // The core may have looked between the two: it has to look again.
            waker.waker.wake();
        }
    }
}

impl FillWakeups {
    /// Wakes the tasks of this core. To be called after each wake-up.
    pub(crate) fn handle(&self, waits: &FillWaits) {
        if self.is_over.swap(false, Ordering::Acquire) {
            waits.wake_all();
        }
        for fill in self.fills.drain(limits::FILL_WAKEUPS_MAX) {
            waits.wake(fill);
        }
    }
}

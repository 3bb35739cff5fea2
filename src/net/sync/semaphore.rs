//! FIFO semaphore with a bounded queue.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A fixed number of permits, and a queue of waiters that are served in order of arrival. Clones share both.
#[derive(Clone, Debug)]
pub struct Semaphore(Rc<Inner>);

/// A permit; dropping it serves the next waiter.
#[derive(Debug)]
pub struct Permit(Option<Rc<Inner>>);

/// The queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

/// Future of a permit. Joins the queue when it is first polled and finds none free. May be dropped at any
/// time: a waiter leaves the queue, and a permit that was assigned but not seen goes to the next one.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Acquire {
    semaphore: Rc<Inner>,
    waiter: Option<Rc<Waiter>>,
}

#[derive(Debug)]
struct Inner {
    free: Cell<usize>,
    queue: RefCell<VecDeque<Rc<Waiter>>>,
    queue_max: usize,
}

#[derive(Debug, Default)]
struct Waiter {
    is_served: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Semaphore {
    /// A semaphore with `permits`, and room for `queue_max` waiters.
    pub fn new(permits: usize, queue_max: usize) -> Self {
        Self(Rc::new(Inner { free: Cell::new(permits), queue: RefCell::default(), queue_max }))
    }

    /// Waits for a permit. No allocation unless it has to wait.
    ///
    /// # Errors
    /// [`QueueFull`], when it is polled first.
    pub fn acquire(&self) -> Acquire {
        Acquire { semaphore: Rc::clone(&self.0), waiter: None }
    }

    /// Number of waiters.
    pub fn queued(&self) -> usize {
        self.0.queue.borrow().len()
    }

    /// Number of free permits. Only 0 while there are waiters.
    pub fn free(&self) -> usize {
        self.0.free.get()
    }

    /// Adds permits, for those that were [forgotten](Permit::forget): waiters are served first.
    pub fn add(&self, permits: usize) {
        (0..permits).for_each(|_| self.0.release());
    }
}

impl Permit {
    /// Takes the permit out of the semaphore; [`Semaphore::add`] puts it back.
    pub fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(semaphore) = &self.0 {
            semaphore.release();
        }
    }
}

impl Inner {
    /// Serves the first waiter, or frees a permit.
    fn release(&self) {
        let Some(waiter) = self.queue.borrow_mut().pop_front() else {
            self.free.update(|free| free + 1);
            return;
        };
        waiter.is_served.set(true);
        let waker = waiter.waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Future for Acquire {
    type Output = Result<Permit, QueueFull>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let semaphore = Rc::clone(&self.semaphore);
        if let Some(waiter) = &self.waiter {
            if !waiter.is_served.get() {
                *waiter.waker.borrow_mut() = Some(cx.waker().clone());
                return Poll::Pending;
            }
            self.waiter = None;
            return Poll::Ready(Ok(Permit(Some(semaphore))));
        }
        let free = semaphore.free.get();
        if free > 0 {
            semaphore.free.set(free - 1);
            return Poll::Ready(Ok(Permit(Some(semaphore))));
        }
        if semaphore.queue.borrow().len() >= semaphore.queue_max {
            return Poll::Ready(Err(QueueFull));
        }
        let waiter = Rc::new(Waiter::default());
        *waiter.waker.borrow_mut() = Some(cx.waker().clone());
        semaphore.queue.borrow_mut().push_back(Rc::clone(&waiter));
        self.waiter = Some(waiter);
        Poll::Pending
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else { return };
        if waiter.is_served.get() {
            self.semaphore.release();
        } else {
            self.semaphore.queue.borrow_mut().retain(|queued| !Rc::ptr_eq(queued, &waiter));
        }
    }
}

impl fmt::Display for QueueFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the queue is full")
    }
}

impl std::error::Error for QueueFull {}

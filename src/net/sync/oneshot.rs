//! One-shot channel: one value from one task to another.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Creates a one-shot channel. One allocation.
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Rc::new(Shared {
        value: Cell::new(None),
        is_sender_dropped: Cell::new(false),
        waker: RefCell::new(None),
    });
    (Sender { shared: Rc::clone(&shared) }, Receiver { shared })
}

/// Sending half of a one-shot channel. Dropping it without a value ends the wait with [`Dropped`].
pub struct Sender<T> {
    shared: Rc<Shared<T>>,
}

/// Receiving half of a one-shot channel: a future of the value. May be dropped at any time.
#[must_use = "futures do nothing unless polled"]
pub struct Receiver<T> {
    shared: Rc<Shared<T>>,
}

/// The sender was dropped without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped;

struct Shared<T> {
    value: Cell<Option<T>>,
    is_sender_dropped: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl<T> Sender<T> {
    /// Sends the value; one without a receiver is dropped.
    pub fn send(self, value: T) {
        self.shared.value.set(Some(value));
        // Dropping `self` wakes the receiver.
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.is_sender_dropped.set(true);
        let waker = self.shared.waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Dropped>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(value) = self.shared.value.take() {
            return Poll::Ready(Ok(value));
        }
        if self.shared.is_sender_dropped.get() {
            return Poll::Ready(Err(Dropped));
        }
        *self.shared.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sender was dropped without a value")
    }
}

impl std::error::Error for Dropped {}

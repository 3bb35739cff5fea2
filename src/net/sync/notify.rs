//! Single-waiter notification.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

use ringway_model::Tick;

use crate::timer::{sleep_until, timeout};

/// Notification of one waiting task. A notification without a waiter is kept for the next wait; several count
/// as one.
#[derive(Debug, Default)]
pub struct Notify {
    is_notified: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Notify {
    /// Wakes the waiting task.
    pub fn notify(&self) {
        self.is_notified.set(true);
        let waker = self.waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits for a notification. May be dropped at any time; a second waiter replaces the first.
    pub async fn notified(&self) {
        poll_fn(|cx| {
            if self.is_notified.replace(false) {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Waits for a notification, until `deadline` at most; returns whether one came.
    pub async fn notified_until(&self, deadline: Tick) -> bool {
        timeout(self.notified(), sleep_until(deadline)).await.is_some()
    }
}

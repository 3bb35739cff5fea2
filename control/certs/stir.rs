//! Having a task look again.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Poll, Waker};

use ringway_model::Tick;
use ringway_net::sleep_until;

/// One task waits, anybody wakes it. A stir while it does not wait is not lost.
#[derive(Debug, Default)]
pub(crate) struct Stir {
    is_stirred: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Stir {
    /// Has the waiting task look again.
    pub(crate) fn stir(&self) {
        self.is_stirred.set(true);
        let waker = self.waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Until `deadline`, or until something was stirred.
    pub(crate) async fn wait_until(&self, deadline: Tick) {
        let mut sleep = pin!(sleep_until(deadline));
        poll_fn(|cx| {
            if self.is_stirred.replace(false) {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            sleep.as_mut().poll(cx)
        })
        .await;
    }
}

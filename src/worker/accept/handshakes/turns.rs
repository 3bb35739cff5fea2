//! Whose turn it is to calculate: a few take a step between two turns of the driver, the others wait in line.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::limits;
use ringway_net::{spawn, yield_now};

use super::Crowded;

/// A few at a time, in the order in which they came.
#[derive(Default)]
pub(super) struct Turns {
    /// Since the driver's last turn.
    taken: Cell<usize>,
    queue: RefCell<VecDeque<Rc<Ticket>>>,
    is_running: Cell<bool>,
}

/// One that waits for its turn.
#[derive(Default)]
pub(super) struct Ticket {
    is_called: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Turns {
    /// Whether one more may wait.
    pub(super) fn has_room(&self) -> Result<(), Crowded> {
        match self.queue.borrow().len() < limits::HANDSHAKES_QUEUED_MAX {
            true => Ok(()),
            false => Err(Crowded::Queue),
        }
    }

    /// Ready when it is this one's turn; the next turn is to be asked for anew. `ticket` is kept by whoever asks.
    pub(super) fn poll_take(
        self: &Rc<Self>,
        ticket: &mut Option<Rc<Ticket>>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        match ticket {
            Some(waiting) if waiting.is_called.get() => {
                *ticket = None;
                Poll::Ready(())
            }
            Some(waiting) => {
                waiting.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
            None if self.taken.get() < limits::HANDSHAKE_STEPS_PER_TURN && self.queue.borrow().is_empty() => {
                self.taken.update(|taken| taken + 1);
                self.run();
                Poll::Ready(())
            }
            None => {
                let waiting = Rc::new(Ticket::default());
                waiting.waker.set(Some(cx.waker().clone()));
                self.queue.borrow_mut().push_back(waiting.clone());
                *ticket = Some(waiting);
                self.run();
                Poll::Pending
            }
        }
    }

    /// Sees to it that those who wait are called, and that the count begins anew.
    fn run(self: &Rc<Self>) {
        if self.is_running.replace(true) {
            return;
        }
        let turns = self.clone();
        spawn(
            async move {
                while turns.taken.get() > 0 || !turns.queue.borrow().is_empty() {
                    yield_now().await;
                    turns.call();
                }
                turns.is_running.set(false);
            },
            |panic| tracing::error!(%panic, "handshakes are not called any more"),
        );
    }

    fn call(&self) {
        self.taken.set(0);
        let mut queue = self.queue.borrow_mut();
        while self.taken.get() < limits::HANDSHAKE_STEPS_PER_TURN
            && let Some(ticket) = queue.pop_front()
        {
            self.taken.update(|taken| taken + 1);
            ticket.is_called.set(true);
            if let Some(waker) = ticket.waker.take() {
                waker.wake();
            }
        }
    }
}

//! Tasks that wait until every core has acknowledged a snapshot.

use ringway_model::Serial;
use ringway_net::sync::{Receiver, Sender, oneshot};

use crate::limits::APPLY_DEADLINE;
use crate::time::Micros;

/// Waiting tasks. Publications of certificates are the only ones, and their number is bounded where they
/// start.
#[derive(Debug, Default)]
pub(crate) struct AckWaiters {
    waiting: Vec<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    serial: Serial,
    deadline: Micros,
    result: Sender<Acknowledged>,
}

/// Result of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acknowledged {
    /// Every core that serves has the snapshot.
    ByAll,
    /// A core lags or has missed the deadline.
    NotByAll,
}

/// Acknowledgements of a snapshot so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckState {
    /// A following core has not acknowledged it.
    Pending,
    /// Every following core has acknowledged it, a lagging one has not.
    AllButLagging,
    /// Every core that serves has acknowledged it.
    All,
}

impl AckWaiters {
    /// Waits for the acknowledgements of `serial`, as long as a configuration change would.
    pub(crate) fn wait(&mut self, serial: Serial, now: Micros) -> Receiver<Acknowledged> {
        let (result, receiver) = oneshot();
        self.waiting.push(Waiter { serial, deadline: now.after(APPLY_DEADLINE), result });
        receiver
    }

    /// Ends the waits that are acknowledged or past their deadline.
    pub(crate) fn release(&mut self, state: impl Fn(Serial) -> AckState, now: Micros) {
        let is_over =
            |waiter: &mut Waiter| state(waiter.serial) != AckState::Pending || now >= waiter.deadline;
        for waiter in self.waiting.extract_if(.., is_over) {
            waiter.result.send(match state(waiter.serial) {
                AckState::All => Acknowledged::ByAll,
                AckState::AllButLagging | AckState::Pending => Acknowledged::NotByAll,
            });
        }
    }

    /// Time at which [`AckWaiters::release`] is due.
    pub(crate) fn next_deadline(&self) -> Micros {
        self.waiting.iter().map(|waiter| waiter.deadline).min().unwrap_or(Micros::NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn a_wait_ends_at_its_deadline() {
        let mut waiters = AckWaiters::default();
        assert_eq!(waiters.next_deadline(), Micros::NEVER);
        let mut result = pin!(waiters.wait(Serial(5), Micros(100)));
        let mut poll = || result.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let due = Micros(100).after(APPLY_DEADLINE);
        assert_eq!(waiters.next_deadline(), due);
        waiters.release(|_| AckState::Pending, Micros(due.0 - 1));
        assert_eq!(poll(), Poll::Pending);
        waiters.release(|_| AckState::Pending, due);
        assert_eq!(poll(), Poll::Ready(Ok(Acknowledged::NotByAll)));
        assert_eq!(waiters.next_deadline(), Micros::NEVER);
    }
}

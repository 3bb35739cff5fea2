//! So many at a time, the others in the order in which they came.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A door that lets a fixed number in, and a bounded number wait before it.
#[derive(Clone, Debug)]
pub(crate) struct Lane(Rc<Inner>);

/// A place inside; leaving it lets the next one in.
#[derive(Debug)]
pub(crate) struct Place(Rc<Inner>);

/// Too many wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowded;

#[derive(Debug)]
struct Inner {
    free: Cell<usize>,
    waiting: RefCell<VecDeque<Rc<Waiter>>>,
    waiting_max: usize,
}

#[derive(Debug, Default)]
struct Waiter {
    turn: Cell<Turn>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Turn {
    #[default]
    Waits,
    /// It has a place, and does not know yet.
    Given,
    /// Its future has ended.
    Over,
}

impl Lane {
    pub(crate) fn new(places: usize, waiting_max: usize) -> Self {
        Self(Rc::new(Inner { free: Cell::new(places), waiting: RefCell::default(), waiting_max }))
    }

    /// Waits for a place.
    pub(crate) async fn enter(&self) -> Result<Place, Crowded> {
        let inner = &self.0;
        if inner.free.get() > 0 {
            inner.free.set(inner.free.get() - 1);
            return Ok(Place(Rc::clone(inner)));
        }
        if inner.waiting.borrow().len() >= inner.waiting_max {
            return Err(Crowded);
        }
        let waiter = Rc::new(Waiter::default());
        inner.waiting.borrow_mut().push_back(Rc::clone(&waiter));
        let left = Left { inner, waiter };
        poll_fn(|cx| {
            if left.waiter.turn.get() == Turn::Given {
                return Poll::Ready(());
            }
            *left.waiter.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        left.waiter.turn.set(Turn::Over);
        Ok(Place(Rc::clone(inner)))
    }
}

/// Who gives up waiting must not be given a place, and hands on one that it was given.
struct Left<'a> {
    inner: &'a Rc<Inner>,
    waiter: Rc<Waiter>,
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        match self.waiter.turn.replace(Turn::Over) {
            Turn::Given => drop(Place(Rc::clone(self.inner))),
            Turn::Waits => self.inner.waiting.borrow_mut().retain(|waiter| !Rc::ptr_eq(waiter, &self.waiter)),
            Turn::Over => {}
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let next = self.0.waiting.borrow_mut().pop_front();
        let Some(next) = next else {
            self.0.free.set(self.0.free.get() + 1);
            return;
        };
        next.turn.set(Turn::Given);
        if let Some(waker) = next.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::pin::pin;
    use std::task::Context;

    /// Polls once.
    fn poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        match std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    #[test]
    fn lets_so_many_in_and_the_others_in_order() {
        let lane = Lane::new(1, 2);
        let first = poll(&mut pin!(lane.enter())).unwrap().unwrap();
        let (mut second, mut third) = (pin!(lane.enter()), pin!(lane.enter()));
        assert!(poll(&mut second).is_none() && poll(&mut third).is_none());
        assert_eq!(poll(&mut pin!(lane.enter())).unwrap().unwrap_err(), Crowded);
        drop(first);
        assert!(poll(&mut third).is_none(), "not before the second");
        let second = poll(&mut second).unwrap().unwrap();
        drop(second);
        assert!(poll(&mut third).unwrap().is_ok());
    }

    #[test]
    fn who_gives_up_leaves_no_hole() {
        let lane = Lane::new(1, 8);
        let first = poll(&mut pin!(lane.enter())).unwrap().unwrap();
        let mut waits = Box::pin(lane.enter());
        let mut given = Box::pin(lane.enter());
        let mut last = pin!(lane.enter());
        assert!(poll(&mut waits).is_none() && poll(&mut given).is_none() && poll(&mut last).is_none());
        drop(waits);
        drop(first);
        // It has the place now, and goes away without having heard of it.
        drop(given);
        assert!(poll(&mut last).unwrap().is_ok());
        assert!(poll(&mut pin!(lane.enter())).unwrap().is_ok(), "the lane is free again");
    }
}

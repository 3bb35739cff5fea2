//! Open connections: their limit, and their end at a shutdown.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use ringway_model::Tick;
use ringway_net::{Stream, sleep_until};
use slab::Slab;

use crate::connection::{Activity, Host};

/// A fourth more than the limit, while connections are closing.
const LEAVING_SHARE: usize = 4;

/// The open connections.
#[derive(Default)]
pub(super) struct Clients {
    open: RefCell<Slab<Entry>>,
    turn: Cell<u64>,
    is_draining: Cell<bool>,
    last_left: RefCell<Option<Waker>>,
}

struct Entry {
    activity: Activity,
    /// Sequence number of the last change of activity.
    since: u64,
    /// Whether it is being closed.
    is_leaving: bool,
    stream: Rc<dyn Cancel>,
}

/// Wakes a waiting connection.
trait Cancel {
    fn reads(&self);
    fn writes(&self);
}

impl<S: Stream> Cancel for S {
    fn reads(&self) {
        self.cancel_reads();
    }

    fn writes(&self) {
        self.cancel_writes();
    }
}

/// Entry of a connection; removed when dropped.
pub(super) struct Client {
    clients: Rc<Clients>,
    key: usize,
}

impl Clients {
    pub(super) fn count(&self) -> usize {
        self.open.borrow().len()
    }

    pub(super) fn enter<S: Stream>(self: &Rc<Self>, stream: Rc<S>) -> Client {
        let entry = Entry { activity: Activity::Idle, since: self.next_turn(), is_leaving: false, stream };
        let key = self.open.borrow_mut().insert(entry);
        Client { clients: Rc::clone(self), key }
    }

    fn next_turn(&self) -> u64 {
        self.turn.replace(self.turn.get() + 1)
    }

    /// Closes the connection that has been idle for the longest time, so that slow clients do not exclude
    /// others. False when none is idle, or when too many are closing.
    pub(super) fn make_room(&self, connections_max: usize) -> bool {
        let mut open = self.open.borrow_mut();
        if open.len() >= connections_max + connections_max.div_ceil(LEAVING_SHARE) {
            return false;
        }
        let waiting = open.iter_mut().map(|(_, entry)| entry);
        let waiting = waiting.filter(|entry| entry.activity != Activity::Answering && !entry.is_leaving);
        let Some(entry) = waiting.min_by_key(|entry| entry.since) else { return false };
        entry.is_leaving = true;
        let (stream, is_sending) = (Rc::clone(&entry.stream), entry.activity == Activity::Sending);
        drop(open);
        // A request that has arrived is still answered.
        stream.reads();
        if is_sending {
            stream.writes();
        }
        true
    }

    /// Closes idle connections now, the others after their response, and all at `deadline`.
    pub(super) async fn drain(&self, deadline: Tick) {
        self.is_draining.set(true);
        self.cancel(|activity| activity == Activity::Idle);
        let mut timer = pin!(sleep_until(deadline));
        poll_fn(|cx| {
            if self.count() == 0 {
                return Poll::Ready(());
            }
            *self.last_left.borrow_mut() = Some(cx.waker().clone());
            timer.as_mut().poll(cx)
        })
        .await;
        self.cancel(|_| true);
        // They end at once, and the kernel returns their buffers.
        poll_fn(|cx| match self.count() {
            0 => Poll::Ready(()),
            _ => {
                *self.last_left.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        })
        .await;
    }

    fn cancel(&self, is_meant: impl Fn(Activity) -> bool) {
        let meant: Vec<Rc<dyn Cancel>> = self
            .open
            .borrow()
            .iter()
            .filter(|(_, entry)| is_meant(entry.activity))
            .map(|(_, entry)| Rc::clone(&entry.stream))
            .collect();
        for stream in meant {
            stream.reads();
            stream.writes();
        }
    }
}

impl Host for Client {
    fn report(&self, activity: Activity) {
        if let Some(entry) = self.clients.open.borrow_mut().get_mut(self.key) {
            entry.activity = activity;
            entry.since = self.clients.next_turn();
        }
    }

    fn is_draining(&self) -> bool {
        self.clients.is_draining.get()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let entry = self.clients.open.borrow_mut().try_remove(self.key);
        drop(entry);
        if self.clients.count() == 0
            && let Some(waker) = self.clients.last_left.borrow_mut().take()
        {
            waker.wake();
        }
    }
}

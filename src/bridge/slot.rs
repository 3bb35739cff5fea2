//! Latest wins: a place for one value, where a newer one replaces an older one that nobody took.

use crate::Waker;
use crate::sync::{Receiver, Sender, bounded};
use crossbeam_channel::TrySendError;

/// The publishing side of a slot. One per slot: with two publishers, "latest" would mean nothing.
#[derive(Debug)]
pub struct SlotSender<T> {
    values: Sender<T>,
    /// To take an outdated value out again.
    outdated: Receiver<T>,
    waker: Waker,
}

/// The receiving side of a slot. That its publisher has gone shows in the wake-ups, which then end.
#[derive(Debug)]
pub struct SlotReceiver<T> {
    values: Receiver<T>,
}

/// Makes an empty slot whose receiver is woken through `waker`.
pub fn slot<T>(waker: Waker) -> (SlotSender<T>, SlotReceiver<T>) {
    let (sender, receiver) = bounded(1);
    (SlotSender { values: sender, outdated: receiver.clone(), waker }, SlotReceiver { values: receiver })
}

impl<T> SlotSender<T> {
    /// Puts `value` where the receiver finds it and wakes the receiver. Never blocks.
    ///
    /// Gives back the older value when it was not taken: dropping a big one then costs this thread, not the core.
    pub fn publish(&mut self, value: T) -> Option<T> {
        let mut replaced = None;
        let mut value = value;
        // Two rounds at most: this is the only sender, so a slot that was emptied stays empty until we fill it.
        loop {
            match self.values.try_send(value) {
                Ok(()) => break,
                Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => {
                    value = back;
                    replaced = self.outdated.try_recv().ok().or(replaced);
                }
            }
        }
        self.waker.wake();
        replaced
    }
}

impl<T> SlotReceiver<T> {
    /// Takes the newest value; `None` when nothing was published since the last time.
    pub fn take(&self) -> Option<T> {
        self.values.try_recv().ok()
    }
}

//! Latest-wins slot: a newer value replaces an older one that was not taken.

use crate::Waker;
use crate::sync::{Receiver, Sender, bounded};
use crossbeam_channel::TrySendError;

/// Publishing half of a slot. One per slot: with two publishers, "latest" would be undefined.
#[derive(Debug)]
pub struct SlotSender<T> {
    values: Sender<T>,
    /// Second receiver, to remove an outdated value.
    outdated: Receiver<T>,
    waker: Waker,
}

/// Receiving half of a slot. The wake-ups end when its publisher is dropped.
#[derive(Debug)]
pub struct SlotReceiver<T> {
    values: Receiver<T>,
}

/// Creates an empty slot whose receiver is woken through `waker`.
pub fn slot<T>(waker: Waker) -> (SlotSender<T>, SlotReceiver<T>) {
    let (sender, receiver) = bounded(1);
    (SlotSender { values: sender, outdated: receiver.clone(), waker }, SlotReceiver { values: receiver })
}

impl<T> SlotSender<T> {
    /// Stores `value` and wakes the receiver. Never blocks.
    ///
    /// Returns the older value if it was not taken, so that dropping a large one costs this thread, not the
    /// core.
    pub fn publish(&mut self, value: T) -> Option<T> {
        let mut replaced = None;
        let mut value = value;
        // Two rounds at most: this is the only sender, so that an emptied slot stays empty.
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
    /// Takes the newest value; `None` when none was published since the last call.
    pub fn take(&self) -> Option<T> {
        self.values.try_recv().ok()
    }
}

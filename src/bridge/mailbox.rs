//! Bounded queues between threads: every value counts, and the sender decides what to do when there is no room.

use crate::Waker;
use crate::sync::{Receiver, Sender, bounded};
use crossbeam_channel::{RecvTimeoutError, TrySendError};
use std::fmt;
use std::time::Duration;

/// A sending side of a mailbox; clones send to the same receiver.
#[derive(Debug)]
pub struct MailboxSender<T> {
    values: Sender<T>,
    /// None for a receiver that blocks on the mailbox itself.
    waker: Option<Waker>,
}

/// The receiving side of a mailbox.
#[derive(Debug)]
pub struct MailboxReceiver<T> {
    values: Receiver<T>,
}

/// Why a value was not sent. It carries the value, so nothing is lost without the sender knowing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError<T> {
    /// The mailbox holds as many values as it may.
    Full(T),
    /// The receiver has gone.
    Closed(T),
}

/// Why nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// Nothing is there now.
    Empty,
    /// Nothing is there, and all senders have gone.
    Closed,
}

/// The values of one [`MailboxReceiver::drain`].
#[derive(Debug)]
pub struct Drain<'a, T> {
    values: &'a Receiver<T>,
    left: usize,
}

/// Makes a mailbox for `capacity` values (at least one) whose receiver is woken through `waker`.
pub fn mailbox<T>(capacity: usize, waker: Waker) -> (MailboxSender<T>, MailboxReceiver<T>) {
    let (sender, receiver) = bounded(capacity.max(1));
    (MailboxSender { values: sender, waker: Some(waker) }, MailboxReceiver { values: receiver })
}

/// Makes a mailbox for `capacity` values (at least one) for a thread that has nothing else to wait for: it
/// blocks in [`MailboxReceiver::recv_timeout`].
pub fn blocking_mailbox<T>(capacity: usize) -> (MailboxSender<T>, MailboxReceiver<T>) {
    let (sender, receiver) = bounded(capacity.max(1));
    (MailboxSender { values: sender, waker: None }, MailboxReceiver { values: receiver })
}

impl<T> MailboxSender<T> {
    /// Sends `value` and wakes the receiver. Never blocks.
    ///
    /// # Errors
    /// [`SendError::Full`] and [`SendError::Closed`], with the value.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.values.try_send(value).map_err(|error| match error {
            TrySendError::Full(value) => SendError::Full(value),
            TrySendError::Disconnected(value) => SendError::Closed(value),
        })?;
        if let Some(waker) = &self.waker {
            waker.wake();
        }
        Ok(())
    }

    /// How many values wait, as of now.
    pub fn waiting(&self) -> usize {
        self.values.len()
    }
}

impl<T> Clone for MailboxSender<T> {
    fn clone(&self) -> Self {
        Self { values: self.values.clone(), waker: self.waker.clone() }
    }
}

impl<T> MailboxReceiver<T> {
    /// Takes the oldest value.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`] and [`TryRecvError::Closed`].
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.values.try_recv().map_err(|error| match error {
            crossbeam_channel::TryRecvError::Empty => TryRecvError::Empty,
            crossbeam_channel::TryRecvError::Disconnected => TryRecvError::Closed,
        })
    }

    /// Takes what is there, oldest first, `values_max` at most: a sender that never stops cannot hold the
    /// receiver. Look at [`MailboxReceiver::waiting`] afterwards, for no new byte announces what was left.
    pub fn drain(&self, values_max: usize) -> Drain<'_, T> {
        Drain { values: &self.values, left: values_max }
    }

    /// Blocks until a value comes, `timeout` at most. Not for a core.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`] at the timeout, and [`TryRecvError::Closed`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, TryRecvError> {
        self.values.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => TryRecvError::Empty,
            RecvTimeoutError::Disconnected => TryRecvError::Closed,
        })
    }

    /// How many values wait, as of now.
    pub fn waiting(&self) -> usize {
        self.values.len()
    }
}

impl<T> Iterator for Drain<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        self.values.try_recv().ok()
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the mailbox is full",
            Self::Closed(_) => "the receiver has gone",
        })
    }
}

impl<T: fmt::Debug> std::error::Error for SendError<T> {}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "nothing to receive",
            Self::Closed => "all senders have gone",
        })
    }
}

impl std::error::Error for TryRecvError {}

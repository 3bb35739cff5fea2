//! Mailboxes: bounded queues between threads. The sender handles a full mailbox.

use crate::Waker;
use crate::sync::{Receiver, Sender, bounded};
use crossbeam_channel::{RecvTimeoutError, TrySendError};
use std::fmt;
use std::time::Duration;

/// Sending half of a mailbox; clones send to the same receiver.
#[derive(Debug)]
pub struct MailboxSender<T> {
    values: Sender<T>,
    /// None for a receiver that blocks on the mailbox itself.
    waker: Option<Waker>,
}

/// Receiving half of a mailbox.
#[derive(Debug)]
pub struct MailboxReceiver<T> {
    values: Receiver<T>,
}

/// Error of a send, with the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError<T> {
    /// The mailbox is full.
    Full(T),
    /// The receiver was dropped.
    Closed(T),
}

/// Error of a receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// The mailbox is empty.
    Empty,
    /// The mailbox is empty, and all senders were dropped.
    Closed,
}

/// Iterator of [`MailboxReceiver::drain`].
#[derive(Debug)]
pub struct Drain<'a, T> {
    values: &'a Receiver<T>,
    left: usize,
}

/// Creates a mailbox for `capacity` values (at least one) whose receiver is woken through `waker`.
pub fn mailbox<T>(capacity: usize, waker: Waker) -> (MailboxSender<T>, MailboxReceiver<T>) {
    let (sender, receiver) = bounded(capacity.max(1));
    (MailboxSender { values: sender, waker: Some(waker) }, MailboxReceiver { values: receiver })
}

/// Creates a mailbox for `capacity` values (at least one) for a thread without an event loop: it blocks in
/// [`MailboxReceiver::recv_timeout`].
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

    /// Number of waiting values.
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
    /// Receives the oldest value.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`] and [`TryRecvError::Closed`].
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.values.try_recv().map_err(|error| match error {
            crossbeam_channel::TryRecvError::Empty => TryRecvError::Empty,
            crossbeam_channel::TryRecvError::Disconnected => TryRecvError::Closed,
        })
    }

    /// Receives the waiting values, oldest first, `values_max` at most, so that a fast sender cannot occupy
    /// the receiver. Check [`MailboxReceiver::waiting`] afterwards: the remaining values cause no new
    /// wake-up.
    pub fn drain(&self, values_max: usize) -> Drain<'_, T> {
        Drain { values: &self.values, left: values_max }
    }

    /// Blocks until a value arrives, `timeout` at most. Not for a core.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`] at the timeout, and [`TryRecvError::Closed`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, TryRecvError> {
        self.values.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => TryRecvError::Empty,
            RecvTimeoutError::Disconnected => TryRecvError::Closed,
        })
    }

    /// Number of waiting values.
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
            Self::Closed(_) => "the receiver was dropped",
        })
    }
}

impl<T: fmt::Debug> std::error::Error for SendError<T> {}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the mailbox is empty",
            Self::Closed => "all senders were dropped",
        })
    }
}

impl std::error::Error for TryRecvError {}

//! One-shot reply channel for a caller that may block: an embedder's thread that sends a request to the
//! control thread.

use crate::sync::{Receiver, Sender, bounded};
use crossbeam_channel::RecvTimeoutError;
use std::fmt;
use std::time::Duration;

/// Sending half of a reply channel. Dropping it without a reply ends the wait with [`ReplyError::Dropped`].
#[derive(Debug)]
pub struct ReplySender<T> {
    reply: Sender<T>,
}

/// Receiving half of a reply channel.
#[derive(Debug)]
pub struct ReplyReceiver<T> {
    reply: Receiver<T>,
}

/// Error of a wait for a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// The timeout has passed. The request may still take effect.
    TimedOut,
    /// The request was dropped without a reply.
    Dropped,
}

/// Creates a reply channel.
pub fn reply<T>() -> (ReplySender<T>, ReplyReceiver<T>) {
    let (sender, receiver) = bounded(1);
    (ReplySender { reply: sender }, ReplyReceiver { reply: receiver })
}

impl<T> ReplySender<T> {
    /// Sends the reply. Never blocks.
    ///
    /// # Errors
    /// The reply itself, when the receiver was dropped.
    pub fn send(self, reply: T) -> Result<(), T> {
        // Capacity for the one send: it cannot be full.
        self.reply.try_send(reply).map_err(crossbeam_channel::TrySendError::into_inner)
    }
}

impl<T> ReplyReceiver<T> {
    /// Blocks until the reply arrives, `timeout` at most. Not for a core.
    ///
    /// # Errors
    /// See [`ReplyError`].
    pub fn wait(&self, timeout: Duration) -> Result<T, ReplyError> {
        self.reply.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => ReplyError::TimedOut,
            RecvTimeoutError::Disconnected => ReplyError::Dropped,
        })
    }
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "no reply within the timeout",
            Self::Dropped => "the request was dropped without a reply",
        })
    }
}

impl std::error::Error for ReplyError {}

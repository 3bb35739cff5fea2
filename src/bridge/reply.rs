//! One answer to one question, for a caller that may block: an embedder's thread asks the control thread.

use crate::sync::{Receiver, Sender, bounded};
use crossbeam_channel::RecvTimeoutError;
use std::fmt;
use std::time::Duration;

/// Answers, once. Dropped without an answer, the other side learns that none will come.
#[derive(Debug)]
pub struct ReplySender<T> {
    answer: Sender<T>,
}

/// Waits for the answer.
#[derive(Debug)]
pub struct ReplyReceiver<T> {
    answer: Receiver<T>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// Not yet, and the time is over. The question may still take effect.
    TimedOut,
    /// The other side dropped the question.
    Dropped,
}

/// Makes the two ends of one answer.
pub fn reply<T>() -> (ReplySender<T>, ReplyReceiver<T>) {
    let (sender, receiver) = bounded(1);
    (ReplySender { answer: sender }, ReplyReceiver { answer: receiver })
}

impl<T> ReplySender<T> {
    /// Answers. Never blocks.
    ///
    /// # Errors
    /// The answer itself, when nobody waits for it any more.
    pub fn send(self, answer: T) -> Result<(), T> {
        // One place and one send: it cannot be full.
        self.answer.try_send(answer).map_err(crossbeam_channel::TrySendError::into_inner)
    }
}

impl<T> ReplyReceiver<T> {
    /// Blocks until the answer comes, `timeout` at most. Not for a core.
    ///
    /// # Errors
    /// See [`ReplyError`].
    pub fn wait(&self, timeout: Duration) -> Result<T, ReplyError> {
        self.answer.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => ReplyError::TimedOut,
            RecvTimeoutError::Disconnected => ReplyError::Dropped,
        })
    }
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "no answer within the time",
            Self::Dropped => "the question was dropped without an answer",
        })
    }
}

impl std::error::Error for ReplyError {}

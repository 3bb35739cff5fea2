//! Link of the control thread to the loader and the password threads.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use ringway_bridge::{MailboxReceiver, MailboxSender, Waker, blocking_mailbox, mailbox};
use ringway_middleware::{Credentials, KnownCredentials};
use ringway_model::{CoreId, CredentialSource, Timestamp};

use crate::failure_kind::{FailureCounts, FailureKind};
use crate::limits::{EVENTS_MAX, MESSAGES_MAX};
use crate::loader::{self, Message};
use crate::passwords::{self, Job};

/// Event for the control thread.
#[derive(Debug)]
pub enum Event {
    /// Credentials were loaded; `None`: they are too old to be used, or no longer wanted.
    Loaded {
        /// The source.
        source: CredentialSource,
        /// The credentials.
        credentials: Option<Arc<Credentials>>,
    },
    /// A load has ended, or was too recent to be repeated: requests that wait for it go on.
    Settled {
        /// The source.
        source: CredentialSource,
        /// State of the source.
        status: SourceStatus,
    },
    /// A password was verified; `None` when too many wait.
    Verified {
        /// The core that asked.
        core: CoreId,
        /// Its number.
        ticket: u64,
        /// Whether it is right.
        is_right: Option<bool>,
    },
}

/// State of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceStatus {
    /// Failed loads in a row.
    pub failures: u32,
    /// Reason of the last failure, if the last load failed.
    pub problem: Option<Arc<str>>,
    /// Kind of that failure.
    pub failure: Option<FailureKind>,
    /// Failed loads by kind.
    pub failed: FailureCounts,
    /// Time of the last good load; `None` without one since the start.
    pub loaded_at: Option<Timestamp>,
    /// Number of keys or users in use.
    pub entries: usize,
}

/// Link to the threads, which end with it.
#[derive(Debug)]
pub struct Link {
    messages: MailboxSender<Message>,
    passwords: Vec<MailboxSender<Job>>,
    events: MailboxReceiver<Event>,
    results: MailboxSender<Event>,
}

/// Starts the threads. Good answers are kept in `folder`, where there is one; `waker` wakes the control
/// thread for events.
///
/// # Errors
/// A thread cannot be started.
pub fn start(folder: Option<PathBuf>, waker: Waker) -> io::Result<Link> {
    let (results, events) = mailbox(EVENTS_MAX, waker);
    let (messages, received) = blocking_mailbox(MESSAGES_MAX);
    let passwords = passwords::start(&results)?;
    loader::start(folder, (messages.clone(), received), results.clone())?;
    Ok(Link { messages, passwords, events, results })
}

impl Link {
    /// Sets the sources that are kept loaded; new ones are loaded at once.
    pub fn want(&self, sources: BTreeSet<CredentialSource>) {
        if self.messages.send(Message::Want(sources)).is_err() {
            tracing::error!("the loader of credentials does not take its sources");
        }
    }

    /// Loads a source soon, for a core that has `known`: unless newer credentials are on their way to it, or
    /// requests have caused a load just now. [`Event::Settled`] follows.
    pub fn refresh(&self, source: CredentialSource, known: KnownCredentials) {
        // Full: requests that wait end with their timeout.
        let _ = self.messages.send(Message::Refresh(source, known));
    }

    /// Verifies a password. [`Event::Verified`] follows.
    pub fn verify(&self, core: CoreId, ticket: u64, hash: Arc<str>, password: Box<[u8]>) {
        let shortest = self.passwords.iter().min_by_key(|queue| queue.waiting());
        let is_sent = shortest.is_some_and(|queue| queue.send(Job { core, ticket, hash, password }).is_ok());
        if !is_sent {
            // The receiver is this link's own.
            let _ = self.results.send(Event::Verified { core, ticket, is_right: None });
        }
    }

    /// The next event.
    pub fn poll(&self) -> Option<Event> {
        self.events.try_recv().ok()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The loader holds a sender of its own mailbox, so that it would not end by itself.
        let _ = self.messages.send(Message::End);
    }
}

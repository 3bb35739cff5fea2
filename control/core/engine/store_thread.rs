//! The store on a thread of its own: a disk that takes its time stops neither the API nor the health checks.
//!
//! One commit is with the store at a time, so its queue cannot fill; maintenance and the end come between commits.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ringway_bridge::{
    MailboxReceiver, MailboxSender, SlotReceiver, SlotSender, TryRecvError, Waker, blocking_mailbox, mailbox,
    slot,
};
use ringway_net::clock;
use ringway_store::{Batch, Description, Store};

use crate::engine::plane::Commit;
use crate::error_chain::with_causes;
use crate::submission::StorageFailure;

/// The control thread's end.
#[derive(Debug)]
pub(crate) struct StoreLink {
    jobs: MailboxSender<Job>,
    done: MailboxReceiver<Done>,
    descriptions: SlotReceiver<Description>,
}

#[derive(Debug)]
enum Job {
    Commit(Arc<Commit>),
    Close,
}

/// What the store has done.
#[derive(Debug)]
pub(crate) enum Done {
    /// The last commit, or not.
    Stored(Result<(), StorageFailure>),
    /// Closed; nothing comes after it.
    Closed,
}

/// The store's thread is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoreGone;

impl std::fmt::Display for StoreGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the store has ended")
    }
}

impl std::error::Error for StoreGone {}

/// The adapter panicked: what it stored is not known until the next start.
#[derive(Clone, Copy, Debug)]
struct StorePanicked;

impl std::fmt::Display for StorePanicked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the storage adapter panicked")
    }
}

impl std::error::Error for StorePanicked {}

/// Moves a loaded store to a thread of its own, which ends when the link is dropped or told to close.
pub(crate) fn start(store: Box<dyn Store>, waker: Waker) -> io::Result<StoreLink> {
    let (jobs, jobs_receiver) = blocking_mailbox(JOBS_MAX);
    let (done_sender, done) = mailbox(JOBS_MAX, waker.clone());
    let (describe, descriptions) = slot(waker);
    let keeper = Keeper { store, jobs: jobs_receiver, done: done_sender, describe };
    thread::Builder::new().name("store".to_owned()).spawn(move || keeper.run())?;
    Ok(StoreLink { jobs, done, descriptions })
}

impl StoreLink {
    /// Has a commit stored; [`Done::Stored`] follows.
    pub(crate) fn commit(&self, commit: Arc<Commit>) -> Result<(), StoreGone> {
        self.jobs.send(Job::Commit(commit)).map_err(|_| StoreGone)
    }

    /// Has the store closed; [`Done::Closed`] follows.
    pub(crate) fn close(&self) -> Result<(), StoreGone> {
        self.jobs.send(Job::Close).map_err(|_| StoreGone)
    }

    /// The next thing done.
    pub(crate) fn poll_done(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }

    /// What the store says of itself, when it has said something new.
    pub(crate) fn poll_description(&self) -> Option<Description> {
        self.descriptions.take()
    }
}

struct Keeper {
    store: Box<dyn Store>,
    jobs: MailboxReceiver<Job>,
    done: MailboxSender<Done>,
    describe: SlotSender<Description>,
}

impl Keeper {
    fn run(mut self) {
        let mut maintain_at = clock::now().after(MAINTAIN_INTERVAL);
        loop {
            match self.jobs.recv_timeout(clock::now().until(maintain_at)) {
                Ok(Job::Commit(commit)) => {
                    let result = self.commit(&commit);
                    // Described first: who sees the result sees what belongs to it.
                    self.describe();
                    self.tell(Done::Stored(result));
                }
                Ok(Job::Close) => {
                    self.close();
                    self.tell(Done::Closed);
                    return;
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Closed) => {
                    self.close();
                    return;
                }
            }
            if clock::now() >= maintain_at {
                if let Err(error) = self.guarded(|store| store.maintain()) {
                    tracing::warn!(error = %with_causes(&error), "the store's maintenance failed");
                }
                self.describe();
                maintain_at = clock::now().after(MAINTAIN_INTERVAL);
            }
        }
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), StorageFailure> {
        let batch = Batch { revision: commit.desired.revision(), deltas: &commit.deltas };
        self.guarded(|store| store.commit(&batch)).inspect_err(|error| {
            tracing::error!(
                error = %with_causes(error), revision = %batch.revision, changes = commit.changes,
                "changes could not be stored and were refused"
            );
        })
    }

    fn close(&mut self) {
        if let Err(error) = self.guarded(|store| store.close()) {
            tracing::error!(error = %with_causes(&error), "the store could not be closed cleanly");
        }
    }

    /// A panicking adapter fails its call and nothing else.
    fn guarded(
        &mut self,
        call: impl FnOnce(&mut dyn Store) -> Result<(), ringway_store::StoreError>,
    ) -> Result<(), StorageFailure> {
        // Whether the adapter is still usable is its own to know; each further call is guarded as well.
        match catch_unwind(AssertUnwindSafe(|| call(&mut *self.store))) {
            Ok(result) => result.map_err(StorageFailure::new),
            Err(_) => Err(StorageFailure::new(StorePanicked)),
        }
    }

    fn describe(&mut self) {
        if let Ok(description) = catch_unwind(AssertUnwindSafe(|| self.store.describe())) {
            self.describe.publish(description);
        }
    }

    fn tell(&self, done: Done) {
        // At most one commit and one close are under way; when the control thread has gone, nobody needs to know.
        let _ = self.done.send(done);
    }
}

/// A commit and the end: more is never under way. Twice that, so that a full queue means a defect.
const JOBS_MAX: usize = 4;

/// Between two maintenances, as the contract of [`Store::maintain`] asks.
const MAINTAIN_INTERVAL: Duration = Duration::from_secs(60);

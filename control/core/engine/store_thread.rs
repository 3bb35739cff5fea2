//! Thread of the store: a slow disk delays neither the API nor the health checks.
//!
//! One commit is in flight at a time, so the queue cannot fill; maintenance and closing happen between
//! commits.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ringway_bridge::{
    MailboxReceiver, MailboxSender, SlotReceiver, SlotSender, TryRecvError, Waker, blocking_mailbox, mailbox,
    slot,
};
use ringway_model::Delta;
use ringway_net::clock;
use ringway_store::{Batch, Description, Store};

use crate::engine::plane::Commit;
use crate::error_chain::with_causes;
use crate::submission::StorageFailure;
use crate::trial::probation::Probation;

/// Control thread's end of the store thread.
#[derive(Debug)]
pub(crate) struct StoreLink {
    jobs: MailboxSender<Job>,
    done: MailboxReceiver<Done>,
    descriptions: SlotReceiver<Description>,
}

#[derive(Debug)]
enum Job {
    Commit(Arc<Commit>),
    /// Replaces the file of the probation.
    Save(Probation),
    Close,
}

/// Completed work of the store thread.
#[derive(Debug)]
pub(crate) enum Done {
    /// Result of the last commit.
    Stored(Result<(), StorageFailure>),
    /// The store is closed; nothing follows.
    Closed,
}

/// The store thread has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoreGone;

impl std::fmt::Display for StoreGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the store thread has ended")
    }
}

impl std::error::Error for StoreGone {}

/// The storage adapter panicked: whether the batch was stored is unknown until the next start.
#[derive(Clone, Copy, Debug)]
struct StorePanicked;

impl std::fmt::Display for StorePanicked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the storage adapter panicked")
    }
}

impl std::error::Error for StorePanicked {}

/// Moves a loaded store to its own thread, which ends on [`StoreLink::close`] and when the link is dropped.
/// `unsaved`: differences that are in force and not on disk; the next commit stores them.
pub(crate) fn start(store: Box<dyn Store>, unsaved: Vec<Delta>, waker: Waker) -> io::Result<StoreLink> {
    let (jobs, jobs_receiver) = blocking_mailbox(JOBS_MAX);
    let (done_sender, done) = mailbox(JOBS_MAX, waker.clone());
    let (describe, descriptions) = slot(waker);
    let worker = Worker { store, unsaved, jobs: jobs_receiver, done: done_sender, describe };
    thread::Builder::new().name("store".to_owned()).spawn(move || worker.run())?;
    Ok(StoreLink { jobs, done, descriptions })
}

impl StoreLink {
    /// Queues a commit; [`Done::Stored`] follows.
    pub(crate) fn commit(&self, commit: Arc<Commit>) -> Result<(), StoreGone> {
        self.jobs.send(Job::Commit(commit)).map_err(|_| StoreGone)
    }

    /// Queues the probation's file to be replaced. It is logged when that fails, and when the store is so
    /// slow that the queue is full.
    pub(crate) fn save(&self, probation: Probation) {
        if self.jobs.send(Job::Save(probation)).is_err() {
            tracing::warn!("probation of the configuration not saved: the store is busy or has ended");
        }
    }

    /// Queues the closing of the store; [`Done::Closed`] follows.
    pub(crate) fn close(&self) -> Result<(), StoreGone> {
        self.jobs.send(Job::Close).map_err(|_| StoreGone)
    }

    /// Next completed work.
    pub(crate) fn poll_done(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }

    /// Newest description of the store, if there is one since the last call.
    pub(crate) fn poll_description(&self) -> Option<Description> {
        self.descriptions.take()
    }
}

struct Worker {
    store: Box<dyn Store>,
    unsaved: Vec<Delta>,
    jobs: MailboxReceiver<Job>,
    done: MailboxSender<Done>,
    describe: SlotSender<Description>,
}

impl Worker {
    fn run(mut self) {
        let mut maintain_at = clock::now().after(MAINTAIN_INTERVAL);
        loop {
            match self.jobs.recv_timeout(clock::now().until(maintain_at)) {
                Ok(Job::Commit(commit)) => {
                    let result = self.commit(&commit);
                    // Described first: the description belongs to the result that follows.
                    self.describe();
                    self.report(Done::Stored(result));
                }
                Ok(Job::Save(probation)) => {
                    if let Err(error) = probation.save() {
                        tracing::warn!(%error, "probation of the configuration not saved");
                    }
                }
                Ok(Job::Close) => {
                    self.close();
                    self.report(Done::Closed);
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
                    tracing::warn!(error = %with_causes(&error), "store maintenance failed");
                }
                self.describe();
                maintain_at = clock::now().after(MAINTAIN_INTERVAL);
            }
        }
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), StorageFailure> {
        let mut deltas = std::mem::take(&mut self.unsaved);
        let unsaved = deltas.len();
        deltas.extend_from_slice(&commit.deltas);
        let batch = Batch { revision: commit.desired.revision(), deltas: &deltas };
        let result = self.guarded(|store| store.commit(&batch));
        if let Err(error) = &result {
            tracing::error!(
                error = %with_causes(error), revision = %batch.revision, changes = commit.changes,
                "changes could not be stored and are refused"
            );
            deltas.truncate(unsaved);
            self.unsaved = deltas;
        }
        result
    }

    fn close(&mut self) {
        if let Err(error) = self.guarded(|store| store.close()) {
            tracing::error!(error = %with_causes(&error), "the store could not be closed cleanly");
        }
    }

    /// Runs a call of the adapter; a panic fails this call only.
    fn guarded(
        &mut self,
        call: impl FnOnce(&mut dyn Store) -> Result<(), ringway_store::StoreError>,
    ) -> Result<(), StorageFailure> {
        // The adapter decides whether it is still usable; each further call is guarded as well.
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

    fn report(&self, done: Done) {
        // At most one commit and one close are in flight. Without a control thread the result is of no use.
        let _ = self.done.send(done);
    }
}

/// One commit and the closing are in flight at most; the rest is for the probation, which changes rarely.
const JOBS_MAX: usize = 8;

/// Maintenance interval, by the contract of [`Store::maintain`].
const MAINTAIN_INTERVAL: Duration = Duration::from_secs(60);

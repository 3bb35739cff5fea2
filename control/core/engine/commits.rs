//! Commits to the store: one batch at a time, compiled before it is stored, and the state of the store.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ringway_store::{Description, LoadReport};
use ringway_traffic::compile::{Compiled, Compiler};

use super::plane::{Commit, TrialStart};
use super::store_thread::{Done, StoreGone, StoreLink};
use crate::error_chain::with_causes;
use crate::limits::APPLY_DEADLINE;
use crate::submission::StorageFailure;
use crate::time::Micros;
use crate::trial::probation::Probation;

/// Link to the store thread, the batch in flight, and the last known state of the store.
pub(crate) struct Commits {
    store: StoreLink,
    in_flight: Option<InFlight>,
    description: Description,
    /// Findings of the load at start.
    load_findings: Vec<String>,
    /// Failure of the last commit.
    failure: Option<StorageFailure>,
    counters: CommitCounters,
}

/// A batch that the store has in hand, compiled already: every stored batch is known to compile.
struct InFlight {
    commit: Arc<Commit>,
    compiled: Compiled,
    since: Micros,
}

/// Commits since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CommitCounters {
    pub(crate) changes_stored: u64,
    pub(crate) batches_stored: u64,
    pub(crate) batches_failed: u64,
    pub(crate) store_micros: u64,
}

/// Event of the store.
pub(crate) enum StoreEvent {
    /// The batch is on disk.
    Stored(Arc<Commit>, Box<Compiled>),
    /// The batch was not stored.
    Failed(StorageFailure),
    /// The store is closed.
    Closed,
}

/// State of the configuration on trial after a batch was compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrialBranch {
    /// It has the batch too, or there is none.
    Intact,
    /// It does not compile with the batch: it must be dropped.
    Broken,
}

/// The compiler panicked over a batch, which was therefore not stored.
#[derive(Clone, Copy, Debug)]
struct NotCompiled;

impl fmt::Display for NotCompiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration could not be compiled")
    }
}

impl std::error::Error for NotCompiled {}

/// Compiles; the compiler can fail by a defect only. A panic must cost the batch and not the control plane,
/// which would wait for the store's result forever.
fn guarded(compile: impl FnOnce() -> Compiled) -> Result<Compiled, StorageFailure> {
    catch_unwind(AssertUnwindSafe(compile)).map_err(|_| StorageFailure::new(NotCompiled))
}

impl Commits {
    pub(crate) fn new(store: StoreLink, description: Description, report: &LoadReport) -> Self {
        let load_findings = match report.is_degraded() {
            true => report.to_string().lines().map(str::to_owned).collect(),
            false => Vec::new(),
        };
        Self {
            store,
            in_flight: None,
            description,
            load_findings,
            failure: None,
            counters: CommitCounters::default(),
        }
    }

    pub(crate) fn description(&self) -> &Description {
        &self.description
    }

    pub(crate) fn counters(&self) -> CommitCounters {
        self.counters
    }

    /// Whether a batch is with the store.
    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Compiles a batch and sends it to the store.
    ///
    /// # Errors
    /// The batch does not compile, or the store thread has ended.
    pub(crate) fn begin(
        &mut self,
        mut commit: Commit,
        compiler: &Compiler,
        now: Micros,
    ) -> Result<TrialBranch, StorageFailure> {
        let mut on_trial = TrialBranch::Intact;
        let mut compiled = guarded(|| commit.compile(compiler));
        if compiled.is_err() && commit.on_trial.take().is_some() {
            // A change must not fail by a configuration that is only tried.
            on_trial = TrialBranch::Broken;
            compiled = guarded(|| commit.compile(compiler));
        }
        let compiled = compiled.map_err(|failure| {
            tracing::error!(changes = commit.changes, "changes could not be compiled and are refused");
            self.fail(failure)
        })?;
        let commit = Arc::new(commit);
        match self.store.commit(Arc::clone(&commit)) {
            Ok(()) => {
                self.in_flight = Some(InFlight { commit, compiled, since: now });
                Ok(on_trial)
            }
            Err(gone) => Err(self.fail(StorageFailure::new(gone))),
        }
    }

    /// Compiles a configuration for its trial.
    ///
    /// # Errors
    /// It does not compile.
    pub(crate) fn compile_trial(start: &TrialStart, compiler: &Compiler) -> Result<Compiled, StorageFailure> {
        guarded(|| compiler.begin_trial(&start.desired, &start.deltas)).inspect_err(|_| {
            tracing::error!(owner = %start.owner, "configuration could not be compiled and is refused");
        })
    }

    /// Next event of the store.
    pub(crate) fn poll(&mut self, now: Micros) -> Option<StoreEvent> {
        if let Some(description) = self.store.poll_description() {
            self.description = description;
        }
        loop {
            let result = match self.store.poll_done()? {
                Done::Closed => return Some(StoreEvent::Closed),
                Done::Stored(result) => result,
            };
            let Some(InFlight { commit, compiled, since }) = self.in_flight.take() else { continue };
            if let Err(failure) = result {
                return Some(StoreEvent::Failed(self.fail(failure)));
            }
            self.failure = None;
            self.counters.batches_stored += 1;
            self.counters.changes_stored += commit.changes as u64;
            self.counters.store_micros += u64::try_from(now.since(since).as_micros()).unwrap_or(u64::MAX);
            return Some(StoreEvent::Stored(commit, Box::new(compiled)));
        }
    }

    /// Replaces the probation's file.
    pub(crate) fn save(&self, probation: Probation) {
        self.store.save(probation);
    }

    /// Closes the store; [`StoreEvent::Closed`] follows.
    ///
    /// # Errors
    /// The store thread has ended.
    pub(crate) fn close(&self) -> Result<(), StoreGone> {
        self.store.close()
    }

    /// One sentence for each problem of the store.
    pub(crate) fn warnings(&self, now: Micros) -> Vec<String> {
        let mut warnings = self.load_findings.clone();
        warnings.extend(self.description.warnings.iter().cloned());
        if let Some(failure) = &self.failure {
            warnings.push(format!("the last change could not be stored: {}", with_causes(failure)));
        }
        if let Some(InFlight { since, .. }) = &self.in_flight
            && now.since(*since) >= APPLY_DEADLINE
        {
            let seconds = now.since(*since).as_secs();
            warnings.push(format!("the store has been writing a change for {seconds} s"));
        }
        warnings
    }

    fn fail(&mut self, failure: StorageFailure) -> StorageFailure {
        self.counters.batches_failed += 1;
        self.failure = Some(failure.clone());
        failure
    }
}

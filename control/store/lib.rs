//! Durable storage of acknowledged changes.
//!
//! A [`Store`] keeps the configured resources and their revision. It is read once, at the start; afterwards
//! it only receives batches. The data plane never reads it, and heartbeats and health are not stored: they
//! belong to a running process.
//!
//! ```text
//!            load ─────────► Loaded ── restore ──► Desired           (at start, once)
//! Store ◄── commit ── Batch { revision, deltas }                     (one per accepted change or group of them)
//! ```
//! Adapters: [`Memory`] for tests and `--storage memory`, [`Fjall`] for one machine. Embedders implement
//! [`Store`] and test it with [`contract::run`]. [`migrate`], [`export()`] and [`import`] work between any
//! two. A [`Batch`] of deltas is one transaction.
//!
//! # Example
//! ```
//! use ringway_model::{AppId, AppSpec, Change, Desired, Timestamp};
//! use ringway_store::{Batch, Memory, Store};
//!
//! let mut store = Memory::new();
//! let app = AppSpec::new(AppId::parse("shop")?);
//! let change = Change::Register { app, instance: None, domain: None };
//! let applied = Desired::default().apply(&change, Timestamp(0))?;
//! store.commit(&Batch { revision: applied.revision(), deltas: &applied.deltas })?;
//!
//! let (desired, report) = store.load()?.restore();
//! assert!(desired.app("shop").is_some() && !report.is_degraded());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod contract;
mod durable;
mod error;
mod export;
mod fjall;
#[doc(hidden)]
pub mod fuzzing;
mod image;
mod limits;
mod mark;
mod memory;
mod record;
mod recovery;
mod report;
mod salvage;

use std::path::PathBuf;

use ringway_model::{Delta, Desired, Resource, Revision};

pub use error::{ImportError, StoreError};
pub use export::{Summary, export, export_loaded, import, migrate};
pub use fjall::Fjall;
pub use memory::Memory;
pub use report::{Finding, LoadReport};

/// Keeps records durably. Object safe; used by one thread at a time, so it is [`Send`] and not `Sync`.
///
/// The contract, which [`contract::run`] tests:
/// - A batch that [`commit`](Self::commit) acknowledged survives any end of the process, `kill -9` included.
/// - A batch is atomic. After an error it is not stored, unless the process ends before the next successful
///   call: an
///   unacknowledged change may then have happened.
/// - Revisions only rise.
/// - An error is not final: when its cause is gone (a full disk), the next commit works.
pub trait Store: Send {
    /// Reads everything, repairs what can be repaired, and reports what was found.
    ///
    /// Damage is not an error: everything readable is returned, and [`LoadReport::is_degraded`] is set. An
    /// error means that nothing can be read until the operator acts (in use by another process, neither
    /// readable nor writable, written by a newer version). A read-only store is loaded; commits are refused
    /// then. A second call returns the present contents.
    fn load(&mut self) -> Result<Loaded, StoreError>;

    /// Writes a batch: atomic, and durable when it returns.
    ///
    /// The last of several deltas for one record counts. Removing an absent record is not an error. Blocks
    /// for as long as the medium needs (a local disk: a fraction of a millisecond).
    fn commit(&mut self, batch: &Batch<'_>) -> Result<(), StoreError>;

    /// Does periodic work, such as a logical export. Called about once a minute; must not block for long.
    fn maintain(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Closes the store cleanly: the next start needs no check. A store that is dropped without it loses
    /// nothing.
    fn close(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Returns the description for the status.
    fn describe(&self) -> Description;
}

/// A set of changes that is written atomically.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The revision after these deltas; higher than the stored one.
    pub revision: Revision,
    /// The changes, in order.
    pub deltas: &'a [Delta],
}

/// Contents of a store.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The resources by kind and key. The parent of one may be missing when the store was damaged.
    pub resources: Vec<Resource>,
    /// The revision of these resources: 0 in a new store. After a loss it is higher than every revision that
    /// was acknowledged before, because one revision must not mean two things.
    pub revision: Revision,
    /// The findings of the load.
    pub report: LoadReport,
}

impl Loaded {
    /// Builds the configuration. Resources whose parent is lost are left out and reported.
    pub fn restore(self) -> (Desired, LoadReport) {
        let mut report = self.report;
        let (desired, orphans) = Desired::restore(self.revision, self.resources);
        for orphan in orphans {
            report.push(Finding::AppMissing { kind: orphan.kind(), key: orphan.key().to_owned() });
        }
        (desired, report)
    }
}

/// Description of a store for the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The adapter: `memory`, `fjall`.
    pub kind: &'static str,
    /// The folder of its files, if it has any.
    pub path: Option<PathBuf>,
    /// Disk usage in bytes, holes not counted, at the load or the last maintenance; in memory, the size of
    /// the records.
    pub bytes: u64,
    /// The stored revision.
    pub revision: Revision,
    /// The revision of the newest logical export, if there is one.
    pub exported: Option<Revision>,
    /// Present problems of a working store, one sentence each.
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests;

//! Where acknowledged changes live.
//!
//! A [`Store`] keeps the records that users registered (apps, instances, domains) and the revision that they
//! belong to. It is read once, at start; afterwards it only takes batches. The data plane never asks it
//! anything, and heartbeats and health are not written: they are facts of a running process.
//!
//! ```text
//!            load ─────────► Loaded ── restore ──► Desired           (at start, once)
//! Store ◄── commit ── Batch { revision, deltas }                     (one per accepted change or group of them)
//! ```
//! Adapters: [`Memory`] for tests and `--storage memory`, [`Fjall`] for one machine. Embedders bring their own:
//! implement [`Store`] and let [`contract::run`] judge it. [`migrate`], [`export()`] and [`import`] work between any two.
//!
//! Document 000 speaks of `SaveRoute`, `RegisterInstance`, `Transaction(fn)` and the like: here each of them is a
//! [`Delta`], and a transaction is a [`Batch`] of them.
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
/// - What [`commit`](Self::commit) acknowledged is there after any end of the process, `kill -9` included.
/// - A batch is there whole or not at all. After an error it is not there, unless the process ends before the
///   next successful call: a change that was never acknowledged may then have happened.
/// - Revisions only rise.
/// - An error does not end the store: when its cause is gone (a disk that was full), the next commit works.
pub trait Store: Send {
    /// Reads everything, repairs what can be repaired, and reports what was found.
    ///
    /// Damage is no error: what can be read comes back, and [`LoadReport::is_degraded`] says so. An error means that
    /// nothing can be read until somebody acts (in use by another process, neither readable nor writable, written by a
    /// newer version). What can only be read is loaded; commits are refused then. May be called again; then it returns the present contents.
    fn load(&mut self) -> Result<Loaded, StoreError>;

    /// Writes a batch: atomic, and durable when it returns.
    ///
    /// When a batch has several deltas for one record, the last one counts. Removing what is not there is no error.
    /// Blocks for as long as the medium needs (a local disk: a fraction of a millisecond).
    fn commit(&mut self, batch: &Batch<'_>) -> Result<(), StoreError>;

    /// Does what is due now and then, such as a logical export. The owner calls it about once a minute; it must not block
    /// for long.
    fn maintain(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Ends cleanly: the next start has nothing to check for. A store that is dropped without it loses nothing.
    fn close(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// What the status tells about this store.
    fn describe(&self) -> Description;
}

/// What is written at once.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The revision that these deltas lead to; higher than the one stored.
    pub revision: Revision,
    /// What changes, in order.
    pub deltas: &'a [Delta],
}

/// Contents of a store.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The resources by kind and key. The parent of one may be missing when the store was damaged.
    pub resources: Vec<Resource>,
    /// The revision of these resources: 0 in a new store. After a loss it is higher than every revision that was
    /// acknowledged before, because one revision must not mean two things.
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

/// A store as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Which adapter: `memory`, `fjall`.
    pub kind: &'static str,
    /// Where it keeps its files, if it has any.
    pub path: Option<PathBuf>,
    /// Bytes that it occupied there, holes not counted, when it was loaded or last maintained; for one in memory, bytes of its
    /// records now.
    pub bytes: u64,
    /// The revision that it holds.
    pub revision: Revision,
    /// The revision of the newest logical export, if there is one.
    pub exported: Option<Revision>,
    /// What does not work at present though the store does, one sentence each.
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests;

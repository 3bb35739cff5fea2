//! Audit log of the API: every change, refused ones too, as lines of JSON that are chained by hashes.
//!
//! ```text
//! Service ── Trail ─► Entry ── bounded queue ─► writer thread: Chain ─► audit.log ─ rotation ─► audit.log.1 …
//!                                                                          └──────── verify ◄──────┘
//! ```
//! A line is on disk, with a sync of the file, moments after its response, which does not wait for it.
//! Heartbeats and reads are no changes and leave no line. Refusals of unidentified clients are limited in
//! number, so that a stranger cannot fill the disk or rotate other lines away.

mod chain;
mod entry;
mod log;
mod refusals;
mod trail;
mod verify;
mod writer;

pub(crate) use entry::{AuthChanges, Entry, Object};
pub use log::AuditLog;
pub(crate) use log::AuditReading;
pub(crate) use refusals::Refusals;
pub(crate) use trail::{ConfigurationTrail, Trail, objects};
pub use verify::{AuditFault, Verified, audit_files, verify_audit};

//! Certificates that look after themselves: files, ACME orders, renewal, the issuance queue and its budgets.
//!
//! ```text
//!            control thread                                   loader thread              cores
//!  engine ─▶ Certificates: domains, states, orders            cache, parser   ◀─ SecretRequest ─ handshakes
//!               │    │                                           │     └────── SecretUpdate ─▶
//!               │    └─ blocking threads: files, DNS ─▶ <dir> ◀──┘
//!               └─ Host: publishes challenges and versions ─────────── snapshots ─────▶
//! ```
//!
//! [`open`] is called before the control thread begins: it checks the operator's own certificate strictly, lists which
//! domains have one on the disk without opening any, and starts the loader. [`Certificates`] is the handle on the control
//! thread: domains are put and removed, certificates uploaded and verified, and [`Certificates::run`] does the rest through
//! a [`Host`].
//!
//! A certificate that is there and a certificate that is served are two things: what is on the disk has a *version*, a route
//! names the version that it serves, and a core asks the loader for what it does not have. Nobody but the loader and the
//! blocking threads opens a file, and no private key is ever given out again.
#![forbid(unsafe_code)]

mod acme;
mod budget;
mod certificates;
mod course;
mod domains;
mod event;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod host;
mod issuance;
mod lane;
mod limits;
mod loader;
mod named;
mod queue;
mod renewal;
mod report;
mod settings;
mod stir;
#[cfg(test)]
mod testing;
mod upload;
mod verification;
mod watch;
mod watchdog;

pub use certificates::{Certificates, Opened, StartError, lend, open, upstream_secret};
pub use event::CertificateEvent;
pub use host::{Host, Unpublished};
pub use named::{FileWatch, check_files, names_files};
pub use report::{AuthorityState, BudgetState, DefaultState, DomainState, Overview, QueuePlace, State};
pub use ringway_dns::DnsError;
pub use settings::{AcmeSettings, DirectorySettings, Settings};
pub use upload::UploadError;
pub use verification::{
    CaaCheck, ExpectedRecord, FoundRecords, Probe, ProbeOutcome, Readiness, Verification,
};
pub use watch::{DefaultError, check_default};

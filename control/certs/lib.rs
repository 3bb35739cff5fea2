//! Certificates of domains: files, ACME orders and renewal, the order queue and its rate-limit budgets.
//!
//! ```text
//!            control thread                                   loader thread              cores
//!  engine ─▶ Certificates: domains, states, orders            cache, parser   ◀─ SecretRequest ─ handshakes
//!               │    │                                           │     └────── SecretUpdate ─▶
//!               │    └─ blocking threads: files, DNS ─▶ <dir> ◀──┘
//!               └─ Host: publishes challenges and versions ─────────── snapshots ─────▶
//! ```
//!
//! [`open()`] runs before the control thread starts: it checks the default certificate, lists the domains
//! with a certificate on the disk without opening any, and starts the loader. [`Certificates`] is the handle
//! on the control thread: domains are added and removed, certificates uploaded and verified, and
//! [`Certificates::run`] does the rest through a [`Host`].
//!
//! A stored certificate is not yet a served one: each has a *version*, routes name the version that they
//! serve, and a core requests from the loader what it lacks. Only the loader and the blocking threads open
//! files, and no private key leaves the process.
#![forbid(unsafe_code)]

mod acme;
mod budget;
mod ca_health;
mod certificate_store;
mod certificates;
mod clock_check;
mod default_certificate;
mod default_files;
mod disk;
mod domains;
mod event;
mod file_watch;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod host;
mod issuance;
mod issuance_state;
mod limits;
mod loader;
mod maintenance;
mod metrics;
mod open;
mod publisher;
mod queue;
mod registry;
mod renewal;
mod report;
mod settings;
mod tasks;
#[cfg(test)]
mod testing;
mod upload;
mod verification;

pub use certificates::Certificates;
pub use default_files::{DefaultCertificateError, check_default};
pub use event::CertificateEvent;
pub use file_watch::{FileWatch, check_files, check_files_blocking, names_files, upstream_secret};
pub use host::{Host, PublishError};
pub use open::{Opened, StartError, open, start_loader};
pub use report::{
    AuthorityState, BudgetState, CertificateState, DefaultState, DomainState, Overview, QueuePosition,
};
pub use ringway_dns::DnsError;
pub use settings::{AcmeSettings, CertificateSettings, DirectorySettings};
pub use upload::UploadError;
pub use verification::{
    CaaCheck, ExpectedRecord, FoundRecords, Probe, ProbeOutcome, Readiness, Verification,
};

//! Configuration of operators: files and requests become the sets of the owners `file` and `admin`.
//!
//! ```text
//!  files ── save ──┐
//!                  ├─► configuration thread: read ► judge ► Change::ReplaceOwned ──► control thread ──► cores
//!  requests ───────┘         ▲── receipt ──────────────────────────────────────────────┘
//! ```
//! Reading and judging happen on a thread of its own, because disks hang and large documents take a while.

mod auth_changes;
mod auth_check;
mod basis;
mod checks;
mod client;
mod configurator;
mod diff;
mod error;
mod explained_cache;
mod explained_stages;
mod fields;
mod file_watch;
mod files;
mod governance;
mod history;
mod jobs;
mod judge;
mod plane;
mod plans;
mod questions;
mod replacement;
mod requests;
mod routing;
mod sources;
mod stage_services;
mod startup;
mod thread;

pub use auth_changes::AuthChange;
pub use auth_check::{AuthCheckRequest, AuthChecked, CheckedSource};
pub use checks::{check_routes, credentials as check_credentials};
pub use client::ConfigClient;
pub use error::{ConfigError, Step};
pub use explained_cache::ExplainedCache;
pub use explained_stages::{ExplainedStage, ExplainedStages};
pub(crate) use governance::Reserved;
pub use requests::{
    Applied, ApplyContent, ApplyRequest, Candidate, ChangeOp, ConfigurationStatus, Current, Diff,
    DiffRequest, Effects, ExplainRequest, ExplainedRoute, Explanation, FieldChange, Mode, Proposal,
    ReloadRequest, RollbackRequest, Sampled, Validation, Version,
};
pub use sources::{SourceError, read_scripts, read_sources};
pub use startup::{ConfigurationSettings, OnBadConfig, Start};
pub(crate) use startup::{Started, prepare};
pub(crate) use thread::{ConfigurationLink, Notice, start};

//! Configuration of operators: files and requests become the sets of the owners `file` and `admin`.
//!
//! ```text
//!  files ── save ──┐
//!                  ├─► configuration thread: read ► judge ► Change::ReplaceOwned ──► control thread ──► cores
//!  requests ───────┘         ▲── receipt ──────────────────────────────────────────────┘
//! ```
//! Reading and judging happen on a thread of its own, because disks hang and large documents take a while.

mod error;
mod file_watch;
mod requests;
mod sources;

pub use error::{ConfigError, Step};
pub use requests::{
    Applied, ApplyContent, ApplyRequest, ChangeOp, ConfigurationStatus, Current, Diff, DiffRequest, Effects,
    FieldChange, Mode, Proposal, ReloadRequest, RollbackRequest, Validation, Version,
};
pub use sources::{SourceError, read_sources};

//! Credentials of middleware stages: keys of identity providers, files of users and of clients' keys, and the
//! verification of passwords.
//!
//! ```text
//! sources of all chains ─► Link::want ─► loader: file, or URL on a thread of its own ─► Event::Loaded
//! unknown key of a token ─► Link::refresh ┘      │ good: kept on disk     └ bad: the last good one stays
//! password ─► Link::verify ─► password threads ─► Event::Verified
//! ```
//! A source that cannot be loaded keeps its last good credentials for a day, over restarts too: an identity
//! provider that is down takes no one's tokens away. Nothing here runs on a core.
#![forbid(unsafe_code)]

mod disk;
mod failure_kind;
mod fetch;
mod file;
mod limits;
mod link;
mod loader;
mod passwords;
mod schedule;

pub use failure_kind::{FailureCounts, FailureKind};
pub use link::{Event, Link, SourceStatus, start};
pub use loader::file_problem_blocking;
pub use passwords::verify as verify_password;
pub use ringway_middleware::KnownCredentials;

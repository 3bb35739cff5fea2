//! Control side of the forward proxy: two threads beside the control thread, which neither delays.
//!
//! ```text
//! configuration ─► ringway-forward: lists, users ─► Policy ─► all cores
//! core ─► ringway-names: cache, one question per name ─► a thread per lookup ─► Resolved ─► the core
//! ```
#![forbid(unsafe_code)]

mod hosts_file;
mod link;
mod lookups;
mod names;
mod rules;

pub use link::{ForwardSettings, Link, ListStatus, SetError, StartError, Started, start};
pub use rules::LoadError;

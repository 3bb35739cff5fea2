//! Configuration documents: YAML and JSON, read into resources and settings.
//!
//! ```text
//! sources ─ tree (yaml, json) ─► reader ◄─ shapes ─► references ─► Document, or findings
//! ```
//! All mistakes of all sources are found at once, each with file, line and column. Everything here is pure:
//! no clock, no I/O; whoever reads the files passes their texts.
//!
//! The [`Reader`] is that of the admin API too: a shape is one function that reads the fields of an object, or
//! describes them for a schema.
#![forbid(unsafe_code)]

mod document;
pub mod fields;
mod finding;
pub mod limits;
mod place;
mod pointer;
mod reader;
mod statics;
mod tree;
pub mod values;

pub use document::{Document, Reading, Source, StaticValue, read};
pub use finding::{Finding, Severity};
pub use place::{Place, Position};
pub use pointer::Pointer;
pub use reader::{
    Described, Fault, Field, Given, Input, Location, Origin, Reader, Report, SettingForm, describe,
    object_schema, read as read_request,
};
pub use statics::{STATIC_KEYS, StaticKey, StaticKind, restart_needed};
pub use tree::{Member, Node, Object, Value, json};

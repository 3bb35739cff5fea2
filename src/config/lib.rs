//! Configuration documents: YAML and JSON, read into resources and settings.
//!
//! ```text
//! sources ─ tree (YAML, JSON) ─► Reader ◄─ shapes ─► Draft ─ resolve ─► CheckedLater, Document, FieldPlace, or findings
//! ```
//! All mistakes of all sources are found at once, each with file, line and column. Everything here is pure:
//! no clock, no I/O; whoever reads the files passes their texts.
//!
//! The [`Reader`] is that of the admin API too: a shape is one function that reads the fields of an object,
//! or describes them for a schema.
#![forbid(unsafe_code)]

pub mod canonical;
mod document;
mod draft;
pub mod fields;
mod finding;
mod governance;
pub mod limits;
mod place;
mod pointer;
mod read;
mod reader;
mod resolve;
mod schema;
mod shapes;
mod statics;
mod tree;
pub mod values;

pub use document::{CheckedLater, Document, FieldPlace, Places, Reading, Sections, Source, StaticValue};
pub use finding::{Finding, Severity};
pub use governance::{GovernanceRule, Rule, RuleMode, Share};
pub use place::{Place, Position};
pub use pointer::Pointer;
pub use read::{Beside, read, read_beside, read_object};
pub use reader::{
    Described, Fault, Field, Given, Input, Location, Origin, Reader, Report, SettingForm, describe, nearest,
    object_schema, read as read_request,
};
pub use schema::schema;
pub use shapes::{ScriptPaths, policy, policy_patch, script_paths};
pub use statics::{STATIC_KEYS, StaticKey, StaticKind, restart_needed};
pub use tree::{Member, Node, Object, Value, json};

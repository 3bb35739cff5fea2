//! Lua scripts: compiler, sandboxed VM with limits, the API `gw`, declarations and bundles.
//!
//! ```text
//! control:  sources ─► Bundle::compile ─► Arc<Bundle> with its Declarations ─► snapshot
//! core:     Vm::load(bundle, host) ─► Vm::call(Call, ScriptRequest) ─► Running::next ─► Outcome
//! ```
//! - A [`Bundle`] has the compiled scripts of one namespace: the operator, or one tenant. Its
//!   [`Declarations`] come from loading it once in a VM without clock, random numbers and I/O.
//! - A [`Vm`] belongs to one core and one namespace; namespaces share none. Calls that wait interleave in it.
//! - Limits stop every script: steps, CPU time, deadline, memory. A stopped script cannot catch that, and
//!   the VM serves on.
//! - What a script wants from outside, it gets from its [`Host`].
//!
//! The crate is pure: no I/O, no clock, no random numbers.
#![forbid(unsafe_code)]

mod api;
mod budget;
mod bundle;
mod declarations;
mod dictionary;
mod failure;
mod host;
pub mod limits;
mod outcome;
mod pattern;
mod reply;
mod request;
mod route_table;
mod running;
mod sandbox;
mod settings;
#[cfg(test)]
mod testing;
mod vm;

pub use bundle::{Bundle, BundleSource, CompileError, ConfigValue, SourceFile, SourceKind};
pub use declarations::{
    Declarations, FallbackDeclaration, FallbackKind, HandlerId, HookDeclaration, HookId, ProxyTarget,
    RateLimit, RouteDeclaration, RouteMethod, RouteTarget, ScriptDeclaration,
};
pub use dictionary::{Dictionaries, Dictionary, DictionaryError, SharedValue};
pub use failure::{Failure, FailureKind, Place};
pub use host::{Fetch, Host, LogLevel, LogLine};
pub use outcome::{Effects, Outcome};
pub use pattern::{Pattern, PatternError, Segment};
pub use request::{BodyUnavailable, Rights, ScriptRequest};
pub use route_table::{Duplicate, Found, Parameters, RouteTable};
pub use running::{Progress, Running};
pub use settings::Limits;
pub use vm::{Call, Vm};

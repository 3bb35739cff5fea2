//! HTTP cache: decisions of RFC 9111 as pure functions, the store of all cores, and coalescing of misses.
//!
//! ```text
//! request head ─► Request::read ─► eligibility ─► key ─► store ─ entry ─► judge ─► serve │ ask the origin
//!                                     │ Bypass                     └ none ──────────► ask the origin
//! response head ─► Response::read ─► storability ─► StoredHead ─► store
//! ```
//! - `control` parses what heads say: directives, structured fields, dates, ages, ranges.
//! - `policy` decides: whether a request may use the cache, whether a response is stored and for how long it
//!   is fresh, how a stored response answers, and how a 304 updates it.
//! - `key` and `vary` make the bytes under which an entry is found.
//! - [`StoredHead`] is the part of an entry that decisions read.
//! - `fill` lets simultaneous misses share one request to the origin.
//! - `store` has the entries of all cores: the index, eviction by scopes, purges.
//!
//! Decisions have no clock, no lock and no table: heads, settings and the time are arguments. A hit is judged
//! without an allocation.
#![forbid(unsafe_code)]

pub mod control;
mod entry;
mod fields;
mod fill;
mod key;
pub mod limits;
mod patterns;
pub mod policy;
mod settings;
mod store;
mod stored_head;
mod sync;
mod tags;
#[cfg(test)]
mod testing;
mod vary;

pub use entry::{Body, Coding, Entry, RefreshPermit};
pub use fields::{FieldSource, Lines};
pub use fill::{
    Alone, FillId, Fills, Follower, Join, Lead, NotKept, Progress, Read, Reader, Request, Room, Start,
    Waiter, Wakeups, Writer,
};
pub use key::{KeyError, KeyParts, ScopeId, write_key, write_key_target};
pub use settings::Settings;
pub use store::account::{Level, Usage};
pub use store::insert::{InsertError, NewEntry, Ticket};
pub use store::purge::{Effect, Pattern, Purge, PurgeKind, Purged, Selector, SelectorError, Url};
pub use store::scope::{Scope, ScopeName, ScopeSettings};
pub use store::select::Selected;
pub use store::sweep::Swept;
pub use store::variant_set::VariantSet;
pub use store::{Evictions, Found, ScopeStats, Store, StoreSettings, StoreStats};
pub use stored_head::StoredHead;
pub use tags::tag_hash;
pub use vary::{Marker, Vary, VaryNames};

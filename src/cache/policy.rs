//! Decisions about requests and responses (RFC 9111), as pure functions of heads, settings and time.
//!
//! ```text
//! RequestFacts::read ─► access ─ Bypass ─► forwarded, and after an unsafe method: invalidation
//!      │                  └ Access ─► key ─► stored head? ─ none ─► forwarded
//!      ▼                                       │ judge
//!    reply ◄─ Serve ───────────────────────────┤
//!      ▲                                       └ Revalidate ─► write_conditions ─► origin
//!      ├── freshen ◄─ 304 ─────────────────────────────────────────────────────────┤
//!      ├── StoredHead::new ◄─ storable ◄─ ResponseFacts::read ◄─ other responses ──┤
//!      └── may_serve_stale ◄─ 5xx, or no response ─────────────────────────────────┘
//! ```

mod freshness;
mod invalidation;
mod outcome;
mod request;
mod response;
mod revalidate;
mod serve;
mod storage;

pub use freshness::{Freshness, LifetimeSource};
pub use invalidation::{Invalidation, RequestTarget};
pub use outcome::{Forward, Outcome, StaleReason, Storing};
pub use request::{Access, Bypass, RequestFacts, RequestTraits};
pub use response::{Control, Expires, ResponseFacts};
pub use revalidate::{
    CONDITIONAL_FIELDS, EntryChange, Freshened, OriginFailure, freshen, is_removed_on_refresh,
    may_serve_stale, write_conditions, write_variant_conditions,
};
pub(crate) use serve::ttl;
pub use serve::{Reply, Revalidation, Verdict, judge, reply, write_reply_fields};
pub use storage::{NotStored, ResponseSource, Times, storable, store, write_personal_fields};

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;

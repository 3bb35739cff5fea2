//! Traffic decisions, pure: facts, `now` and randomness in, a choice out.
//!
//! ```text
//! control thread                                     every data core
//! Desired + deltas ─ compile ─► Arc<Snapshot> ──────► route ─► pool ─ balance ─► endpoint ─► attempt
//!                                                                 ▲                            │
//!                               report::Report ◄── breaker ◄──────┴────── retry ◄──────────────┘
//! ```
//! - [`compile`] turns what users registered into the tables that cores route by, at a cost that follows the change.
//! - [`snapshot`] is those tables: immutable, shared by all cores.
//! - [`breaker`] is the one thing in them that changes: an endpoint's health and circuit breaker, in atomics.
//! - [`in_flight`] counts the requests under way at an endpoint, so that a drain knows its end.
//! - [`balance`] picks an endpoint of a pool, [`retry`] says whether a failed attempt may be followed by another.
//! - [`report`] is what the two planes tell each other beside snapshots.
//!
//! No socket, no clock and no message is known here.
#![forbid(unsafe_code)]

pub mod balance;
pub mod breaker;
pub mod compile;
pub mod in_flight;
mod limits;
pub mod report;
pub mod retry;
pub mod snapshot;

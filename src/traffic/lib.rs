//! Traffic decisions, pure: facts, `now` and randomness in, a choice out.
//!
//! ```text
//! control thread                                       every data core
//! Desired + deltas ─ compile ─► Arc<Snapshot> ──► virtual host ─► rule ─► pool ─ balance ─► endpoint ─► attempt
//!                                                                            ▲                            │
//!                               report::Report ◄── breaker ◄─────────────────┴─────── retry ◄─────────────┘
//! ```
//! - [`compile`] turns the registered configuration into routing tables, at a cost that follows the change.
//! - [`snapshot`] is those tables: immutable, shared by all cores. [`virtual_host`] holds hosts and their rules, [`policy`]
//!   the settings of rules and pools.
//! - [`breaker`] is an endpoint's health and circuit breaker: the only shared state that data cores write, in atomics.
//! - [`in_flight`] counts the requests under way at an endpoint, for drains.
//! - [`balance`] picks an endpoint of a pool, [`retry`] decides whether another attempt follows a failed one.
//! - [`report`] defines the messages between the two planes beside snapshots.
//!
//! This crate knows no socket and no clock.
#![forbid(unsafe_code)]

pub mod balance;
pub mod breaker;
pub mod compile;
pub mod in_flight;
mod limits;
pub mod policy;
pub mod report;
pub mod retry;
pub mod snapshot;
pub mod virtual_host;

//! Traffic decisions as pure functions: routing tables, load balancing, circuit breaking, retries.
//!
//! ```text
//! control thread                                     every data core
//! Desired, deltas ─ compile ─► Arc<Snapshot> ─► VirtualHost ─► rule ─► pool ─ balance ─► endpoint ─► attempt
//!                                                                         ▲                            │
//!                             report::Report ◄── breaker ◄────────────────┴─────── retry ◄─────────────┘
//! ```
//! - [`compile`] turns the registered configuration into routing tables, at a cost that follows the change.
//! - [`snapshot`] holds those tables: immutable, shared by all cores. [`virtual_host`] has the hosts and
//!   their rules, [`rule_table`] those with conditions, [`policy`] the settings of rules and pools.
//! - [`rewrite`] changes the target of a forwarded request, [`pattern`] compiles regular expressions, and
//!   [`route_check`] finds routes that cannot be compiled, and [`redirect`] those that redirect in circles.
//! - [`breaker`] holds an endpoint's health and circuit breaker: the only shared state that data cores write,
//!   in atomics.
//! - [`rate_limit`] decides whether a request is within the limit of its key, by one table for all cores.
//! - [`in_flight`] counts the requests in flight at an endpoint, for drains; [`permits`] bounds such a count,
//!   exactly over all cores.
//! - [`balance`] picks an endpoint of a pool, [`retry`] decides whether another attempt follows a failed one.
//! - [`retry_budget`] bounds additional attempts by a share of the successful exchanges of their pool.
//! - [`overload`] limits the concurrent requests of a route, with a queue over all cores.
//! - [`verdict`] is the meaning of an attempt's result, [`tally`] counts them over a sliding window.
//! - [`security_event`] counts what the audit log shows of refused and unprotected requests.
//! - [`samples`] keeps heads of requests, by which [`simulate`] shows the effects of a change.
//! - [`report`] defines the messages between the two planes other than snapshots.
//!
//! The crate has no sockets and no clock: its callers pass in `now`.
#![forbid(unsafe_code)]

pub mod balance;
pub mod brake;
pub mod breaker;
pub mod cache_rule;
pub mod compile;
pub mod destination;
pub mod hedge;
mod host_patterns;
pub mod in_flight;
mod latencies;
mod limits;
pub mod mirror;
pub mod outliers;
pub mod overload;
pub mod pattern;
pub mod permits;
pub mod plan;
pub mod policy;
pub mod pool_breaker;
pub mod pool_state;
pub mod rate_limit;
pub mod redirect;
pub mod report;
pub mod request_key;
pub mod retry;
pub mod retry_budget;
pub mod rewrite;
pub mod route_check;
pub mod route_path;
pub mod rule_table;
pub mod rule_traffic;
pub mod samples;
pub mod scripts;
pub mod security_event;
pub mod selection;
pub mod simulate;
mod slow_start;
pub mod snapshot;
pub mod tally;
mod throttle;
pub mod trickle;
pub mod verdict;
pub mod virtual_host;
pub mod weights;

//! Active health checks: probes, rise and fall thresholds, a jittered schedule.
//!
//! ```text
//!  upsert, remove ─► Checks (pure) ── poll_due ──► Prober: connect, GET ── ProbeResult ─┐
//!                     Schedule                                                          │
//!                     HealthState: rise and fall ◄──────────── handle_result ◄──────────┘
//!                          └──► HealthChange, when an instance's health changes
//! ```
//! [`Checks`] decides, given the time and randomness; [`Checker`] runs it on the control thread and does the
//! I/O through a [`Prober`]. Data cores are not involved: the receiver of a [`HealthChange`] writes it where
//! they read it. Failed requests are the circuit breaker's input, not this crate's.
#![forbid(unsafe_code)]

mod checker;
mod checks;
mod health_state;
mod limits;
mod probe;
mod probe_result;
mod schedule;

pub use checker::Checker;
pub use checks::{CheckStatus, Checks, Defaults, Due, Entry, HealthChange};
pub use health_state::{HealthState, Streak, Thresholds};
pub use probe::{NetProber, NoTls, ProbeTls, Prober};
pub use probe_result::{Explained, Failure, LocalFault, ProbeResult};
pub use schedule::{CheckId, Plan, Schedule};

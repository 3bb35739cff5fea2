//! Active health checks: probes, the rise and fall machine, a jittered schedule.
//!
//! ```text
//!  upsert, remove ─► Checks (pure) ── poll_due ──► Prober: connect, GET ── Answer ─┐
//!                     Schedule: when                                              │
//!                     Course: rise and fall ◄──────────── handle_answer ◄─────────┘
//!                          └──► Verdict, when an instance's health changes
//! ```
//! [`Checks`] decides, given the time and randomness; [`Checker`] runs it on the control thread and does the I/O
//! through a [`Prober`]. Nothing here touches a data core: whoever gets a [`Verdict`] writes it where cores read it.
//! Requests that fail are another matter, the breaker's.
#![forbid(unsafe_code)]

mod answer;
mod checker;
mod checks;
mod course;
mod limits;
mod probe;
mod schedule;

pub use answer::{Answer, Explained, Failure, LocalFault};
pub use checker::Checker;
pub use checks::{CheckStatus, Checks, Defaults, Due, Entry, Verdict};
pub use course::{Course, Streak, Thresholds};
pub use probe::{NetProber, NoTrust, Prober, Trust};
pub use schedule::{CheckId, Plan, Schedule};

//! The control plane: one thread, a pure plane inside, effects around it.
//!
//! ```text
//!  API task ── Control ─┐
//!  embedder ── Client ──┤        ┌──────────────── engine ────────────────┐
//!                       ├─ turn ─► plane · leases · names · compiler      │
//!  cores ──── Report ───┤        └──┬───────────┬──────────┬──────────────┘
//!  store ───── Done ────┘           ▼           ▼          ▼
//!                               store thread  cores      resolver, health checks
//!                               (one batch,   (newest
//!                                fsynced)      snapshot)
//! ```
//! What is acknowledged is on disk and on every core: a change is applied, compiled, stored, published, acknowledged by
//! all cores, and then answered. `plane`, `core_acks`, `lease`, `dns_refresh` and `idempotency` are state machines that are given the
//! time; `engine` puts them together; `thread` runs it all.
#![forbid(unsafe_code)]

mod certificates;
mod client;
mod control;
mod discovery;
mod engine;
#[cfg(test)]
mod engine_tests;
mod error_chain;
mod instances;
mod limits;
mod notifications;
mod status;
mod submission;
mod thread;
#[cfg(test)]
mod thread_tests;
mod time;

pub use client::{Client, Drained};
pub use control::Control;
pub use discovery::threads::{Resolved, ResolvedTarget, ResolverError, TargetResolver};
pub use engine::{ControlSettings, WorkerLink};
pub use error_chain::with_causes;
pub use status::{
    AppStatus, BreakerState, BreakerStatus, CoreState, CoreStatus, Counts, Drained as InstanceDrained,
    InFlightStatus, InstanceState, InstanceStatus, State, Status, StoreStatus,
};
pub use submission::{Receipt, Refusal, StorageFailure, Submission};
pub use thread::{ControlThread, Inbox, Parts, Pulse, Service, StartError, inbox, start};

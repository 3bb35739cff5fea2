//! The control plane: one thread with a pure state machine of changes, and the effects around it.
//!
//! ```text
//!  API task ── Control ─┐
//!  embedder ── Client ──┤        ┌─────────────────── engine ───────────────────┐
//!                       ├─ turn ─► plane · instances · discovery · publisher    │
//!  cores ──── Report ───┤        └──┬───────────┬──────────┬────────────────────┘
//!  store ───── Done ────┘           ▼           ▼          ▼
//!                               store thread  cores      resolver, health checks
//!                               (one batch,   (newest
//!                                fsynced)      snapshot)
//! ```
//! A receipt means on disk and on every core: a change is applied, compiled, stored, published, acknowledged
//! by all cores, and then replied to. State machines take the time as an argument; `engine` drives them;
//! `thread` runs the engine.
#![forbid(unsafe_code)]

mod cache;
mod canaries;
mod certificates;
mod client;
mod configuration;
mod control;
mod credentials;
mod discovery;
mod engine;
#[cfg(test)]
mod engine_tests;
#[cfg(test)]
mod engine_trial_tests;
mod error_chain;
mod instances;
mod limits;
mod liveness;
mod notifications;
mod own_event;
mod security_log;
mod settings;
mod simulation;
mod status;
mod submission;
mod thread;
#[cfg(test)]
mod thread_tests;
mod time;
mod trial;
mod view;

pub use cache::{CacheScopeStatus, CacheStatus, CachedFilter, CachedResponse};
pub use canaries::{CanaryComparison, CanaryError, CanaryStatus, NextStep};
pub use client::Client;
pub use configuration::{
    Applied, ApplyContent, ApplyRequest, AuthChange, AuthCheckRequest, AuthChecked, Candidate, ChangeOp,
    CheckedSource, ConfigClient, ConfigError, ConfigurationSettings, ConfigurationStatus, Current, Diff,
    DiffRequest, Effects, ExplainRequest, ExplainedCache, ExplainedRoute, ExplainedStage, ExplainedStages,
    Explanation, FieldChange, Mode, OnBadConfig, Proposal, ReloadRequest, RollbackRequest, Sampled,
    SourceError, Start, Step, Validation, Version, check_credentials, check_routes, read_scripts,
    read_sources,
};
pub use control::Control;
pub use discovery::{Resolved, ResolvedTarget, ResolverError, TargetResolver};
pub use engine::{Drained, WorkerLink};
pub use error_chain::with_causes;
pub use liveness::Liveness;
pub use own_event::{EventHook, OwnEvent};
/// Purges, as the store of responses takes them.
pub use ringway_cache::{
    Effect as PurgeEffect, Evictions, Purge, Purged, Selector as PurgeSelector, SelectorError, StoreStats,
    Usage as CacheUsage, limits::TAG_BYTES_MAX, tag_hash,
};
/// Explanations, as the stages give them.
pub use ringway_middleware::{
    AuthCheck, CheckError, CredentialKind, FieldChanges, MethodExplanation, Outcome, Reason,
};
/// Security events, as the data plane reports them.
pub use ringway_traffic::security_event::{SecurityCount, SecurityEvent, SecurityEventKind, SecuritySubject};
/// Result of a simulation, as the crate of the routing tables makes it.
pub use ringway_traffic::simulate::{Destination, Rerouted, Simulated};
pub use settings::ControlSettings;
pub use simulation::Simulation;
pub use status::{
    AppStatus, BreakerState, BreakerStatus, CircuitScope, CircuitStatus, CoreState, CoreStatus, Counts,
    EjectionStatus, InFlightStatus, InstanceDrained, InstanceState, InstanceStatus, State, Status,
    StoreStatus,
};
pub use submission::{Idempotency, KnownResult, Receipt, Refusal, StorageFailure, Submission};
pub use thread::{ControlThread, Inbox, Parts, Service, StartError, inbox, start};
pub use trial::{NoTrial, RevertReason, Rollout, Tally, TrialId, TrialState, TrialStatus};

//! Typed events and what is made of them: metrics and the access log.
//!
//! A worker tells what happened as typed events, once each ([`Exchange`] and its smaller kin). Whoever wants to know
//! is an [`Observer`]: the metrics of the core, its access log, and at most one observer of an embedder; together
//! they are a core's [`Telemetry`].
//!
//! ```text
//!  data core                                  control thread / writer thread
//!  Telemetry ─┬─ Metrics ──► Shard (relaxed stores) ◄── Registry ──► Prometheus text
//!             ├─ AccessLog ── 64 KiB blocks, bounded ──► LogHandle's thread ──► file, stdout
//!             └─ embedder's Observer
//! ```
//! Nothing here waits on a data core: counters are plain stores into memory that only this core writes, and a log
//! line that finds no room is dropped and counted. No clock is read here either; events carry their times.
#![forbid(unsafe_code)]

mod app;
mod counter;
mod event;
mod limits;
mod log;
mod observer;
mod process;
mod prometheus;
mod registry;
mod request_id;
mod shard;
mod telemetry;

pub use app::{AppReading, DURATION_LIMITS_US, quantile};
pub use event::{
    AttemptFailed, BreakerOpened, ConnectionAbused, ConnectionClosed, ConnectionHandedOver, ConnectionOpened,
    ConnectionRefused, Event, Exchange, HandshakeDone, HandshakeRefused, Panicked, Protocol, RefusalReason,
    Rejected, SecretLoaded, SnapshotApplied, Upgrade, UpgradeEnded, Upgraded, UpstreamError,
};
pub use log::{AccessLog, LogFields, LogFieldsError, LogFormat, LogHandle, LogReading, LogSink};
pub use observer::Observer;
pub use process::ProcessReading;
pub use prometheus::{Facts, PoolFacts};
pub use registry::{CoreReading, OTHER, Registry};
pub use request_id::{RequestId, RequestIds, is_valid_request_id};
pub use ringway_model::TenantHash;
pub use shard::Metrics;
pub use telemetry::Telemetry;

//! Typed events of data cores, metrics and the access log.
//!
//! A worker emits each [`Event`] once; the largest is an [`Exchange`], a request with its response. Consumers
//! implement [`Observer`]: the metrics of the core, its access log, and at most one observer of an embedder;
//! together they are a core's [`Telemetry`].
//!
//! ```text
//!  data core                                  control thread / writer thread
//!  Telemetry ─┬─ Metrics ──► Shard (relaxed stores) ◄── Registry ──► Prometheus text
//!             ├─ AccessLog ── 64 KiB blocks, bounded ──► LogHandle's thread ──► file, stdout
//!             └─ embedder's Observer
//! ```
//! Nothing here blocks a data core: counters are plain stores into memory that only this core writes, and log
//! lines are dropped and counted when the queue is full. No clock is read here; events carry their times.
#![forbid(unsafe_code)]

mod app;
mod cache;
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
pub use cache::CacheReading;
pub use event::{
    AttemptFailed, AuthRefused, BreakerOpened, CacheFilled, CacheResult, CacheUse, CacheWait, Called,
    Compression, ConnectionAbused, ConnectionClosed, ConnectionHandedOver, ConnectionOpened,
    ConnectionRefused, Event, Exchange, FilterAsked, FilterFailure, HandshakeDone, HandshakeRefused,
    HedgeOutcome, MirrorOutcome, Mirrored, Panicked, PolicyDecided, PolicyDecision, Protocol, RefusalReason,
    Rejected, RetryOutcome, SecretLoaded, SnapshotApplied, Upgrade, UpgradeEnded, Upgraded, UpstreamError,
};
pub use log::{AccessLog, LogFields, LogFieldsError, LogFormat, LogHandle, LogReading, LogSink};
pub use observer::Observer;
pub use process::ProcessReading;
pub use prometheus::{ControlReading, PoolReading};
pub use registry::{CoreReading, OTHER, Registry};
pub use request_id::{RequestId, RequestIds, is_valid_request_id};
pub use ringway_model::{TenantHash, Variant};
pub use shard::Metrics;
pub use telemetry::Telemetry;

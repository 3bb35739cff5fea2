//! Telemetry of one core: its observers combined.

use std::fmt;
use std::sync::Arc;

use ringway_model::Tick;

use crate::event::Event;
use crate::log::AccessLog;
use crate::observer::Observer;
use crate::shard::Metrics;

/// Observers of one core: its metrics, its access log if enabled, and an embedder's observer if there is one.
/// Moved to the core's thread, where it receives every event.
///
/// Without access log and embedder an exchange costs only its counters.
pub struct Telemetry {
    metrics: Metrics,
    log: Option<AccessLog>,
    embedder: Option<Arc<dyn Observer + Send + Sync>>,
}

impl Telemetry {
    /// Combines the observers of a core.
    pub fn new(
        metrics: Metrics,
        log: Option<AccessLog>,
        embedder: Option<Arc<dyn Observer + Send + Sync>>,
    ) -> Self {
        Self { metrics, log, embedder }
    }

    /// Reports an event to all observers.
    ///
    /// Each observer gets an [`Event`] of its own: its variant is a constant after inlining, hence the
    /// matches of metrics and access log are free, and the event is stored in memory only for an embedder.
    #[inline]
    pub fn emit<'e>(&self, event: impl Into<Event<'e>> + Copy) {
        self.metrics.on_event(&event.into());
        if let Some(log) = &self.log {
            log.on_event(&event.into());
        }
        if let Some(embedder) = &self.embedder {
            embedder.on_event(&event.into());
        }
    }

    /// Sets the name of the core's I/O driver; later calls have no effect.
    pub fn set_driver(&self, driver: &'static str) {
        self.metrics.set_driver(driver);
    }

    /// Returns whether an [`Exchange`](crate::Exchange) should carry the client's `Referer`, which costs a
    /// scan of the request's fields.
    pub fn wants_referer(&self) -> bool {
        self.log.as_ref().is_some_and(AccessLog::shows_referer)
    }

    /// Flushes log lines that have waited for `LOG_FLUSH_AGE`. To be called a
    /// few times a second; cheap when nothing waits.
    pub fn flush_if_older(&self, now: Tick) {
        if let Some(log) = &self.log {
            log.flush_if_older(now);
        }
    }

    /// Flushes all log lines: before the core sleeps for long, and at its shutdown.
    pub fn flush(&self) {
        if let Some(log) = &self.log {
            log.flush();
        }
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("log", &self.log.is_some())
            .field("embedder", &self.embedder.is_some())
            .finish_non_exhaustive()
    }
}

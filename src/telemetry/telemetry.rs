//! Everything that a core tells, in one place.

use std::fmt;
use std::sync::Arc;

use ringway_model::Tick;

use crate::event::Event;
use crate::log::AccessLog;
use crate::observer::Observer;
use crate::shard::Metrics;

/// One core's observers: its metrics, its part of the access log where there is one, and an embedder's observer where
/// there is one. Moved to the core's thread and told of every event there.
///
/// Without log and embedder an exchange costs what its counters cost.
pub struct Telemetry {
    metrics: Metrics,
    log: Option<AccessLog>,
    embedder: Option<Arc<dyn Observer + Send + Sync>>,
}

impl Telemetry {
    /// Puts a core's observers together.
    pub fn new(
        metrics: Metrics,
        log: Option<AccessLog>,
        embedder: Option<Arc<dyn Observer + Send + Sync>>,
    ) -> Self {
        Self { metrics, log, embedder }
    }

    /// Reports an event to all observers. Inlined, so that the kind of an event is known where it is reported.
    #[inline]
    pub fn emit<'e>(&self, event: impl Into<Event<'e>>) {
        let event = event.into();
        self.metrics.on_event(&event);
        if let Some(log) = &self.log {
            log.on_event(&event);
        }
        if let Some(embedder) = &self.embedder {
            embedder.on_event(&event);
        }
    }

    /// Tells which I/O driver the core runs on; the first word stays.
    pub fn set_driver(&self, driver: &'static str) {
        self.metrics.set_driver(driver);
    }

    /// Whether an [`Exchange`](crate::Exchange) should carry the client's `Referer`, which costs a walk over the request's fields.
    pub fn wants_referer(&self) -> bool {
        self.log.as_ref().is_some_and(AccessLog::shows_referer)
    }

    /// Hands log lines over that have waited for [`LOG_FLUSH_AGE`](crate::limits::LOG_FLUSH_AGE). To be called
    /// a few times a second; cheap when nothing waits.
    pub fn flush_if_older(&self, now: Tick) {
        if let Some(log) = &self.log {
            log.flush_if_older(now);
        }
    }

    /// Hands all log lines over: before the core sleeps for long, and when it ends.
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

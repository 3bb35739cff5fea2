//! Host of a VM: time, random numbers, calls to pools and shared state of a core.

use std::rc::Weak;
use std::sync::Arc;
use std::time::Duration;

use ringway_middleware::{Call, CallError, CallKind, CallResponse, Waiting};
use ringway_script::{Dictionary, Fetch, Host, LogLevel, LogLine, RateLimit};
use ringway_traffic::scripts::ScriptState;

use crate::core::Core;
use crate::exchange::stage_calls;
use crate::runtime::Runtime;

/// Host of the operator's VM on a core.
pub(super) struct CoreHost<R: Runtime> {
    /// The core owns the VM, and the VM this.
    pub(super) core: Weak<Core<R>>,
    pub(super) state: Arc<ScriptState>,
}

impl<R: Runtime> Host for CoreHost<R> {
    fn unix_micros(&self) -> u64 {
        self.core.upgrade().map_or(0, |core| core.runtime.timestamp().0.saturating_mul(1_000))
    }

    fn now_micros(&self) -> u64 {
        self.core.upgrade().map_or(0, |core| core.runtime.now_micros())
    }

    fn cpu_micros(&self) -> u64 {
        self.core.upgrade().map_or(0, |core| core.runtime.cpu_micros())
    }

    fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        match aws_lc_rs::rand::fill(&mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes),
            // The system has no random numbers, and TLS none either: at least no two are the same.
            Err(_) => self.now_micros(),
        }
    }

    fn sleep(&self, duration: Duration) -> Waiting<'static, ()> {
        let core = self.core.clone();
        Box::pin(async move {
            if let Some(core) = core.upgrade() {
                core.runtime.sleep(duration).await;
            }
        })
    }

    fn fetch(&self, fetch: Fetch) -> Waiting<'static, Result<CallResponse, CallError>> {
        let core = self.core.clone();
        Box::pin(async move {
            let core = core.upgrade().ok_or(CallError::Unavailable)?;
            let call = Call {
                pool: &fetch.pool,
                kind: CallKind::Http { method: &fetch.method, path: &fetch.path },
                lines: &fetch.lines,
                body: &fetch.body,
                timeout: fetch.timeout,
                response_bytes_max: fetch.response_bytes_max,
            };
            stage_calls::call(&core, call).await.map_err(|failure| failure.error)
        })
    }

    fn dictionary(&self, name: &str) -> Option<Arc<Dictionary>> {
        self.state.dictionary(name)
    }

    fn take(&self, limit: &RateLimit, key: &[u8]) -> Result<(), Duration> {
        self.state.take(limit, key, self.now_micros())
    }

    fn log(&self, line: LogLine<'_>) {
        let LogLine { level, file, line, request_id, text } = line;
        match level {
            LogLevel::Debug => tracing::debug!(file, line, request_id, "script: {text}"),
            LogLevel::Info => tracing::info!(file, line, request_id, "script: {text}"),
            LogLevel::Warn => tracing::warn!(file, line, request_id, "script: {text}"),
            LogLevel::Error => tracing::error!(file, line, request_id, "script: {text}"),
        }
    }

    fn count(&self, metric: &str, by: f64) {
        self.state.count(metric, by);
    }

    fn secret(&self, _: &str) -> Option<Box<str>> {
        // No secrets are configured for scripts.
        None
    }
}

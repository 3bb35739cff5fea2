//! Services of the core for stages: time, credentials, calls to pools.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;

use ringway_middleware::{
    Call, CallFailure, CallResponse, CoreState, Credentials, DecisionResult, Services, Waiting,
};
use ringway_model::{AppId, CredentialSource};
use ringway_telemetry::{FilterAsked, FilterFailure};
use ringway_traffic::snapshot::Snapshot;

use crate::core::Core;
use crate::exchange::{stage_calls, stage_waits};
use crate::runtime::Runtime;

/// Services for the stages of one exchange.
pub(crate) struct CoreServices<'a, R: Runtime> {
    pub(crate) core: &'a Core<R>,
    /// The configuration that the exchange has pinned.
    pub(crate) snapshot: &'a Snapshot,
    /// Name of the request's route.
    pub(crate) route: &'a Arc<str>,
    pub(crate) client: IpAddr,
    /// The last filter that has given no decision.
    pub(crate) undecided: Cell<Option<FilterFailure>>,
}

impl<R: Runtime> Services for CoreServices<'_, R> {
    fn now(&self) -> u64 {
        self.core.runtime.timestamp().0 / 1000
    }

    fn revision(&self) -> u64 {
        self.snapshot.revision.0
    }

    fn core(&self) -> &CoreState {
        &self.core.stages
    }

    fn credentials(&self, source: &CredentialSource) -> Option<&Arc<Credentials>> {
        self.snapshot.credentials(source)
    }

    fn now_micros(&self) -> u64 {
        self.core.runtime.now_micros()
    }

    fn refresh<'s>(&'s self, source: &'s CredentialSource) -> Waiting<'s, Option<Arc<Credentials>>> {
        Box::pin(stage_waits::refresh(self.core, source))
    }

    fn verify_password(&self, hash: Arc<str>, password: Box<[u8]>) -> Waiting<'_, Option<bool>> {
        Box::pin(stage_waits::verify_password(self.core, hash, password))
    }

    fn call<'s>(&'s self, call: Call<'s>) -> Waiting<'s, Result<CallResponse, CallFailure>> {
        Box::pin(stage_calls::call(self.core, call))
    }

    fn note_decision(&self, pool: &AppId, result: DecisionResult, duration_us: u64) {
        if let DecisionResult::FailedOpen(reason) = result {
            self.core.security_events.note_failed_open(self.route, pool, reason, self.client);
        }
        let (decision, failure) = (result.as_str(), result.failure());
        if let Some(reason) = failure {
            self.undecided.set(Some(FilterFailure { result: decision, reason }));
        }
        let pool = self.snapshot.pool_of_app(pool.as_str()).map_or(0, |pool| pool.metric.0);
        let duration_us = (result != DecisionResult::Cached).then_some(duration_us);
        self.core.telemetry.emit(FilterAsked { pool, decision, failure, duration_us });
    }
}

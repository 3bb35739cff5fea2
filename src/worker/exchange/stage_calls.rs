//! Calls of middleware stages: small requests to a pool beside the exchange, such as those to external
//! filters.
//!
//! ```text
//! stage ─► place ─► endpoint ─► task: connect ─► send ─► whole response ─► verdict ─► CallResponse
//!           └ Busy    └ Unavailable   └ a GET once more, where a kept connection ended before its response
//! ```
//! The stage's future has the endpoint's admission and the timeout, and may be dropped at any time. I/O must
//! not be: it is a task's ([`Detached`]), which the future orders to stop, and which then closes the
//! connection or resets its stream.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use ahash::AHashMap;
use ringway_middleware::{Call, CallError, CallFailure, CallKind, CallResponse};
use ringway_model::{InstanceId, Tick};
use ringway_net::sync::oneshot;
use ringway_telemetry::Called;
use ringway_traffic::balance::{Picked, TriedSet, Unavailable};
use ringway_traffic::breaker::Candidate;
use ringway_traffic::in_flight;
use ringway_traffic::pool_breaker::CircuitOpen;
use ringway_traffic::retry;
use ringway_traffic::snapshot::{Pool, PoolId};
use ringway_wire::h1::{HeadFault, ResponseError};
use ringway_wire::message::Method;

use crate::core::{Core, Tables};
use crate::exchange::attempts::begin_at;
use crate::exchange::cause::Cause;
use crate::exchange::failure::Failure;
use crate::exchange::passive_health::Scope;
use crate::exchange::{attempt_warnings, call_message, passive_health};
use crate::limits;
use crate::runtime::Runtime;
use crate::upstream::{
    BodyFault, Detached, Failed, Fault, ReceivedResponse, Reuse, Stop, Transfer, Versions,
};

/// Calls of one core under way.
#[derive(Default)]
pub(crate) struct Calls {
    under_way: Cell<usize>,
    by_pool: RefCell<AHashMap<PoolId, usize>>,
}

impl Calls {
    /// Counts a call, unless the pool has as many as are free for others.
    fn begin(&self, pool: PoolId) -> bool {
        let mut by_pool = self.by_pool.borrow_mut();
        let count = by_pool.get(&pool).copied().unwrap_or(0);
        let is_free = self.under_way.get() + count < limits::CALLS_PER_CORE_MAX;
        if is_free {
            self.under_way.update(|count| count + 1);
            by_pool.insert(pool, count + 1);
        }
        is_free
    }

    fn end(&self, pool: PoolId) {
        self.under_way.update(|count| count - 1);
        let mut by_pool = self.by_pool.borrow_mut();
        match by_pool.get_mut(&pool) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(by_pool.remove(&pool)),
        }
    }

    /// Number of calls under way.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.under_way.get()
    }
}

/// Place of a call, counted until this is dropped.
struct Place<R: Runtime> {
    core: Rc<Core<R>>,
    pool: PoolId,
}

impl<R: Runtime> Place<R> {
    fn take(core: &Core<R>, pool: PoolId) -> Option<Self> {
        core.calls.begin(pool).then(|| Self { core: core.handle(), pool })
    }
}

impl<R: Runtime> Drop for Place<R> {
    fn drop(&mut self) {
        self.core.calls.end(self.pool);
    }
}

/// Result of a call for metrics, counted when this is dropped.
struct Counted<'c, R: Runtime> {
    core: &'c Core<R>,
    pool: u16,
    result: &'static str,
}

impl<R: Runtime> Drop for Counted<'_, R> {
    fn drop(&mut self) {
        self.core.telemetry.emit(Called { pool: self.pool, result: self.result });
    }
}

/// Calls a pool of the newest snapshot: an endpoint that has left it gets nothing more.
///
/// # Errors
/// There is no whole, valid response.
pub(crate) async fn call<R: Runtime>(core: &Core<R>, call: Call<'_>) -> Result<CallResponse, CallFailure> {
    let tables = core.tables();
    let pool = tables.snapshot.pool_of_app(call.pool);
    let metric = pool.map_or(0, |pool| pool.metric.0);
    let mut counted = Counted { core, pool: metric, result: "abandoned" };
    let result = match pool {
        Some(pool) => call_pool(core, &tables, pool, &call).await,
        None => Err(CallError::Unavailable.into()),
    };
    counted.result = result.as_ref().map_or_else(|failure| failure.error.as_str(), |_| "ok");
    result
}

async fn call_pool<R: Runtime>(
    core: &Core<R>,
    tables: &Rc<Tables>,
    pool: &Pool,
    call: &Call<'_>,
) -> Result<CallResponse, CallFailure> {
    let place = Place::take(core, pool.id).ok_or(CallError::Busy)?;
    let pending = Pending::begin(core, pool)?;
    let endpoint = pending.picked.endpoint;
    let request = call_message::encode(call, &endpoint.target.authority()).ok_or(CallError::Invalid)?;
    let (sender, receiver) = oneshot();
    let received = Rc::new(OnceCell::new());
    let task = Task {
        place,
        tables: tables.clone(),
        instance: endpoint.instance.clone(),
        request,
        method: call_message::method_of(call.kind),
        versions: match call.kind {
            CallKind::Http { .. } => Versions::OfPool,
            CallKind::Grpc { .. } => Versions::Http2,
        },
        data_max: call_message::response_bytes_max(call),
        deadline: core.runtime.now().after(call.timeout.saturating_add(TASK_GRACE)),
        stop: pending.stop.clone(),
        received: received.clone(),
    };
    let id = core.id;
    core.runtime.spawn(async move { sender.send(task.run().await) }, move |panic| {
        tracing::error!(core = id.0, %panic, "task of a stage's call panicked; the call failed");
    });
    let ended = core.runtime.timeout(receiver, call.timeout).await;
    let received = received.get();
    let error = match (ended, received) {
        (Some(Ok(Ended::Whole)), Some(response)) => {
            pending.succeed(response.head.status());
            return Ok(call_message::decode(call.kind, response)?);
        }
        (Some(Ok(Ended::TooLarge)), Some(response)) => {
            pending.succeed(response.head.status());
            CallError::TooLarge
        }
        (Some(Ok(Ended::Failed(lost))), _) => pending.fail(lost, received, call.timeout),
        (None, _) => pending.fail(Lost::of(Failure::ResponseTimedOut), received, call.timeout),
        // The task panicked, for which no endpoint is to blame.
        (Some(_), _) => CallError::Broken,
    };
    let partial = received.and_then(|response| call_message::decode_partial(call.kind, response));
    Err(CallFailure { error, partial })
}

/// A call as its stage waits for it: the endpoint, with its admission.
struct Pending<'a, R: Runtime> {
    core: &'a Core<R>,
    pool: &'a Pool,
    picked: Picked<'a>,
    _in_flight: in_flight::Guard<'a>,
    stop: Rc<Stop>,
    is_judged: bool,
}

impl<'a, R: Runtime> Pending<'a, R> {
    /// Picks an endpoint.
    fn begin(core: &'a Core<R>, pool: &'a Pool) -> Result<Self, CallError> {
        let (circuits, now) = (Scope::of_pool(pool).circuits(), core.runtime.now());
        let open = |open: CircuitOpen| CallError::CircuitOpen { retry_after: open.retry_after };
        let passed = circuits.admit(Candidate::Ready, now).map_err(open)?;
        let begun = begin_at(core, pool, || {
            core.cursors.borrow_mut().pick(pool, &TriedSet::default(), Candidate::Ready, now)
        });
        match begun {
            Ok((picked, in_flight)) => Ok(Self {
                core,
                pool,
                picked: Picked { passed, ..picked },
                _in_flight: in_flight,
                stop: Rc::default(),
                is_judged: false,
            }),
            Err(unavailable) => {
                circuits.abandon(passed, now);
                Err(match unavailable {
                    Unavailable::Busy { .. } => CallError::Busy,
                    _ => CallError::Unavailable,
                })
            }
        }
    }

    /// Gives the verdict of a response with this status.
    fn succeed(mut self, status: u16) {
        self.is_judged = true;
        passive_health::on_response_head(self.core, &self.picked, status, Scope::of_pool(self.pool));
        passive_health::on_success(self.core, &self.picked, status, Scope::of_pool(self.pool));
    }

    /// Gives the verdict of a failure, and reports it where the endpoint is to blame.
    #[cold]
    fn fail(mut self, lost: Lost, received: Option<&ReceivedResponse>, timeout: Duration) -> CallError {
        self.is_judged = true;
        let Lost { fault, cause } = lost;
        let (core, pool, failure) = (self.core, self.pool, fault.failure);
        let status = received.map(|response| response.head.status());
        if let Some(status) = status {
            passive_health::on_response_head(core, &self.picked, status, Scope::of_pool(pool));
        }
        passive_health::on_failure(core, &self.picked, &fault, status, Scope::of_pool(pool));
        if let Some(cause) = Cause::of_call(failure, cause, timeout) {
            attempt_warnings::report(core, pool, self.picked.endpoint, &cause, failure.code());
        }
        error_of(failure)
    }
}

impl<R: Runtime> Drop for Pending<'_, R> {
    /// Stops the task. A call that was dropped says nothing about its endpoint.
    fn drop(&mut self) {
        self.stop.give();
        if !self.is_judged {
            passive_health::on_cancelled(self.core, &self.picked, Scope::of_pool(self.pool));
        }
    }
}

/// End of a call's task.
enum Ended {
    Whole,
    /// More content than the call may have.
    TooLarge,
    Failed(Lost),
}

/// A call without a response.
struct Lost {
    fault: Fault,
    cause: Option<Box<Cause>>,
}

impl Lost {
    fn of(failure: Failure) -> Self {
        Self { fault: Fault { failure, is_excused: false }, cause: None }
    }
}

/// A call on its way into its own task.
struct Task<R: Runtime> {
    place: Place<R>,
    /// The snapshot that has the endpoint.
    tables: Rc<Tables>,
    instance: InstanceId,
    request: Vec<u8>,
    method: Method,
    versions: Versions,
    data_max: usize,
    deadline: Tick,
    stop: Rc<Stop>,
    /// The response, from its head on.
    received: Rc<OnceCell<ReceivedResponse>>,
}

impl<R: Runtime> Task<R> {
    async fn run(mut self) -> Ended {
        let transfer = Transfer::default();
        transfer.activity.deadlines.end_at(self.deadline);
        let may_repeat = self.method == Method::Get;
        let request = std::mem::take(&mut self.request);
        let again = may_repeat.then(|| request.clone());
        let ended = self.attempt(&transfer, request, Reuse::Allowed).await;
        match (ended, again) {
            (Err(Tried { is_stale: true, .. }), Some(request)) => {
                transfer.cause.take();
                let again = self.attempt(&transfer, request, Reuse::Never).await;
                again.unwrap_or_else(|tried| tried.ended)
            }
            (Ok(ended), _) | (Err(Tried { ended, .. }), _) => ended,
        }
    }

    /// Makes one attempt.
    async fn attempt(&self, transfer: &Transfer, request: Vec<u8>, reuse: Reuse) -> Result<Ended, Tried> {
        let core = &*self.place.core;
        let pool = self.tables.snapshot.pool(self.place.pool);
        let found = pool.and_then(|pool| Some((pool, pool.endpoint(self.instance.as_str())?)));
        let Some((pool, endpoint)) = found else { return Ok(Ended::Failed(Lost::of(Failure::Exhausted))) };
        if self.stop.is_given() {
            return Ok(Ended::Failed(Lost::of(Failure::ClientClosed)));
        }
        let detached = Detached {
            core,
            pool,
            endpoint,
            policy: &core.settings.policy,
            transfer,
            reuse,
            request,
            method: self.method,
            versions: self.versions,
            stop: &self.stop,
        };
        let response = match detached.run().await {
            Ok(response) => response,
            Err(failed) => return Err(Tried::of(&failed, transfer)),
        };
        Ok(match response.read_whole(core, transfer, &self.stop, self.data_max, &self.received).await {
            Ok(()) => Ended::Whole,
            Err(BodyFault::TooLarge) => Ended::TooLarge,
            Err(BodyFault::Failed(fault)) => Ended::Failed(Lost { fault, cause: transfer.cause.take() }),
        })
    }
}

/// An attempt that failed before its response head.
struct Tried {
    ended: Ended,
    /// A kept connection had ended, as far as is known before the request came; or the endpoint says that it
    /// did nothing with the request.
    is_stale: bool,
}

impl Tried {
    fn of(failed: &Failed, transfer: &Transfer) -> Self {
        use retry::Failed::{PooledEnded, PooledUnsent, Refused};
        let is_stale = matches!(failed.point(), PooledUnsent | PooledEnded | Refused);
        let lost = Lost { fault: failed.fault, cause: transfer.cause.take() };
        Self { ended: Ended::Failed(lost), is_stale }
    }
}

/// A failure in the words of stages.
fn error_of(failure: Failure) -> CallError {
    match failure {
        Failure::ConnectTimedOut
        | Failure::ResponseTimedOut
        | Failure::ResponseStalled
        | Failure::TotalTimedOut => CallError::Timeout,
        Failure::UpstreamClosed
        | Failure::UpstreamRefused
        | Failure::ResponseHeadCut
        | Failure::ResponseCut => CallError::Broken,
        Failure::BadResponse(ResponseError::Head(HeadFault::HeadTooLarge | HeadFault::TooManyFields)) => {
            CallError::TooLarge
        }
        Failure::BadResponse(_)
        | Failure::ResponseBodyMalformed(_)
        | Failure::InterimFlood
        | Failure::UnaskedUpgrade => CallError::Invalid,
        // No connection, or none that the call may have.
        _ => CallError::Connect,
    }
}

/// Time by which the deadline of the I/O is later than the call's own timeout, which ends the call first and
/// to the millisecond. Only a connection that is being made is not stopped at once.
const TASK_GRACE: Duration = Duration::from_millis(100);

#[cfg(test)]
#[path = "stage_calls_tests.rs"]
mod tests;

//! Mirroring: copies of requests for another pool, made by tasks of their own.
//!
//! A copy costs the request the time to write its bytes into memory, and nothing else: its result reaches
//! neither the client nor any breaker, budget, limit or canary.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use ringway_telemetry::{MirrorOutcome, Mirrored};
use ringway_traffic::balance::TriedSet;
use ringway_traffic::breaker::Candidate;
use ringway_traffic::in_flight::Guard;
use ringway_traffic::mirror::Mirror;
use ringway_traffic::pool_breaker::Circuits;
use ringway_traffic::snapshot::{Endpoint, Pool};
use ringway_wire::h1::RequestRewrite;
use ringway_wire::message::Method;

use crate::core::{ConnBuffers, Core};
use crate::exchange::request_body::RequestBody;
use crate::exchange::{Exchange, Target};
use crate::limits;
use crate::runtime::Runtime;
use crate::upstream::{Detached, Reuse, Stop, Transfer, Versions, write_head};

/// Copies of one core.
#[derive(Debug, Default)]
pub(crate) struct Mirrors {
    under_way: Cell<usize>,
    draws: Cell<u64>,
}

impl Mirrors {
    /// The next of numbers that cover all numbers evenly, independently of those that choose variants.
    fn draw(&self) -> u64 {
        self.draws.set(self.draws.get().wrapping_add(SQUARE_ROOT_OF_TWO));
        self.draws.get()
    }
}

/// A copy under way, counted until this is dropped.
struct Counted<R: Runtime>(Rc<Core<R>>);

impl<R: Runtime> Counted<R> {
    fn begin(core: &Core<R>) -> Option<Self> {
        let under_way = &core.mirrors.under_way;
        (under_way.get() < limits::MIRRORS_PER_CORE_MAX).then(|| {
            under_way.update(|count| count + 1);
            Self(core.handle())
        })
    }
}

impl<R: Runtime> Drop for Counted<R> {
    fn drop(&mut self) {
        self.0.mirrors.under_way.update(|count| count - 1);
    }
}

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Copies the request, where the mirror takes it. To be called once its head is final, and before
    /// anything of it is sent.
    pub(super) fn mirror(&self, target: &Target<'a>, mirror: &Arc<Mirror>) {
        let core = self.core;
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        let method = request.method();
        if self.upgrade
            || !mirror.covers(method, request.method_str(client_in))
            || !mirror.takes(core.mirrors.draw())
        {
            return;
        }
        let (route, pool) = (target.matched.rule.metric.0, target.pool.metric.0);
        let report = move |core: &Core<R>, outcome| core.telemetry.emit(Mirrored { route, pool, outcome });
        let Some(body) = self.body.as_ref().filter(|body| body.is_complete() && !body.as_data) else {
            return report(core, MirrorOutcome::Body);
        };
        let Some(counted) = Counted::begin(core) else { return report(core, MirrorOutcome::Limit) };
        let copy = self.copy(body);
        let (mirror, id) = (mirror.clone(), core.id);
        let task = async move {
            let core = &*counted.0;
            report(core, send(core, &mirror, copy, method).await);
        };
        core.runtime.spawn(task, move |panic| {
            tracing::error!(core = id.0, %panic, "task of a mirrored request panicked; the copy is lost");
        });
    }

    /// The bytes of the request as the endpoint gets them, marked as a copy.
    fn copy(&self, body: &RequestBody) -> Vec<u8> {
        let client_in = &self.buffers.client_in;
        let rewrite =
            RequestRewrite { remove: "x-mirrored\n", append: [MIRRORED, b""], ..RequestRewrite::default() };
        let mut copy = Vec::with_capacity(self.buffers.request.len() + limits::ADDED_HEAD_BYTES);
        write_head(&mut copy, self.buffers, self.stages.request_edits(), &rewrite);
        copy.extend_from_slice(&client_in[body.first.clone()]);
        copy
    }
}

/// Sends a copy to an endpoint of the mirror's pool, by the newest snapshot, and drops the response.
async fn send<R: Runtime>(
    core: &Core<R>,
    mirror: &Mirror,
    request: Vec<u8>,
    method: Method,
) -> MirrorOutcome {
    let tables = core.tables();
    let pool = tables.snapshot.pool(mirror.pool);
    let Some((pool, (endpoint, _in_flight))) = pool.and_then(|pool| Some((pool, pick(core, pool)?))) else {
        return MirrorOutcome::Unavailable;
    };
    let transfer = Transfer::default();
    let deadline = core.runtime.now().after(mirror.settings.timeout);
    transfer.activity.deadlines.end_at(deadline);
    let detached = Detached {
        core,
        pool,
        endpoint,
        policy: &core.settings.policy,
        transfer: &transfer,
        reuse: Reuse::Allowed,
        request,
        method,
        versions: Versions::OfPool,
        stop: &Stop::default(),
    };
    match detached.run().await {
        Ok(response) => {
            response.discard(core, deadline, limits::MIRROR_RESPONSE_BYTES_MAX).await;
            MirrorOutcome::Answered
        }
        Err(_) => MirrorOutcome::Failed,
    }
}

/// Picks an endpoint that takes requests without being tried by this one: a copy is no probe, and has no
/// verdict.
pub(super) fn pick<'p, R: Runtime>(core: &Core<R>, pool: &'p Pool) -> Option<(&'p Endpoint, Guard<'p>)> {
    let now = core.runtime.now();
    if !pool.has_available(now) {
        return None;
    }
    let breaker = pool.traffic.as_ref().and_then(|traffic| traffic.breaker.as_deref());
    let circuits = Circuits { route: None, pool: breaker };
    let passed = circuits.admit(Candidate::Streaming, now).ok()?;
    let is_trial = circuits.of(passed).any(|(_, _, admission)| admission.is_probe());
    circuits.abandon(passed, now);
    if is_trial {
        return None;
    }
    let picked =
        core.cursors.borrow_mut().pick(pool, &TriedSet::default(), Candidate::Streaming, now).ok()?;
    picked.endpoint.state.abandon(picked.admission, now);
    if picked.admission.is_probe() {
        return None;
    }
    Some((picked.endpoint, pool.begin(picked.endpoint, core.id.0.into())?))
}

/// Field of each copy.
const MIRRORED: &[u8] = b"X-Mirrored: 1\r\n";

/// Fraction of √2 in parts of 2⁶⁴.
const SQUARE_ROOT_OF_TWO: u64 = 0x6A09_E667_F3BC_C909;

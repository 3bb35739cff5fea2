//! Snapshots and orders of the control thread. Ends with the worker.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_bridge::{MailboxReceiver, SlotReceiver, WakeSource};
use ringway_net::{Listener, Notified, clock};
use ringway_telemetry::SnapshotApplied;
use ringway_traffic::report::{Order, Report};
use ringway_traffic::snapshot::Snapshot;

use crate::core::Core;
use crate::drain::drain;
use crate::exchange::security_events;
use crate::monoio_runtime::MonoioRuntime;
use crate::runtime::Runtime;

/// Applies snapshots, secrets and orders until [`Order::Stop`].
pub(crate) async fn apply(
    core: Rc<Core<MonoioRuntime>>,
    mut sockets: Vec<Rc<Listener>>,
    snapshots: SlotReceiver<Arc<Snapshot>>,
    orders: MailboxReceiver<Order>,
    wake: WakeSource,
) -> std::io::Result<()> {
    start_housekeeping(&core);
    report_applied(&core);
    let mut notified = Notified::new(wake.stream()?)?;
    let mut received = Vec::new();
    loop {
        // Re-armed before the queues are emptied: what is sent from here on wakes again.
        wake.rearm();
        if let Some(cache) = &core.cache {
            cache.handle_wakeups();
        }
        if let Some(forward) = &core.forward {
            forward.handle_updates(clock::now(), &core.settings.policy);
        }
        // Taken before the snapshot, and carried out after it: an order may be about a snapshot that was sent
        // before it.
        received.extend(orders.drain(ringway_model::limits::ORDERS_MAX));
        let snapshot = snapshots.take();
        // Between taking a snapshot and acknowledging it: a new certificate is sent before the snapshot that
        // names it.
        core.secrets.apply_updates(clock::now(), |event| core.telemetry.emit(event));
        if let Some(snapshot) = snapshot {
            apply_snapshot(&core, snapshot).await;
        }
        for order in received.drain(..) {
            match order {
                Order::Drain { deadline } if !core.draining.get() => {
                    // Moved, so that it is closed: a listener that is not accepted from swallows connections.
                    let sockets = std::mem::take(&mut sockets);
                    let stop = move || sockets.iter().for_each(|socket| socket.stop());
                    core.runtime.spawn(drain(core.clone(), stop, deadline), |panic| {
                        tracing::error!(%panic, "drain panicked; connections end at its deadline");
                    });
                }
                Order::Drain { .. } => {}
                Order::HostAbsent { host, why } => {
                    if let Some(hosts) = &core.on_demand_hosts {
                        hosts.handle_absent(&host, why, clock::now());
                    }
                }
                Order::CredentialsSettled { source } => core.stage_waits.handle_settled(&source),
                Order::PasswordVerified { ticket, is_right } => {
                    core.stage_waits.handle_verified(ticket, is_right);
                }
                Order::ReportSamples => {
                    let heads = Arc::new(core.samples.borrow().copy());
                    // Without room for it, the simulation does without this core.
                    let _ = core.reports.send(Report::Samples { core: core.id, heads });
                }
                Order::Stop => {
                    core.telemetry.flush();
                    return Ok(());
                }
            }
        }
        notified.wait().await?;
    }
}

/// Routes by a newer snapshot, and acknowledges it; an older one is acknowledged only: configurations never
/// move backwards.
pub(crate) async fn apply_snapshot<R: Runtime>(core: &Core<R>, snapshot: Arc<Snapshot>) {
    let serial = snapshot.serial;
    if serial > core.tables().snapshot.serial {
        core.set_snapshot(snapshot);
        report_applied(core);
    }
    // An acknowledgement is never dropped: the control thread waits for it.
    while core.reports.send(Report::Applied { core: core.id, serial }).is_err() {
        core.runtime.sleep(REPORT_RETRY).await;
    }
}

fn report_applied<R: Runtime>(core: &Core<R>) {
    let tables = core.tables();
    let (serial, revision) = (tables.snapshot.serial, tables.snapshot.revision);
    core.telemetry.emit(SnapshotApplied { serial, revision });
}

/// Starts the housekeeping, once a second: closes idle upstream connections, flushes the access log, reports
/// security events, and frees unused memory.
pub(crate) fn start_housekeeping<R: Runtime>(core: &Rc<Core<R>>) {
    let own = core.clone();
    core.runtime.spawn(
        async move {
            loop {
                let core = &own;
                core.runtime.sleep(HOUSEKEEPING).await;
                let now = core.runtime.now();
                core.upstreams.borrow_mut().expire(now);
                core.handshakes.expire(now, &core.settings);
                core.tunnels.expire(now);
                core.publish_load();
                core.telemetry.flush_if_older(now);
                security_events::report(core);
                core.free_spare_buffers();
                nudge_allocator();
                sweep_cache(core).await;
            }
        },
        |panic| tracing::error!(%panic, "housekeeping panicked; idle upstream connections are not closed"),
    );
}

/// Frees stored responses that are past all use: some slices a second, on one core for all.
async fn sweep_cache<R: Runtime>(core: &Core<R>) {
    let Some(cache) = core.cache.as_ref().filter(|_| core.id.0 == 0) else { return };
    for _ in 0..SWEEP_STEPS {
        if cache.store.sweep(core.runtime.timestamp(), core.runtime.now()).is_round_done {
            return;
        }
        core.runtime.yield_now().await;
    }
}

/// Allocates a large block and frees it. Allocators that return free memory to the system after a while do so
/// only when they are called: without this, a core that has become quiet would keep the memory of its busiest
/// moment. The block is never touched: it costs two calls and no memory.
fn nudge_allocator() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(NUDGE_BYTES)));
}

/// Large enough to be taken from the memory that the allocator may return.
const NUDGE_BYTES: usize = 1024 * 1024;
const REPORT_RETRY: Duration = Duration::from_millis(1);
/// Steps of the cache's sweeper in a second, of tens of microseconds each: 10,000 responses in five seconds.
const SWEEP_STEPS: usize = 32;
const HOUSEKEEPING: Duration = Duration::from_secs(1);

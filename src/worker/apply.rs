//! What the control thread sends: new snapshots and orders. Ends when the worker is to end.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_bridge::{MailboxReceiver, SlotReceiver, WakeSource};
use ringway_net::{Listener, Notified, clock};
use ringway_telemetry::{Observer, SnapshotApplied};
use ringway_traffic::report::{Order, Report};
use ringway_traffic::snapshot::Snapshot;

use crate::core::Core;
use crate::drain::drain;
use crate::monoio_runtime::MonoioRuntime;
use crate::runtime::Runtime;

/// Applies what comes until the order to stop.
pub(crate) async fn apply(
    core: Rc<Core<MonoioRuntime>>,
    mut listeners: Vec<Rc<Listener>>,
    snapshots: SlotReceiver<Arc<Snapshot>>,
    orders: MailboxReceiver<Order>,
    wake: WakeSource,
) -> std::io::Result<()> {
    start_housekeeping(&core);
    tell_applied(&core);
    let mut notified = Notified::new(wake.stream()?)?;
    loop {
        // Down with the flag before looking: what is sent from here on rings again.
        wake.rearm();
        let snapshot = snapshots.take();
        // Between taking a snapshot and acknowledging it: a new certificate was sent before the snapshot that has its version.
        core.secrets.apply_updates(clock::now(), |event| core.telemetry.material_loaded(event));
        if let Some(snapshot) = snapshot {
            take_over(&core, snapshot).await;
        }
        for order in orders.drain(ringway_model::limits::ORDERS_MAX) {
            match order {
                Order::Drain { deadline } if !core.draining.get() => {
                    // Given away: a listener that nobody accepts from must be closed, or it swallows connections.
                    let listeners = std::mem::take(&mut listeners);
                    let stop = move || listeners.iter().for_each(|listener| listener.stop());
                    core.runtime.spawn(drain(core.clone(), stop, deadline), |panic| {
                        tracing::error!(%panic, "the drain panicked");
                    });
                }
                Order::Drain { .. } => {}
                Order::HostAbsent { host, why } => {
                    if let Some(hosts) = &core.hosts {
                        hosts.handle_absent(&host, why, clock::now());
                    }
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

/// Routes by a newer snapshot; an older one is refused, for configurations never move backwards.
pub(crate) async fn take_over<R: Runtime>(core: &Core<R>, snapshot: Arc<Snapshot>) {
    let serial = snapshot.serial;
    if serial > core.tables().snapshot.serial {
        core.set_snapshot(snapshot);
        tell_applied(core);
    }
    // An acknowledgement is never dropped: someone waits for it.
    while core.reports.send(Report::Applied { core: core.id, serial }).is_err() {
        core.runtime.sleep(REPORT_RETRY).await;
    }
}

fn tell_applied<R: Runtime>(core: &Core<R>) {
    let tables = core.tables();
    let (serial, revision) = (tables.snapshot.serial, tables.snapshot.revision);
    core.telemetry.snapshot_applied(&SnapshotApplied { serial, revision });
}

/// Once a second: closes idle upstream connections, hands over a log block that has waited, and frees unused memory.
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
                core.free_spare_buffers();
                nudge_allocator();
            }
        },
        |panic| tracing::error!(%panic, "housekeeping panicked"),
    );
}

/// Takes a large block and gives it back. An allocator that returns free memory to the system some time after it fell
/// free does so only when it is called: without this, a core that has just become quiet would keep the memory of its
/// busiest moment. The block is never touched, so it costs two calls and no memory.
fn nudge_allocator() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(NUDGE_BYTES)));
}

/// Large enough to be taken from where the allocator keeps what it may return.
const NUDGE_BYTES: usize = 1024 * 1024;
const REPORT_RETRY: Duration = Duration::from_millis(1);
const HOUSEKEEPING: Duration = Duration::from_secs(1);

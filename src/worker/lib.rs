//! One core of the data plane.
//!
//! ```text
//! accept ─► session ─► exchange ─► upstream (pool, connect, attempt, respond) ─► finish
//!              │           └─ tunnel, after an upgrade
//!              └─ silent: wait without a session
//! apply: new snapshots and orders from the control thread        drain: the orderly end
//! ```
//! A worker shares nothing with other workers but immutable snapshots, the endpoints' health, and new connections when it has
//! more than they ([`rebalancer`](rebalancers())); it serves on when
//! the control thread stalls. Above `session`, code is blind to the client's protocol version.
#![forbid(unsafe_code)]

mod accept;
mod apply;
mod core;
mod drain;
mod exchange;
#[doc(hidden)]
pub mod fuzzing;
mod h2;
mod limits;
mod lru_cache;
mod monoio_runtime;
mod runtime;
mod session;
mod settings;
mod transport;
mod upstream;

#[cfg(test)]
#[path = "../../tests/sim/sim.rs"]
mod sim;

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;

use ringway_bridge::{MailboxReceiver, MailboxSender, SlotReceiver, WakeSource};
use ringway_model::CoreId;
use ringway_net::{Driver, DriverChoice, Listener, RuntimeOptions};
use ringway_telemetry::{Observer, Telemetry};
use ringway_tls::ServerTls;
use ringway_traffic::report::{Order, Report};
use ringway_traffic::snapshot::Snapshot;

pub use accept::listener::{HttpMode, ListenerProtocol};
pub use accept::rebalance::{Rebalancer, rebalancers};
pub use accept::secrets::SecretSource;
pub use exchange::public_health::{PublicHealth, PublicHealthError};
pub use exchange::via::{NoPseudonym, Via};
pub use settings::Settings;

/// What a worker is made of.
pub struct Parts {
    /// Its number.
    pub id: CoreId,
    /// The processor that it is pinned to; none when the operator does not want it.
    pub cpu: Option<usize>,
    /// Which driver to use.
    pub driver: DriverChoice,
    /// Its listeners and what they are for: one per address, bound with SO_REUSEPORT beside those of the other workers.
    pub listeners: Vec<(TcpListener, ListenerProtocol)>,
    /// Where clients reach the `https` listeners; none when there are none, and then nobody is redirected there.
    pub https_port: Option<u16>,
    /// What the `https` listeners insist on; without it they refuse everyone.
    pub tls: Option<Arc<ServerTls>>,
    /// Where certificates are asked for; without it there are none. Its answers ring `wake`.
    pub lookup: Option<SecretSource>,
    /// The other workers, with which it shares connections evenly; none when it is the only one.
    pub rebalancer: Option<Rebalancer>,
    /// Whether the control thread may know hosts that no snapshot has yet: requests for them wait until it was asked.
    pub resolves: bool,
    /// The configuration that it begins with.
    pub snapshot: Arc<Snapshot>,
    /// Newer configurations.
    pub snapshots: SlotReceiver<Arc<Snapshot>>,
    /// What the control thread wants of it.
    pub orders: MailboxReceiver<Order>,
    /// Rings when either has something.
    pub wake: WakeSource,
    /// What the control thread is told.
    pub reports: MailboxSender<Report>,
    /// Metrics and access log of this core.
    pub telemetry: Telemetry,
    /// The operator's settings.
    pub settings: Arc<Settings>,
}

/// Runs a worker on this thread until it is told to stop. `started` is called once it accepts, with the driver that it got.
///
/// # Errors
/// No runtime can be built, a listener cannot be taken over, or the wake-up from the control thread is broken.
pub fn run(parts: Parts, started: impl FnOnce(Driver)) -> std::io::Result<()> {
    let options = RuntimeOptions {
        name: format!("worker-{}", parts.id),
        core: parts.cpu,
        driver: parts.driver,
        ..RuntimeOptions::default()
    };
    ringway_net::run(options, |driver| serve(parts, driver, started))?
}

async fn serve(parts: Parts, driver: Driver, started: impl FnOnce(Driver)) -> std::io::Result<()> {
    parts.telemetry.set_driver(driver.as_str());
    let core = Rc::new(core::Core::new(
        parts.id,
        monoio_runtime::MonoioRuntime::new()?,
        parts.settings,
        parts.telemetry,
        parts.reports,
        parts.snapshot,
        core::Doors {
            https_port: parts.https_port,
            tls: parts.tls,
            lookup: parts.lookup,
            resolves: parts.resolves,
            rebalancer: parts.rebalancer,
        },
    ));
    core.prepare();
    // The default certificate was sent before this thread began.
    core.secrets.apply_updates(ringway_net::clock::now(), |event| core.telemetry.material_loaded(event));
    let mut listeners = Vec::new();
    let mut kinds = Vec::new();
    for (listener, kind) in parts.listeners {
        listeners.push(Rc::new(Listener::from_std(listener)?));
        kinds.push(kind);
    }
    for (listener, kind) in listeners.iter().zip(kinds) {
        accept::start(&core, listener.clone(), kind);
    }
    session::idle::start(&core);
    accept::rebalance::start(&core)?;
    started(driver);
    apply::apply(core, listeners, parts.snapshots, parts.orders, parts.wake).await
}

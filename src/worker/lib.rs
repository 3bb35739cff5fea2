//! Worker: one core of the data plane.
//!
//! ```text
//! accept ─► session ─► exchange ─► upstream (pool, connect, attempt, response) ─► finish
//!              │           └─ tunnel, after an upgrade
//!              └─ idle set: no session while nothing comes
//! apply: snapshots and orders from the control thread        drain: graceful shutdown
//! ```
//! Workers share immutable snapshots, the health of endpoints, and new connections ([`rebalancers`]); nothing
//! else. A worker goes on serving while the control thread stalls. Code above `session` does not depend on
//! the client's protocol version.
#![forbid(unsafe_code)]

mod accept;
mod apply;
mod connector;
mod core;
mod drain;
mod exchange;
mod forward;
#[doc(hidden)]
pub mod fuzzing;
mod h2;
mod limits;
mod lru_cache;
mod monoio_runtime;
mod runtime;
#[cfg(feature = "lua")]
mod scripts;
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
use ringway_telemetry::Telemetry;
use ringway_tls::ServerTls;
use ringway_traffic::report::{Order, Report};
use ringway_traffic::snapshot::Snapshot;

pub use accept::listener::{Handler, HttpMode, ListenerConfig, ListenerLimits, ListenerProtocol};
pub use accept::rebalance::{Rebalancer, rebalancers};
pub use accept::secrets::SecretSource;
pub use exchange::cache::state::SharedCache;
pub use exchange::cache::waits::{FillWakers, FillWakeups, fill_wakeups};
pub use exchange::public_health::{PublicHealth, PublicHealthError};
pub use exchange::via::{NoPseudonym, Via};
pub use forward::ForwardSource;
pub use settings::Settings;

/// Parts that a worker is built from.
pub struct Parts {
    /// Core number.
    pub id: CoreId,
    /// Processor to pin the thread to.
    pub cpu: Option<usize>,
    /// I/O driver to use.
    pub driver: DriverChoice,
    /// Listeners, one per address, bound with SO_REUSEPORT beside those of the other workers.
    pub listeners: Vec<(TcpListener, ListenerConfig)>,
    /// Port of the `https` listeners as clients reach it; without it there are no redirects to https.
    pub https_port: Option<u16>,
    /// TLS settings of the `https` listeners; without them every handshake is refused.
    pub tls: Option<Arc<ServerTls>>,
    /// Source of certificates and CAs, whose updates ring `wake`; without it there are none.
    pub secrets: Option<SecretSource>,
    /// Link to the other workers; none for a single worker.
    pub rebalancer: Option<Rebalancer>,
    /// The cache of all workers, with the wake-ups of this one; none without a cache.
    pub cache: Option<(SharedCache, FillWakeups)>,
    /// Link to the forward proxy's threads, whose updates ring `wake`; none without a forward proxy.
    pub forward: Option<ForwardSource>,
    /// Whether requests for hosts without a route wait for the resolver.
    pub resolves_hosts: bool,
    /// First configuration.
    pub snapshot: Arc<Snapshot>,
    /// Newer configurations.
    pub snapshots: SlotReceiver<Arc<Snapshot>>,
    /// Orders of the control thread.
    pub orders: MailboxReceiver<Order>,
    /// Rings for snapshots, orders and secrets.
    pub wake: WakeSource,
    /// Reports to the control thread.
    pub reports: MailboxSender<Report>,
    /// Metrics and access log of this core.
    pub telemetry: Telemetry,
    /// Settings of the operator.
    pub settings: Arc<Settings>,
}

/// Runs a worker on this thread until [`Order::Stop`]. `started` is called with the driver in use once the
/// worker accepts.
///
/// Not generic, which compiles the data path in this crate, for speed, and not in the crate of the caller.
///
/// # Errors
/// The runtime cannot be built, a listener cannot be taken over, or the wake-up from the control thread is
/// broken.
pub fn run(parts: Parts, started: &dyn Fn(Driver)) -> std::io::Result<()> {
    let options = RuntimeOptions {
        name: format!("worker-{}", parts.id),
        core: parts.cpu,
        driver: parts.driver,
        ..RuntimeOptions::default()
    };
    ringway_net::run(options, |driver| serve(parts, driver, started))?
}

async fn serve(parts: Parts, driver: Driver, started: &dyn Fn(Driver)) -> std::io::Result<()> {
    parts.telemetry.set_driver(driver.as_str());
    let (sockets, listeners): (Vec<_>, Vec<_>) = parts.listeners.into_iter().unzip();
    let core_parts = core::CoreParts {
        id: parts.id,
        settings: parts.settings,
        listeners,
        telemetry: parts.telemetry,
        reports: parts.reports,
        snapshot: parts.snapshot,
        https_port: parts.https_port,
        tls: parts.tls,
        secrets: parts.secrets,
        resolves_hosts: parts.resolves_hosts,
        rebalancer: parts.rebalancer,
        cache: parts.cache.map(|(shared, wakeups)| exchange::cache::CacheState::new(shared, wakeups)),
        forward: parts.forward,
    };
    let core = core::Core::new(monoio_runtime::MonoioRuntime::new()?, core_parts);
    core.prefetch_secrets();
    // The default certificate was sent before this thread started.
    core.secrets.apply_updates(ringway_net::clock::now(), |event| core.telemetry.emit(event));
    let sockets = sockets.into_iter().map(|socket| Listener::from_std(socket).map(Rc::new));
    let sockets = sockets.collect::<std::io::Result<Vec<_>>>()?;
    for (socket, listener) in sockets.iter().zip(core.listeners.ids()) {
        accept::start(&core, socket.clone(), listener);
    }
    session::idle::start(&core);
    accept::rebalance::start(&core)?;
    started(driver);
    apply::apply(core, sockets, parts.snapshots, parts.orders, parts.wake).await
}

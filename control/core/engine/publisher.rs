//! Publication of snapshots: the compiler, the metric slots, and the links to the cores.

use std::sync::Arc;

use ringway_bridge::{MailboxSender, SendError, SlotSender};
use ringway_model::{CoreId, Serial, Tick};
use ringway_telemetry::Registry;
use ringway_traffic::compile::{Compiler, Published, SlotChange};
use ringway_traffic::report::Order;
use ringway_traffic::rule_table::Rejected;
use ringway_traffic::scripts::ScriptFinding;
use ringway_traffic::snapshot::Snapshot;

use crate::discovery::dns_refresh::DnsRefresh;
use crate::limits::LIVENESS_INTERVAL;
use crate::trial::Tally;
use crate::trial::history::CoreCounts;

/// Control thread's ends of the channels to one worker.
#[derive(Debug)]
pub struct WorkerLink {
    /// Core of the worker.
    pub core: CoreId,
    /// Newest snapshot for it.
    pub snapshots: SlotSender<Arc<Snapshot>>,
    /// Orders to it.
    pub orders: MailboxSender<Order>,
}

/// Compiler and cores.
pub(crate) struct Publisher {
    compiler: Compiler,
    registry: Registry,
    links: Vec<WorkerLink>,
    /// Core that gets the snapshots on trial, while there are any.
    trial_core: Option<CoreId>,
    /// Time of the last publication.
    published: Tick,
}

impl Publisher {
    pub(crate) fn new(compiler: Compiler, registry: Registry, links: Vec<WorkerLink>, now: Tick) -> Self {
        Self { compiler, registry, links, trial_core: None, published: now }
    }

    pub(crate) fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    pub(crate) fn compiler_mut(&mut self) -> &mut Compiler {
        &mut self.compiler
    }

    /// Newest snapshot.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        self.compiler.snapshot()
    }

    /// Newest snapshot on trial.
    pub(crate) fn snapshot_on_trial(&self) -> Option<&Snapshot> {
        self.compiler.snapshot_on_trial().map(|snapshot| &**snapshot)
    }

    /// Sets the core that gets the snapshots on trial from now on.
    pub(crate) fn set_trial_core(&mut self, core: Option<CoreId>) {
        self.trial_core = core;
    }

    /// Request counters of all cores.
    pub(crate) fn core_counts(&self) -> impl Iterator<Item = CoreCounts> {
        self.registry.cores().map(|reading| CoreCounts {
            core: reading.core,
            tally: Tally { requests: reading.exchanges, errors: reading.errors },
            panics: reading.panics,
        })
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Hands a snapshot to all cores, and that on trial to its core instead, after naming its metric slots.
    /// `dns` takes over the names of its targets.
    pub(crate) fn publish(&mut self, published: Published, dns: &mut DnsRefresh, now: Tick) -> Serial {
        let serial = published.snapshot.serial;
        for change in published.slots {
            apply_slot(&mut self.registry, change);
        }
        for Rejected { rule, error } in &published.rejected {
            tracing::error!(route = %rule.name, %error, "route cannot be compiled; it serves nothing");
        }
        if let Some(ScriptFinding { place, message }) = &published.refused_scripts {
            let (file, line) = place.as_ref().map_or(("", 0), |(file, line)| (&**file, *line));
            tracing::error!(file, line, error = %message, "scripts cannot be compiled; the former ones serve");
        }
        for name in &published.names_removed {
            dns.handle_removed(name);
        }
        for name in &published.names_added {
            dns.handle_added(name, now);
        }
        for link in &mut self.links {
            let on_trial = published.on_trial.as_ref().filter(|_| self.trial_core == Some(link.core));
            // An older snapshot that the core did not take is dropped here and not on the core.
            drop(link.snapshots.publish(Arc::clone(on_trial.unwrap_or(&published.snapshot))));
        }
        self.published = now;
        serial
    }

    /// Whether the cores have had nothing to acknowledge for [`LIVENESS_INTERVAL`].
    pub(crate) fn is_liveness_due(&self, now: Tick) -> bool {
        now >= self.published.after(LIVENESS_INTERVAL)
    }

    /// Sends an order to the cores that `is_meant` selects. Returns those whose mailbox is full; a worker
    /// that has ended needs no order.
    pub(crate) fn send(&self, order: &Order, is_meant: impl Fn(CoreId) -> bool) -> Vec<CoreId> {
        let links = self.links.iter().filter(|link| is_meant(link.core));
        links
            .filter(|link| matches!(link.orders.send(order.clone()), Err(SendError::Full(_))))
            .map(|link| link.core)
            .collect()
    }
}

fn apply_slot(registry: &mut Registry, change: SlotChange) {
    match change {
        SlotChange::NameRoute { slot, route, app } => {
            registry.name_route(slot.0, &route, app.as_ref().map_or("", |app| app.as_str()));
        }
        SlotChange::FreeRoute { slot } => registry.free_route(slot.0),
        SlotChange::NamePool { slot, app } => registry.name_pool(slot.0, app.as_str()),
        SlotChange::FreePool { slot } => registry.free_pool(slot.0),
        SlotChange::NameEndpoint { slot, app, target, .. } => {
            registry.name_endpoint(slot.0, app.as_str(), &target.to_string());
        }
        SlotChange::FreeEndpoint { slot } => registry.free_endpoint(slot.0),
    }
}

//! Rebalancing of new connections: one that was accepted by a busy core migrates to the core with the fewest.
//!
//! ```text
//! accept ─ about as few as the others? ─► served here
//!    └─ mailbox of the least busy core ─► served there; full or closed: served here
//! ```
//! The kernel spreads connections over the listeners of all cores by a hash: of 16 long connections one of
//! four cores gets two and another seven. So a core compares its number of connections with those of the
//! others before it serves a new one. This happens once for a connection, before a byte of it is read, when
//! it has no state yet. A connection that has migrated is served where it is, so that none goes in circles.
//!
//! A drain must not leave a connection between two cores. A core that drains closes its gauge and migrates
//! nothing more; it is done once all other gauges are closed, its mailbox is empty, and the connections from
//! it were served.
//!
//! The same wake-up brings word of permits that another core has granted to requests that wait here
//! ([`load_queues`]).

use std::io;
use std::rc::Rc;

use crate::limits;
use ringway_bridge::{
    Gauge, MailboxReceiver, MailboxSender, SendError, WakeSource, Waker, mailbox, shared_gauges, wake_pair,
};
use ringway_model::CoreId;
use ringway_net::{Accepted, Notified, spawn, yield_now};
use ringway_telemetry::ConnectionHandedOver;

use crate::accept;
use crate::accept::listener::ListenerId;
use crate::core::Core;
use crate::exchange::load_queues;
use crate::monoio_runtime::MonoioRuntime;

/// A worker's link to the other workers: their numbers of connections, and their mailboxes. Made by
/// [`rebalancers`].
#[derive(Debug)]
pub struct Rebalancer {
    gauge: Gauge,
    /// Mailboxes of the other cores, by core number; none at this core's own.
    mailboxes: Vec<Option<MailboxSender<Migration>>>,
    arrivals: MailboxReceiver<Migration>,
    /// Wakers of all cores, by core number; none at this core's own.
    wakers: Vec<Option<Waker>>,
    wake: WakeSource,
}

/// Connection on its way to another core.
#[derive(Debug)]
struct Migration {
    accepted: Accepted,
    listener: ListenerId,
}

/// Creates the connected rebalancers of `workers` workers, by core number; none for a single worker. Two file
/// descriptors each.
///
/// # Errors
/// The system's, when no file descriptor is left.
pub fn rebalancers(workers: usize) -> io::Result<Vec<Option<Rebalancer>>> {
    if workers == 1 {
        return Ok(vec![None]);
    }
    let mut senders = Vec::with_capacity(workers);
    let mut wakers = Vec::with_capacity(workers);
    let mut receivers = Vec::with_capacity(workers);
    for _ in 0..workers {
        let (waker, wake) = wake_pair()?;
        let (sender, arrivals) = mailbox(limits::MIGRATIONS_WAITING_MAX, waker.clone());
        senders.push(sender);
        wakers.push(waker);
        receivers.push((arrivals, wake));
    }
    let rebalancer = |(gauge, (arrivals, wake)): (Gauge, _)| {
        let mailboxes = of_others(&senders, gauge.own());
        let wakers = of_others(&wakers, gauge.own());
        Some(Rebalancer { gauge, mailboxes, arrivals, wakers, wake })
    };
    Ok(shared_gauges(workers).into_iter().zip(receivers).map(rebalancer).collect())
}

/// Copies of what leads to the other cores, by core number.
fn of_others<T: Clone>(all: &[T], own: usize) -> Vec<Option<T>> {
    all.iter().enumerate().map(|(number, one)| (number != own).then(|| one.clone())).collect()
}

/// Starts the task that serves connections from other cores, for as long as the core runs.
///
/// # Errors
/// The system's, when no file descriptor is left.
pub(crate) fn start(core: &Rc<Core<MonoioRuntime>>) -> io::Result<()> {
    let Some(rebalancer) = &core.rebalancer else { return Ok(()) };
    let notified = Notified::new(rebalancer.wake.stream()?)?;
    let id = core.id;
    spawn(receive(core.clone(), notified), move |panic| {
        tracing::error!(core = id.0, %panic, "rebalancer panicked; connections from other cores are not served");
    });
    Ok(())
}

async fn receive(core: Rc<Core<MonoioRuntime>>, mut notified: Notified) {
    let Some(rebalancer) = &core.rebalancer else { return };
    loop {
        // Re-armed before the mailbox is emptied: what is sent from here on wakes again.
        rebalancer.wake.rearm();
        load_queues::handle_wake(&core);
        loop {
            for Migration { accepted, listener } in
                rebalancer.arrivals.drain(ringway_model::limits::ACCEPT_BATCH_MAX as usize)
            {
                if let Err(error) = accept::admit(&core, accepted, listener) {
                    tracing::debug!(core = core.id.0, %error, "accepted connection failed before it was served");
                }
            }
            if rebalancer.arrivals.waiting() == 0 {
                break;
            }
            yield_now().await;
        }
        // Fails when all others have ended.
        if notified.wait().await.is_err() {
            break;
        }
    }
}

/// Migrates a connection to a core with clearly fewer connections; returns it when there is none, or its
/// mailbox is full.
pub(crate) fn migrate(
    core: &Core<MonoioRuntime>,
    accepted: Accepted,
    listener: ListenerId,
) -> Option<Accepted> {
    let Some(rebalancer) = core.rebalancer.as_ref().filter(|_| !core.draining.get()) else {
        return Some(accepted);
    };
    let client_ip = accepted.peer().ip().to_canonical();
    let migration = Migration { accepted, listener };
    match rebalancer.send(migration, core.connections(), core.settings.connections_max) {
        Ok(to) => {
            core.telemetry.emit(ConnectionHandedOver { client_ip, to });
            None
        }
        Err(kept) => Some(kept.accepted),
    }
}

impl Rebalancer {
    /// Wakes another core, which then looks for permits that are granted to its waiting requests.
    pub(crate) fn wake(&self, core: usize) {
        if let Some(Some(waker)) = self.wakers.get(core) {
            waker.wake();
        }
    }

    /// Publishes this core's number of connections. Costs a store when it has changed.
    pub(crate) fn publish(&self, connections: usize) {
        self.gauge.write(connections);
    }

    /// Closes the gauge: from now on this core migrates nothing, and cores that have seen it send nothing
    /// here.
    pub(crate) fn leave(&self) {
        self.gauge.close();
    }

    /// Whether no connection can arrive, and none waits. Those that have arrived are among the core's
    /// connections.
    pub(crate) fn is_done(&self) -> bool {
        // In this order: a migration is sent before its sender closes its gauge.
        self.gauge.is_last() && self.arrivals.waiting() == 0
    }

    fn send(
        &self,
        migration: Migration,
        connections: usize,
        connections_max: usize,
    ) -> Result<CoreId, Migration> {
        let own = self.gauge.own();
        let count = self.gauge.count();
        // Beginning with the next core: several busy cores do not all choose the same one.
        let others = (1..count).map(|step| (own + step) % count).filter_map(|number| {
            let published = self.gauge.read(number)?;
            let waiting = || self.mailboxes[number].as_ref().map_or(0, MailboxSender::waiting);
            // The mailbox is read only where it can decide.
            let is_candidate = is_ahead(connections, published) || connections >= connections_max;
            Some((number, if is_candidate { published + waiting() } else { published }))
        });
        let Some((number, mailbox)) = choose(connections, connections_max, others)
            .and_then(|number| Some((number, self.mailboxes[number].as_ref()?)))
        else {
            return Err(migration);
        };
        match mailbox.send(migration) {
            Ok(()) => Ok(CoreId(number as u16)),
            Err(SendError::Full(kept) | SendError::Closed(kept)) => Err(kept),
        }
    }
}

impl Drop for Rebalancer {
    fn drop(&mut self) {
        self.gauge.close();
        // As long as others can send, the mailbox would keep its connections open and unserved.
        while self.arrivals.try_recv().is_ok() {}
    }
}

/// Chooses the core for a new connection among the others with their numbers of connections; `None` for this
/// core, which has `own`. A full core chooses any that is not full.
fn choose(own: usize, own_max: usize, others: impl Iterator<Item = (usize, usize)>) -> Option<usize> {
    let (number, least) = others.min_by_key(|&(_, connections)| connections)?;
    (is_ahead(own, least) || (own >= own_max && least < own_max)).then_some(number)
}

/// Whether a core is so far ahead of another that the next connection is better served there.
fn is_ahead(own: usize, other: usize) -> bool {
    own > other + other / limits::MIGRATION_SHARE_MARGIN + limits::MIGRATION_CONNECTIONS_MARGIN
}

#[cfg(test)]
#[path = "rebalance_tests.rs"]
mod tests;

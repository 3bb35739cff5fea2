//! The other cores, as far as a new connection is concerned: who has clearly less to do gets it.
//!
//! ```text
//! accept ─ as few as others? ─► served here
//!    └─ the least busy core's mailbox ─► served there; full or gone: served here
//! ```
//! The kernel spreads connections by a hash over the listeners of all cores, as dice would: of 16 long connections one of four
//! cores has two and another seven. So a core looks at how many the others have before it serves one. This happens once
//! for a connection, before a byte of it was read: it has no state yet that could be torn. One that was handed over is served
//! where it is, so that none goes in circles.
//!
//! A drain must not leave a connection between two cores. A core that drains says so and then hands over nothing; it is done
//! once all others have said so, its mailbox is empty, and what came by it was served.

use std::io;
use std::rc::Rc;

use crate::limits;
use ringway_bridge::{
    Gauge, MailboxReceiver, MailboxSender, SendError, WakeSource, mailbox, shared_gauges, wake_pair,
};
use ringway_model::CoreId;
use ringway_net::{Accepted, Notified, spawn, yield_now};
use ringway_telemetry::{ConnectionHandedOver, Observer};

use crate::accept;
use crate::accept::listener::ListenerProtocol;
use crate::core::Core;
use crate::monoio_runtime::MonoioRuntime;

/// What a worker has of the others: how many connections each has, and a way to give it one. Made by [`rebalancer`].
#[derive(Debug)]
pub struct Rebalancer {
    place: Gauge,
    /// By number; none is this core's own.
    doors: Vec<Option<MailboxSender<Migration>>>,
    arrived: MailboxReceiver<Migration>,
    wake: WakeSource,
}

/// A connection on its way to another core.
#[derive(Debug)]
struct Migration {
    accepted: Accepted,
    kind: ListenerProtocol,
}

/// Makes so many workers each other's rebalancers, by their numbers; a single one has none. Two file descriptors for each.
///
/// # Errors
/// The system's, when no file descriptor is left.
pub fn rebalancers(workers: usize) -> io::Result<Vec<Option<Rebalancer>>> {
    if workers == 1 {
        return Ok(vec![None]);
    }
    let mut senders = Vec::with_capacity(workers);
    let mut receivers = Vec::with_capacity(workers);
    for _ in 0..workers {
        let (waker, wake) = wake_pair()?;
        let (sender, arrived) = mailbox(limits::HANDOVERS_WAITING_MAX, waker);
        senders.push(sender);
        receivers.push((arrived, wake));
    }
    let made = shared_gauges(workers).into_iter().zip(receivers).map(|(place, (arrived, wake))| {
        let door =
            |(number, sender): (usize, &MailboxSender<_>)| (number != place.own()).then(|| sender.clone());
        let doors = senders.iter().enumerate().map(door).collect();
        Some(Rebalancer { place, doors, arrived, wake })
    });
    Ok(made.collect())
}

/// Serves what other cores hand over, for as long as the core runs.
///
/// # Errors
/// The system's, when no file descriptor is left.
pub(crate) fn start(core: &Rc<Core<MonoioRuntime>>) -> io::Result<()> {
    let Some(rebalancer) = &core.rebalancer else { return Ok(()) };
    let notified = Notified::new(rebalancer.wake.stream()?)?;
    let id = core.id;
    spawn(receive(core.clone(), notified), move |panic| {
        tracing::error!(core = id.0, %panic, "taking connections from other cores panicked");
    });
    Ok(())
}

async fn receive(core: Rc<Core<MonoioRuntime>>, mut notified: Notified) {
    let Some(rebalancer) = &core.rebalancer else { return };
    loop {
        // Down with the flag before looking: what is sent from here on rings again.
        rebalancer.wake.rearm();
        loop {
            for Migration { accepted, kind } in
                rebalancer.arrived.drain(ringway_model::limits::ACCEPT_BATCH_MAX as usize)
            {
                if let Err(error) = accept::admit(&core, accepted, kind) {
                    tracing::debug!(core = core.id.0, %error, "a connection was lost at its beginning");
                }
            }
            if rebalancer.arrived.waiting() == 0 {
                break;
            }
            yield_now().await;
        }
        // Ends when all others have gone.
        if notified.wait().await.is_err() {
            break;
        }
    }
}

/// Gives a connection to a core that has clearly less to do; it comes back when there is none, or that one cannot take it.
pub(crate) fn hand_over(
    core: &Core<MonoioRuntime>,
    accepted: Accepted,
    kind: ListenerProtocol,
) -> Option<Accepted> {
    let Some(rebalancer) = core.rebalancer.as_ref().filter(|_| !core.draining.get()) else {
        return Some(accepted);
    };
    let client_ip = accepted.peer().ip().to_canonical();
    match rebalancer.give(Migration { accepted, kind }, core.connections(), core.settings.connections_max) {
        Ok(to) => {
            core.telemetry.connection_handed_over(&ConnectionHandedOver { client_ip, to });
            None
        }
        Err(kept) => Some(kept.accepted),
    }
}

impl Rebalancer {
    /// Lets the others know how many connections this core has. Costs a store when the number is another one.
    pub(crate) fn tell(&self, connections: usize) {
        self.place.write(connections);
    }

    /// From now on this core hands over nothing, and is given nothing by whoever has noticed.
    pub(crate) fn leave(&self) {
        self.place.close();
    }

    /// Whether nothing can come any more and nothing is waiting. What has come is among the core's connections.
    pub(crate) fn is_done(&self) -> bool {
        // In this order: whatever was sent was sent before its sender left.
        self.place.is_last() && self.arrived.waiting() == 0
    }

    fn give(
        &self,
        handover: Migration,
        connections: usize,
        connections_max: usize,
    ) -> Result<CoreId, Migration> {
        let own = self.place.own();
        let count = self.place.count();
        // Beginning with the next: several cores with too many do not all turn to the same one.
        let others = (1..count).map(|step| (own + step) % count).filter_map(|number| {
            let told = self.place.read(number)?;
            let waiting = || self.doors[number].as_ref().map_or(0, MailboxSender::waiting);
            // A mailbox is looked at only when it matters.
            let is_candidate = is_ahead(connections, told) || connections >= connections_max;
            Some((number, if is_candidate { told + waiting() } else { told }))
        });
        let Some((number, door)) = choose(connections, connections_max, others)
            .and_then(|number| Some((number, self.doors[number].as_ref()?)))
        else {
            return Err(handover);
        };
        match door.send(handover) {
            Ok(()) => Ok(CoreId(number as u16)),
            Err(SendError::Full(kept) | SendError::Closed(kept)) => Err(kept),
        }
    }
}

impl Drop for Rebalancer {
    fn drop(&mut self) {
        self.place.close();
        // As long as others can send, the mailbox would keep what nobody takes any more, open and unanswered.
        while self.arrived.try_recv().is_ok() {}
    }
}

/// Who gets a new connection, of those with their numbers of connections; nobody when the core with `own` keeps it. A core
/// that is full gives to any that is not.
fn choose(own: usize, own_max: usize, others: impl Iterator<Item = (usize, usize)>) -> Option<usize> {
    let (number, least) = others.min_by_key(|&(_, connections)| connections)?;
    (is_ahead(own, least) || (own >= own_max && least < own_max)).then_some(number)
}

/// Whether a core has so many more connections than another that the next one is better served there.
fn is_ahead(own: usize, other: usize) -> bool {
    own > other + other / limits::HANDOVER_SHARE_MARGIN + limits::HANDOVER_CONNECTIONS_MARGIN
}

#[cfg(test)]
#[path = "rebalance_tests.rs"]
mod tests;

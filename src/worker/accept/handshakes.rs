//! How many handshakes there may be: in all, of one client, and between two turns of the driver.
//!
//! A handshake is the most costly thing that a stranger can ask for with a few bytes. What it costs in memory is bounded
//! by how many are under way, from a client's first byte on; what it costs in time by letting a few take a step at a time,
//! and everything else between them: a flood of handshakes slows down handshakes, not the traffic of those who are in.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::limits;
use ringway_model::Tick;

use self::turns::Turns;
use crate::settings::Settings;

mod turns;

/// The handshakes of one core.
#[derive(Default)]
pub(crate) struct Handshakes {
    in_flight: Cell<usize>,
    clients: RefCell<HashMap<u128, Client, ahash::RandomState>>,
    turns: Rc<Turns>,
}

/// Why one more is refused; the connection is closed without a word, for each would cost as much as it saves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowded {
    /// The core has as many under way as it may have.
    Core,
    /// The client has.
    Client,
    /// The client began too many lately.
    Rate,
    /// Too many wait for their turn to calculate.
    Queue,
}

impl Crowded {
    /// The word in metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Core => "core_full",
            Self::Client => "client_full",
            Self::Rate => "client_rate",
            Self::Queue => "queue_full",
        }
    }
}

/// What one client does. A client without a handshake under way and with nothing against it is forgotten.
#[derive(Default)]
struct Client {
    in_flight: usize,
    /// Thousandths of handshakes that it has begun beyond its rate, as of `since`.
    debt: u64,
    since: Tick,
}

impl Handshakes {
    /// How many are under way.
    pub(crate) fn len(&self) -> usize {
        self.in_flight.get()
    }

    /// How long one that begins now may take.
    pub(crate) fn timeout(&self) -> Duration {
        match self.in_flight.get() < limits::HANDSHAKES_PER_CORE_MAX / 2 {
            true => limits::HANDSHAKE_TIMEOUT,
            false => limits::HANDSHAKE_TIMEOUT_CROWDED,
        }
    }

    /// Lets a client come in, which has not said anything yet. Proxies of ours have no limit of their own.
    pub(crate) fn enter(
        self: &Rc<Self>,
        client: IpAddr,
        now: Tick,
        settings: &Settings,
    ) -> Result<Entered, Crowded> {
        let key = (!settings.trusts(client)).then(|| network(client));
        if let Some(key) = key {
            self.count(key, now, settings)?;
        }
        Ok(Entered { handshakes: self.clone(), key, has_begun: false })
    }

    fn count(&self, key: u128, now: Tick, settings: &Settings) -> Result<(), Crowded> {
        let mut clients = self.clients.borrow_mut();
        if !clients.contains_key(&key) && clients.len() >= limits::HANDSHAKE_CLIENTS_MAX {
            // More networks than there is room for at a time: the bounds of the core hold all the same.
            return Ok(());
        }
        let client = clients.entry(key).or_default();
        let rate = u64::from(settings.handshake_rate_per_client);
        client.pay(now, rate);
        if client.in_flight >= settings.handshakes_per_client_max {
            return Err(Crowded::Client);
        }
        if rate > 0 && client.debt + 1000 > rate * limits::HANDSHAKE_BURST.as_millis() as u64 {
            return Err(Crowded::Rate);
        }
        client.debt += 1000;
        client.in_flight += 1;
        Ok(())
    }

    /// Forgets clients that are quiet. Once a second.
    pub(crate) fn expire(&self, now: Tick, settings: &Settings) {
        let rate = u64::from(settings.handshake_rate_per_client);
        let mut clients = self.clients.borrow_mut();
        clients.retain(|_, client| {
            client.pay(now, rate);
            client.in_flight > 0 || client.debt > 0
        });
        if clients.is_empty() {
            clients.shrink_to_fit();
        }
    }

    /// Takes the steps of a handshake, each in its turn. Whoever was let in for the first is let in for the others.
    pub(crate) async fn pace<F: Future>(&self, handshake: F) -> Result<F::Output, Crowded> {
        self.turns.has_room()?;
        let mut handshake = pin!(handshake);
        let mut ticket = None;
        let step = |cx: &mut Context<'_>| match self.turns.poll_take(&mut ticket, cx) {
            Poll::Ready(()) => handshake.as_mut().poll(cx),
            Poll::Pending => Poll::Pending,
        };
        Ok(poll_fn(step).await)
    }
}

impl Client {
    /// Takes off what has become due since the last look.
    fn pay(&mut self, now: Tick, rate: u64) {
        let milliseconds = now.since(self.since).as_millis() as u64;
        // Without a rate nothing is owed.
        let paid = if rate == 0 { u64::MAX } else { milliseconds.saturating_mul(rate) };
        self.debt = self.debt.saturating_sub(paid);
        self.since = now;
    }
}

/// A client that came in, and its handshake once it has begun; counted while this lives.
pub(crate) struct Entered {
    handshakes: Rc<Handshakes>,
    key: Option<u128>,
    has_begun: bool,
}

impl Entered {
    /// The client has begun to speak.
    pub(crate) fn begin(&mut self) -> Result<(), Crowded> {
        let count = &self.handshakes.in_flight;
        if count.get() >= limits::HANDSHAKES_PER_CORE_MAX {
            return Err(Crowded::Core);
        }
        count.update(|count| count + 1);
        self.has_begun = true;
        Ok(())
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if self.has_begun {
            self.handshakes.in_flight.update(|count| count - 1);
        }
        if let Some(key) = self.key
            && let Some(client) = self.handshakes.clients.borrow_mut().get_mut(&key)
        {
            client.in_flight = client.in_flight.saturating_sub(1);
        }
    }
}

/// Who counts as one client: an address, and of IPv6 the network of a home or a server.
pub(crate) fn network(client: IpAddr) -> u128 {
    match client {
        IpAddr::V4(address) => u128::from(address.to_ipv6_mapped()),
        IpAddr::V6(address) => u128::from(address) >> 64 << 64,
    }
}

#[cfg(test)]
mod tests;

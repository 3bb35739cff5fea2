//! Limits of TLS handshakes: in all, per client, and between two turns of the driver.
//!
//! A handshake is the most expensive operation that an unknown client can trigger with a few bytes. Its
//! memory is bounded by the number of handshakes in progress, from a client's first byte on. Its CPU time is
//! bounded by running a few steps between two turns of the driver: a flood of handshakes slows down
//! handshakes, not the traffic of established connections.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, ready};
use std::time::Duration;

use ringway_model::Tick;
use ringway_net::sync::Semaphore;
use ringway_net::{spawn, yield_now};

use crate::limits;
use crate::settings::Settings;

/// Admission and scheduling of the handshakes of one core.
pub(crate) struct HandshakeScheduler {
    in_flight: Cell<usize>,
    clients: RefCell<HashMap<u128, Client, ahash::RandomState>>,
    steps: Steps,
}

/// Limit that a handshake would exceed. The connection is reset without an alert, which would cost as much as
/// it saves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitExceeded {
    /// Handshakes in progress on this core.
    Core,
    /// Handshakes in progress of this client.
    Client,
    /// Rate of this client.
    Rate,
    /// Handshakes that wait for their first step.
    Queue,
}

impl LimitExceeded {
    /// Label in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Core => "core_full",
            Self::Client => "client_full",
            Self::Rate => "client_rate",
            Self::Queue => "queue_full",
        }
    }
}

/// Counters of one client. Removed once it has no handshake in progress and no debt.
#[derive(Default)]
struct Client {
    in_flight: usize,
    /// Thousandths of handshakes beyond the client's rate, as of `since`.
    debt: u64,
    since: Tick,
}

impl HandshakeScheduler {
    pub(crate) fn new() -> Self {
        Self { in_flight: Cell::new(0), clients: RefCell::default(), steps: Steps::new() }
    }

    /// Number of handshakes in progress.
    pub(crate) fn len(&self) -> usize {
        self.in_flight.get()
    }

    /// Timeout of a handshake that starts now; shorter while the core has half of the handshakes that it may
    /// have.
    pub(crate) fn timeout(&self) -> Duration {
        match self.in_flight.get() < limits::HANDSHAKES_PER_CORE_MAX / 2 {
            true => limits::HANDSHAKE_TIMEOUT,
            false => limits::HANDSHAKE_TIMEOUT_CROWDED,
        }
    }

    /// Admits a client that has sent nothing yet. Trusted proxies have no limits of their own.
    pub(crate) fn admit(
        self: &Rc<Self>,
        client: IpAddr,
        now: Tick,
        settings: &Settings,
    ) -> Result<HandshakePermit, LimitExceeded> {
        let key = (!settings.trusts(client)).then(|| network(client));
        if let Some(key) = key {
            self.count(key, now, settings)?;
        }
        Ok(HandshakePermit { scheduler: self.clone(), key, is_started: false })
    }

    fn count(&self, key: u128, now: Tick, settings: &Settings) -> Result<(), LimitExceeded> {
        let mut clients = self.clients.borrow_mut();
        if !clients.contains_key(&key) && clients.len() >= limits::HANDSHAKE_CLIENTS_MAX {
            // The table is full: only the limits of the core hold for further networks.
            return Ok(());
        }
        let client = clients.entry(key).or_default();
        let rate = u64::from(settings.handshake_rate_per_client);
        client.pay(now, rate);
        if client.in_flight >= settings.handshakes_per_client_max {
            return Err(LimitExceeded::Client);
        }
        if rate > 0 && client.debt + 1000 > rate * limits::HANDSHAKE_BURST.as_millis() as u64 {
            return Err(LimitExceeded::Rate);
        }
        client.debt += 1000;
        client.in_flight += 1;
        Ok(())
    }

    /// Removes quiet clients. Called once a second.
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

    /// Polls a handshake, one step per permit. The queue's limit is checked before the first step only.
    pub(crate) async fn schedule<F: Future>(&self, handshake: F) -> Result<F::Output, LimitExceeded> {
        if self.steps.permits.queued() >= limits::HANDSHAKES_QUEUED_MAX {
            return Err(LimitExceeded::Queue);
        }
        let mut handshake = pin!(handshake);
        let mut permit = self.steps.permits.acquire();
        let step = |cx: &mut Context<'_>| {
            // Never an error: the queue itself has no limit, so that later steps are not refused.
            if let Ok(permit) = ready!(Pin::new(&mut permit).poll(cx)) {
                permit.forget();
            }
            permit = self.steps.permits.acquire();
            self.steps.refill_later();
            handshake.as_mut().poll(cx)
        };
        Ok(poll_fn(step).await)
    }
}

/// Permits for the steps between two turns of the driver.
struct Steps {
    permits: Semaphore,
    is_refilling: Rc<Cell<bool>>,
}

impl Steps {
    fn new() -> Self {
        let permits = Semaphore::new(limits::HANDSHAKE_STEPS_PER_TURN, usize::MAX);
        Self { permits, is_refilling: Rc::default() }
    }

    /// Ensures that a task refills the permits after each turn of the driver, until all are free.
    fn refill_later(&self) {
        if self.is_refilling.replace(true) {
            return;
        }
        let (permits, is_refilling) = (self.permits.clone(), self.is_refilling.clone());
        spawn(
            async move {
                while permits.free() < limits::HANDSHAKE_STEPS_PER_TURN {
                    yield_now().await;
                    permits.add(limits::HANDSHAKE_STEPS_PER_TURN.saturating_sub(permits.free()));
                }
                is_refilling.set(false);
            },
            |panic| tracing::error!(%panic, "handshake scheduler panicked; TLS handshakes stop on this core"),
        );
    }
}

impl Client {
    /// Reduces the debt by what the rate allows since the last call.
    fn pay(&mut self, now: Tick, rate: u64) {
        let milliseconds = now.since(self.since).as_millis() as u64;
        // Without a rate there is no debt.
        let paid = if rate == 0 { u64::MAX } else { milliseconds.saturating_mul(rate) };
        self.debt = self.debt.saturating_sub(paid);
        self.since = now;
    }
}

/// Permit of a client, and of its handshake once that has started; counted while it lives.
pub(crate) struct HandshakePermit {
    scheduler: Rc<HandshakeScheduler>,
    key: Option<u128>,
    is_started: bool,
}

impl HandshakePermit {
    /// Counts the handshake, whose first byte has come.
    pub(crate) fn start(&mut self) -> Result<(), LimitExceeded> {
        let count = &self.scheduler.in_flight;
        if count.get() >= limits::HANDSHAKES_PER_CORE_MAX {
            return Err(LimitExceeded::Core);
        }
        count.update(|count| count + 1);
        self.is_started = true;
        Ok(())
    }
}

impl Drop for HandshakePermit {
    fn drop(&mut self) {
        if self.is_started {
            self.scheduler.in_flight.update(|count| count - 1);
        }
        if let Some(key) = self.key
            && let Some(client) = self.scheduler.clients.borrow_mut().get_mut(&key)
        {
            client.in_flight = client.in_flight.saturating_sub(1);
        }
    }
}

/// Key of a client in per-client limits: its IPv4 address, or its IPv6 /64, the network of a home or a
/// server.
pub(crate) fn network(client: IpAddr) -> u128 {
    match client {
        IpAddr::V4(address) => u128::from(address.to_ipv6_mapped()),
        IpAddr::V6(address) => u128::from(address) >> 64 << 64,
    }
}

#[cfg(test)]
#[path = "handshakes_tests.rs"]
mod tests;

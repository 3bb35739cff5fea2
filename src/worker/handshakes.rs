//! How many handshakes there may be: in all, of one client, and between two turns of the driver.
//!
//! A handshake is the most costly thing that a stranger can ask for with a few bytes. What it costs in memory is bounded
//! by how many are under way; what it costs in time by letting a few do their arithmetic at a time, and everything else
//! between them: a flood of handshakes slows down handshakes, not the traffic of those who are in.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Poll, Waker};

use ringway_model::{Tick, limits};
use ringway_net::{spawn, yield_now};

use crate::settings::Settings;

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

    /// Lets a client begin. `guard` says whose handshakes these are: proxies of ours have no limit of their own.
    pub(crate) fn enter(
        self: &Rc<Self>,
        client: IpAddr,
        now: Tick,
        settings: &Settings,
    ) -> Result<Entered, Crowded> {
        if self.in_flight.get() >= limits::HANDSHAKES_PER_CORE_MAX {
            return Err(Crowded::Core);
        }
        let key = (!settings.trusts(client)).then(|| network(client));
        if let Some(key) = key {
            self.count(key, now, settings)?;
        }
        self.in_flight.update(|count| count + 1);
        Ok(Entered { handshakes: self.clone(), key })
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

    /// Waits for the turn to calculate.
    pub(crate) async fn turn(&self) -> Result<(), Crowded> {
        self.turns.take().await
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

/// A handshake under way, counted while this lives.
pub(crate) struct Entered {
    handshakes: Rc<Handshakes>,
    key: Option<u128>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.handshakes.in_flight.update(|count| count - 1);
        if let Some(key) = self.key
            && let Some(client) = self.handshakes.clients.borrow_mut().get_mut(&key)
        {
            client.in_flight = client.in_flight.saturating_sub(1);
        }
    }
}

/// Who counts as one client: an address, and of IPv6 the network of a home or a server.
fn network(client: IpAddr) -> u128 {
    match client {
        IpAddr::V4(address) => u128::from(address.to_ipv6_mapped()),
        IpAddr::V6(address) => u128::from(address) >> 64 << 64,
    }
}

/// A few at a time, in the order in which they came.
#[derive(Default)]
struct Turns {
    /// Since the driver's last turn.
    taken: Cell<usize>,
    queue: RefCell<VecDeque<Rc<Ticket>>>,
    is_running: Cell<bool>,
}

#[derive(Default)]
struct Ticket {
    is_called: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Turns {
    async fn take(self: &Rc<Self>) -> Result<(), Crowded> {
        if self.taken.get() < limits::HANDSHAKES_PER_TURN && self.queue.borrow().is_empty() {
            self.taken.update(|taken| taken + 1);
            self.run();
            return Ok(());
        }
        if self.queue.borrow().len() >= limits::HANDSHAKES_QUEUED_MAX {
            return Err(Crowded::Queue);
        }
        let ticket = Rc::new(Ticket::default());
        self.queue.borrow_mut().push_back(ticket.clone());
        self.run();
        poll_fn(|cx| {
            if ticket.is_called.get() {
                return Poll::Ready(());
            }
            ticket.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        Ok(())
    }

    /// Sees to it that those who wait are called, and that the count begins anew.
    fn run(self: &Rc<Self>) {
        if self.is_running.replace(true) {
            return;
        }
        let turns = self.clone();
        spawn(
            async move {
                while turns.taken.get() > 0 || !turns.queue.borrow().is_empty() {
                    yield_now().await;
                    turns.call();
                }
                turns.is_running.set(false);
            },
            |panic| tracing::error!(%panic, "handshakes are not called any more"),
        );
    }

    fn call(&self) {
        self.taken.set(0);
        let mut queue = self.queue.borrow_mut();
        while self.taken.get() < limits::HANDSHAKES_PER_TURN
            && let Some(ticket) = queue.pop_front()
        {
            self.taken.update(|taken| taken + 1);
            ticket.is_called.set(true);
            if let Some(waker) = ticket.waker.take() {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    fn settings(handshakes_per_client_max: usize, handshake_rate_per_client: u32) -> Settings {
        let trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
        Settings {
            handshakes_per_client_max,
            handshake_rate_per_client,
            trusted_proxies,
            ..Settings::default()
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_has_so_many_under_way_and_others_theirs() {
        let handshakes = Rc::new(Handshakes::default());
        let settings = settings(2, 0);
        let enter = |client| handshakes.enter(address(client), Tick(0), &settings);
        let first = enter("203.0.113.1").unwrap();
        let _second = enter("203.0.113.1").unwrap();
        assert_eq!(enter("203.0.113.1").err(), Some(Crowded::Client));
        let _other = enter("203.0.113.2").unwrap();
        drop(first);
        let _third = enter("203.0.113.1").unwrap();
        assert_eq!(enter("203.0.113.1").err(), Some(Crowded::Client));
        assert_eq!(handshakes.len(), 3);
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let handshakes = Rc::new(Handshakes::default());
        let settings = settings(1, 0);
        let enter = |client| handshakes.enter(address(client), Tick(0), &settings);
        let _first = enter("2001:db8:0:1::1").unwrap();
        assert_eq!(enter("2001:db8:0:1:ffff::2").err(), Some(Crowded::Client));
        let _other = enter("2001:db8:0:2::1").unwrap();
    }

    #[test]
    fn a_burst_is_paid_off_at_the_rate() {
        let handshakes = Rc::new(Handshakes::default());
        let settings = settings(usize::MAX, 10);
        let burst = 10 * limits::HANDSHAKE_BURST.as_secs();
        let enter = |at| handshakes.enter(address("203.0.113.1"), Tick(at), &settings).map(drop);
        for _ in 0..burst {
            assert_eq!(enter(1000), Ok(()));
        }
        assert_eq!(enter(1000), Err(Crowded::Rate));
        assert_eq!(enter(1099), Err(Crowded::Rate), "one is worth 100 ms");
        assert_eq!(enter(1100), Ok(()));
        assert_eq!(enter(1100), Err(Crowded::Rate));
    }

    #[test]
    fn proxies_of_ours_are_many_clients() {
        let handshakes = Rc::new(Handshakes::default());
        let settings = settings(1, 1);
        let all: Vec<_> =
            (0..100).map(|_| handshakes.enter(address("10.1.2.3"), Tick(0), &settings).unwrap()).collect();
        assert_eq!(handshakes.len(), all.len());
    }

    #[test]
    fn the_core_has_so_many_under_way() {
        let handshakes = Rc::new(Handshakes::default());
        let settings = settings(usize::MAX, 0);
        let enter =
            |n: usize| handshakes.enter(IpAddr::from([198, 51, (n >> 8) as u8, n as u8]), Tick(0), &settings);
        let mut all: Vec<_> = (0..limits::HANDSHAKES_PER_CORE_MAX).map(|n| enter(n).unwrap()).collect();
        assert_eq!(enter(0).err(), Some(Crowded::Core));
        all.pop();
        assert!(enter(0).is_ok());
    }

    #[test]
    fn quiet_clients_are_forgotten() {
        let handshakes = Rc::new(Handshakes::default());
        let settings = settings(8, 10);
        let busy = handshakes.enter(address("203.0.113.1"), Tick(0), &settings).unwrap();
        drop(handshakes.enter(address("203.0.113.2"), Tick(0), &settings).unwrap());
        let later = Tick(0).after(Duration::from_secs(1));
        handshakes.expire(later, &settings);
        assert_eq!(handshakes.clients.borrow().len(), 1);
        drop(busy);
        handshakes.expire(later, &settings);
        assert!(handshakes.clients.borrow().is_empty());
    }

    #[test]
    fn a_few_calculate_between_two_turns_of_the_driver() {
        let order = Rc::new(RefCell::new(Vec::new()));
        let seen = order.clone();
        let main = async move {
            let handshakes = Rc::new(Handshakes::default());
            let count = 3 * limits::HANDSHAKES_PER_TURN;
            for n in 0..count {
                let (handshakes, order) = (handshakes.clone(), order.clone());
                let task = async move {
                    handshakes.turn().await.unwrap();
                    order.borrow_mut().push(n);
                };
                spawn(task, |panic| panic!("{panic:?}"));
            }
            let mut counts = Vec::new();
            while order.borrow().len() < count {
                yield_now().await;
                counts.push(order.borrow().len());
            }
            assert_eq!(*order.borrow(), (0..count).collect::<Vec<_>>(), "in their order");
            counts
        };
        let counts = ringway_net::run(ringway_net::RuntimeOptions::default(), |_| main).unwrap();
        let mut before = 0;
        for count in counts {
            assert!(count - before <= 2 * limits::HANDSHAKES_PER_TURN, "{count} after {before}");
            before = count;
        }
        assert_eq!(seen.borrow().len(), before);
    }
}

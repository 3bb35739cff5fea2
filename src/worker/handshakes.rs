//! How many handshakes there may be: in all, of one client, and between two turns of the driver.
//!
//! A handshake is the most costly thing that a stranger can ask for with a few bytes. What it costs in memory is bounded
//! by how many are under way, from a client's first byte on; what it costs in time by letting a few take a step at a time,
//! and everything else between them: a flood of handshakes slows down handshakes, not the traffic of those who are in.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

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
    fn has_room(&self) -> Result<(), Crowded> {
        match self.queue.borrow().len() < limits::HANDSHAKES_QUEUED_MAX {
            true => Ok(()),
            false => Err(Crowded::Queue),
        }
    }

    /// Ready when it is this one's turn; the next turn is to be asked for anew. `ticket` is kept by whoever asks.
    fn poll_take(self: &Rc<Self>, ticket: &mut Option<Rc<Ticket>>, cx: &mut Context<'_>) -> Poll<()> {
        match ticket {
            Some(waiting) if waiting.is_called.get() => {
                *ticket = None;
                Poll::Ready(())
            }
            Some(waiting) => {
                waiting.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
            None if self.taken.get() < limits::HANDSHAKE_STEPS_PER_TURN && self.queue.borrow().is_empty() => {
                self.taken.update(|taken| taken + 1);
                self.run();
                Poll::Ready(())
            }
            None => {
                let waiting = Rc::new(Ticket::default());
                waiting.waker.set(Some(cx.waker().clone()));
                self.queue.borrow_mut().push_back(waiting.clone());
                *ticket = Some(waiting);
                self.run();
                Poll::Pending
            }
        }
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
        while self.taken.get() < limits::HANDSHAKE_STEPS_PER_TURN
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
        assert_eq!(handshakes.len(), 0, "nobody has said anything yet");
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
        let enter = || handshakes.enter(address("10.1.2.3"), Tick(0), &settings);
        let all: Vec<_> = (0..100).map(|_| enter().unwrap()).collect();
        drop(all);
    }

    #[test]
    fn the_core_has_so_many_under_way_and_grows_impatient_before() {
        let handshakes = Rc::new(Handshakes::default());
        let settings = settings(usize::MAX, 0);
        let begin = || {
            let mut entered = handshakes.enter(address("203.0.113.1"), Tick(0), &settings)?;
            entered.begin().map(|()| entered)
        };
        let mut all: Vec<_> =
            (0..limits::HANDSHAKES_PER_CORE_MAX / 2 - 1).map(|_| begin().unwrap()).collect();
        assert_eq!(handshakes.timeout(), limits::HANDSHAKE_TIMEOUT);
        all.push(begin().unwrap());
        assert_eq!(handshakes.timeout(), limits::HANDSHAKE_TIMEOUT_CROWDED);
        while handshakes.len() < limits::HANDSHAKES_PER_CORE_MAX {
            all.push(begin().unwrap());
        }
        assert_eq!(begin().err(), Some(Crowded::Core));
        all.pop();
        assert!(begin().is_ok());
        drop(all);
        assert_eq!(handshakes.len(), 0);
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
    fn a_few_steps_are_taken_between_two_turns_of_the_driver() {
        const COUNT: usize = 5 * limits::HANDSHAKE_STEPS_PER_TURN;
        let main = async {
            let handshakes = Rc::new(Handshakes::default());
            let steps = Rc::new(RefCell::new(Vec::new()));
            for n in 0..COUNT {
                let (handshakes, steps) = (handshakes.clone(), steps.clone());
                let task = async move {
                    let mut left = 2;
                    // Two steps, and awake at once after the first, as a client that answers at once.
                    let two_steps = poll_fn(|cx| {
                        steps.borrow_mut().push(n);
                        left -= 1;
                        if left == 0 {
                            return Poll::Ready(());
                        }
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    });
                    handshakes.pace(two_steps).await.unwrap();
                };
                spawn(task, |panic| panic!("{panic:?}"));
            }
            let (mut before, mut turns) = (0, 0);
            while before < 2 * COUNT {
                yield_now().await;
                let now = steps.borrow().len();
                // This task and the one that calls take turns in either order, so that two calls may lie between two looks.
                assert!(now - before <= 2 * limits::HANDSHAKE_STEPS_PER_TURN, "{now} after {before}");
                (before, turns) = (now, turns + 1);
            }
            assert!(turns >= COUNT / limits::HANDSHAKE_STEPS_PER_TURN, "{turns}");
            let mut firsts = Vec::new();
            for step in steps.borrow().iter() {
                if !firsts.contains(step) {
                    firsts.push(*step);
                }
            }
            assert_eq!(firsts, (0..COUNT).collect::<Vec<_>>(), "first come, first served");
        };
        ringway_net::run(ringway_net::RuntimeOptions::default(), |_| main).unwrap();
    }

    #[test]
    fn those_who_wait_for_their_first_step_are_bounded() {
        let main = async {
            let handshakes = Rc::new(Handshakes::default());
            let refused = Rc::new(Cell::new(0));
            let done = Rc::new(Cell::new(0));
            let count = limits::HANDSHAKE_STEPS_PER_TURN + limits::HANDSHAKES_QUEUED_MAX + 3;
            for _ in 0..count {
                let (handshakes, refused, done) = (handshakes.clone(), refused.clone(), done.clone());
                let task = async move {
                    match handshakes.pace(std::future::ready(())).await {
                        Ok(()) => done.update(|count| count + 1),
                        Err(crowded) => {
                            assert_eq!(crowded, Crowded::Queue);
                            refused.update(|count| count + 1);
                        }
                    }
                };
                spawn(task, |panic| panic!("{panic:?}"));
            }
            while done.get() + refused.get() < count {
                yield_now().await;
            }
            (done.get(), refused.get())
        };
        let (done, refused) = ringway_net::run(ringway_net::RuntimeOptions::default(), |_| main).unwrap();
        assert_eq!(refused, 3);
        assert_eq!(done, limits::HANDSHAKE_STEPS_PER_TURN + limits::HANDSHAKES_QUEUED_MAX);
    }
}

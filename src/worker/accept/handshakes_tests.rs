#![allow(clippy::unwrap_used)]
use std::task::Poll;

use ringway_net::{spawn, yield_now};

use super::*;

fn settings(handshakes_per_client_max: usize, handshake_rate_per_client: u32) -> Settings {
    let trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    Settings { handshakes_per_client_max, handshake_rate_per_client, trusted_proxies, ..Settings::default() }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn limits_the_handshakes_of_each_client() {
    let handshakes = Rc::new(HandshakeScheduler::new());
    let settings = settings(2, 0);
    let admit = |client| handshakes.admit(address(client), Tick(0), &settings);
    let first = admit("203.0.113.1").unwrap();
    let _second = admit("203.0.113.1").unwrap();
    assert_eq!(admit("203.0.113.1").err(), Some(LimitExceeded::Client));
    let _other = admit("203.0.113.2").unwrap();
    drop(first);
    let _third = admit("203.0.113.1").unwrap();
    assert_eq!(admit("203.0.113.1").err(), Some(LimitExceeded::Client));
    assert_eq!(handshakes.len(), 0, "no handshake has started");
}

#[test]
fn an_ipv6_network_is_one_client() {
    let handshakes = Rc::new(HandshakeScheduler::new());
    let settings = settings(1, 0);
    let admit = |client| handshakes.admit(address(client), Tick(0), &settings);
    let _first = admit("2001:db8:0:1::1").unwrap();
    assert_eq!(admit("2001:db8:0:1:ffff::2").err(), Some(LimitExceeded::Client));
    let _other = admit("2001:db8:0:2::1").unwrap();
}

#[test]
fn a_burst_is_paid_off_at_the_rate() {
    let handshakes = Rc::new(HandshakeScheduler::new());
    let settings = settings(usize::MAX, 10);
    let burst = 10 * crate::limits::HANDSHAKE_BURST.as_secs();
    let admit = |at| handshakes.admit(address("203.0.113.1"), Tick(at), &settings).map(drop);
    for _ in 0..burst {
        assert_eq!(admit(1000), Ok(()));
    }
    assert_eq!(admit(1000), Err(LimitExceeded::Rate));
    assert_eq!(admit(1099), Err(LimitExceeded::Rate), "one is worth 100 ms");
    assert_eq!(admit(1100), Ok(()));
    assert_eq!(admit(1100), Err(LimitExceeded::Rate));
}

#[test]
fn trusted_proxies_have_no_limit() {
    let handshakes = Rc::new(HandshakeScheduler::new());
    let settings = settings(1, 1);
    let admit = || handshakes.admit(address("10.1.2.3"), Tick(0), &settings);
    let all: Vec<_> = (0..100).map(|_| admit().unwrap()).collect();
    drop(all);
}

#[test]
fn limits_the_handshakes_of_the_core_and_shortens_their_timeout_before() {
    let handshakes = Rc::new(HandshakeScheduler::new());
    let settings = settings(usize::MAX, 0);
    let start = || {
        let mut permit = handshakes.admit(address("203.0.113.1"), Tick(0), &settings)?;
        permit.start().map(|()| permit)
    };
    let mut all: Vec<_> =
        (0..crate::limits::HANDSHAKES_PER_CORE_MAX / 2 - 1).map(|_| start().unwrap()).collect();
    assert_eq!(handshakes.timeout(), crate::limits::HANDSHAKE_TIMEOUT);
    all.push(start().unwrap());
    assert_eq!(handshakes.timeout(), crate::limits::HANDSHAKE_TIMEOUT_CROWDED);
    while handshakes.len() < crate::limits::HANDSHAKES_PER_CORE_MAX {
        all.push(start().unwrap());
    }
    assert_eq!(start().err(), Some(LimitExceeded::Core));
    all.pop();
    assert!(start().is_ok());
    drop(all);
    assert_eq!(handshakes.len(), 0);
}

#[test]
fn quiet_clients_are_removed() {
    let handshakes = Rc::new(HandshakeScheduler::new());
    let settings = settings(8, 10);
    let busy = handshakes.admit(address("203.0.113.1"), Tick(0), &settings).unwrap();
    drop(handshakes.admit(address("203.0.113.2"), Tick(0), &settings).unwrap());
    let later = Tick(0).after(Duration::from_secs(1));
    handshakes.expire(later, &settings);
    assert_eq!(handshakes.clients.borrow().len(), 1);
    drop(busy);
    handshakes.expire(later, &settings);
    assert!(handshakes.clients.borrow().is_empty());
}

#[test]
fn a_few_steps_run_between_two_turns_of_the_driver() {
    const COUNT: usize = 5 * crate::limits::HANDSHAKE_STEPS_PER_TURN;
    let main = async {
        let handshakes = Rc::new(HandshakeScheduler::new());
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
                handshakes.schedule(two_steps).await.unwrap();
            };
            spawn(task, |panic| panic!("{panic:?}"));
        }
        let (mut before, mut turns) = (0, 0);
        while before < 2 * COUNT {
            yield_now().await;
            let now = steps.borrow().len();
            // This task and the one that calls take turns in either order, so that two calls may lie between
            // two looks.
            assert!(now - before <= 2 * crate::limits::HANDSHAKE_STEPS_PER_TURN, "{now} after {before}");
            (before, turns) = (now, turns + 1);
        }
        assert!(turns >= COUNT / crate::limits::HANDSHAKE_STEPS_PER_TURN, "{turns}");
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
fn limits_the_handshakes_that_wait_for_their_first_step() {
    let main = async {
        let handshakes = Rc::new(HandshakeScheduler::new());
        let refused = Rc::new(Cell::new(0));
        let done = Rc::new(Cell::new(0));
        let count = crate::limits::HANDSHAKE_STEPS_PER_TURN + crate::limits::HANDSHAKES_QUEUED_MAX + 3;
        for _ in 0..count {
            let (handshakes, refused, done) = (handshakes.clone(), refused.clone(), done.clone());
            let task = async move {
                match handshakes.schedule(std::future::ready(())).await {
                    Ok(()) => done.update(|count| count + 1),
                    Err(exceeded) => {
                        assert_eq!(exceeded, LimitExceeded::Queue);
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
    assert_eq!(done, crate::limits::HANDSHAKE_STEPS_PER_TURN + crate::limits::HANDSHAKES_QUEUED_MAX);
}

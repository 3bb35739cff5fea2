#![allow(clippy::unwrap_used)]

use super::*;
use std::io::Read;
use std::net::TcpStream as StdStream;
use std::sync::Arc;
use std::time::Duration;

use ringway_bridge::{MailboxReceiver, TryRecvError, blocking_mailbox, slot};
use ringway_net::{DriverChoice, Listener, RuntimeOptions, bind_reuseport, clock, run, sleep};
use ringway_telemetry::{Registry, Telemetry};
use ringway_traffic::compile::{Compiler, CompilerSettings};
use ringway_traffic::report::{Order, Report};

use crate::accept::listener::HttpMode;
use crate::core::Doors;
use crate::drain::drain;
use crate::settings::Settings;

const KIND: ListenerProtocol = ListenerProtocol::Http(HttpMode::Plain);
const PATIENCE: Duration = Duration::from_secs(20);
const MANY: usize = 1_000;

/// Who gets the next connection of a core with `own`, when the others have so many.
fn chosen(own: usize, own_max: usize, others: &[usize]) -> Option<usize> {
    choose(own, own_max, others.iter().copied().enumerate())
}

#[test]
fn a_core_that_is_clearly_ahead_gives_to_the_least_busy_one() {
    for (own, others, to) in [
        (0, &[0, 0][..], None),
        // One ahead is no reason, two are.
        (1, &[0, 5], None),
        (2, &[5, 0], Some(1)),
        (8, &[7, 9], None),
        (9, &[7, 9], Some(0)),
        // From eight on an eighth of the other's more.
        (10, &[8, 20], None),
        (11, &[8, 20], Some(0)),
        (901, &[800, 1_000], None),
        (902, &[800, 1_000], Some(0)),
        // The first of several.
        (9, &[3, 2, 2], Some(1)),
        (9, &[], None),
    ] {
        assert_eq!(chosen(own, MANY, others), to, "{own} beside {others:?}");
    }
}

#[test]
fn a_full_core_gives_to_any_that_is_not() {
    assert_eq!(chosen(9, 10, &[9, 9]), None, "there is room here");
    assert_eq!(chosen(10, 10, &[10, 9]), Some(1));
    assert_eq!(chosen(10, 10, &[10, 10]), None, "there is room nowhere");
    // The limit may be lowered below what a core has.
    assert_eq!(chosen(12, 10, &[11, 11]), None);
}

/// So many connections, one by one to whoever comes, never leave a core by more ahead than the margin and the one that it was
/// still given.
#[test]
fn wherever_connections_arrive_the_cores_stay_within_the_margin() {
    const CORES: usize = 5;
    let mut seed = 7_u64;
    for round in 0..200 {
        let mut cores = [0_usize; CORES];
        for _ in 0..round * 3 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            // Mostly the same one, as a hash may.
            let to = if round % 2 == 0 { 0 } else { (seed >> 33) as usize % CORES };
            let others = (0..CORES).filter(|&other| other != to).map(|other| (other, cores[other]));
            cores[choose(cores[to], MANY, others).unwrap_or(to)] += 1;
            let (least, most) = (cores.iter().min().unwrap(), cores.iter().max().unwrap());
            assert!(!is_ahead(*most - 1, *least) || *most == 0, "{cores:?}");
        }
        assert_eq!(cores.iter().sum::<usize>(), round * 3);
    }
}

#[test]
fn a_single_worker_has_no_neighbours() {
    let made = rebalancers(1).unwrap();
    assert_eq!(made.len(), 1);
    assert!(made[0].is_none());
    assert!(rebalancers(3).unwrap().iter().all(Option::is_some));
}

/// Runs inside of a runtime with as many rebalancer.
fn among<F: Future<Output = ()>>(workers: usize, scenario: impl FnOnce(Vec<Rebalancer>, Source) -> F) {
    let made = rebalancers(workers).unwrap().into_iter().map(Option::unwrap).collect();
    run(RuntimeOptions::default(), |_| scenario(made, Source::new())).unwrap();
}

/// Where connections come from.
struct Source(Listener);

impl Source {
    fn new() -> Self {
        let listener = bind_reuseport("127.0.0.1:0".parse().unwrap(), 1024).unwrap();
        Self(Listener::from_std(listener).unwrap())
    }

    /// A new connection, and its client.
    async fn next(&self) -> (Migration, StdStream) {
        let client = StdStream::connect(self.0.local_addr()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        (Migration { accepted: self.0.take().await.unwrap(), kind: KIND }, client)
    }
}

#[test]
fn connections_on_their_way_count_where_they_go() {
    among(3, |cores, source| async move {
        cores[0].tell(10);
        cores[2].tell(4);
        let (mut clients, mut to) = (Vec::new(), Vec::new());
        loop {
            let (handover, client) = source.next().await;
            clients.push(client);
            match cores[0].give(handover, 10, MANY) {
                Ok(core) => to.push(core.0),
                Err(_) => break,
            }
        }
        // Neither of them has taken one: four to the one that had none, then in turns until both are as good as even.
        assert_eq!(to, [1, 1, 1, 1, 1, 2, 1, 2, 1, 2, 1, 2]);
        assert_eq!((cores[1].arrived.waiting(), cores[2].arrived.waiting()), (8, 4));
    });
}

#[test]
fn a_full_mailbox_leaves_the_connection_where_it_is() {
    among(2, |cores, source| async move {
        let mut clients = Vec::new();
        for _ in 0..crate::limits::HANDOVERS_WAITING_MAX {
            let (handover, client) = source.next().await;
            cores[0].give(handover, MANY, usize::MAX).unwrap();
            clients.push(client);
        }
        let (handover, mut client) = source.next().await;
        let kept = cores[0].give(handover, MANY, usize::MAX).unwrap_err();
        assert_eq!(kept.accepted.peer(), client.local_addr().unwrap());
        drop(kept);
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "there is no other handle of it");
        // Once one was taken there is room again.
        drop(cores[1].arrived.try_recv().unwrap());
        let (handover, _client) = source.next().await;
        assert_eq!(cores[0].give(handover, MANY, usize::MAX).unwrap(), CoreId(1));
    });
}

#[test]
fn whoever_drains_or_has_gone_is_given_nothing() {
    among(3, |mut cores, source| async move {
        cores[1].leave();
        cores[1].tell(0);
        cores[2].tell(9);
        let (handover, _client) = source.next().await;
        assert_eq!(cores[0].give(handover, MANY, usize::MAX).unwrap(), CoreId(2), "the busier one is left");
        drop(cores.remove(2));
        let (handover, _client) = source.next().await;
        assert!(cores[0].give(handover, MANY, usize::MAX).is_err());
    });
}

#[test]
fn a_core_is_done_when_all_have_left_and_its_mailbox_is_empty() {
    among(2, |cores, source| async move {
        let (handover, _client) = source.next().await;
        cores[0].give(handover, MANY, usize::MAX).unwrap();
        assert!(!cores[1].is_done());
        cores[0].leave();
        assert!(!cores[1].is_done(), "one is waiting");
        drop(cores[1].arrived.try_recv().unwrap());
        assert!(cores[1].is_done());
        assert!(!cores[0].is_done(), "the other may still send");
    });
}

#[test]
fn what_waits_for_a_core_that_ends_is_closed() {
    among(2, |mut cores, source| async move {
        let (handover, mut client) = source.next().await;
        cores[0].give(handover, MANY, usize::MAX).unwrap();
        drop(cores.pop());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        let (handover, _client) = source.next().await;
        assert!(cores[0].give(handover, MANY, usize::MAX).is_err());
    });
}

/// A core with the given rebalancer and no route.
fn core_of(id: u16, rebalancer: Rebalancer) -> (Rc<Core<MonoioRuntime>>, MailboxReceiver<Report>, Registry) {
    let mut registry = Registry::new();
    let telemetry = Telemetry::new(registry.add_core(CoreId(id)), None, None);
    let (reports, reported) = blocking_mailbox(ringway_model::limits::REPORTS_MAX);
    let doors =
        Doors { https_port: None, tls: None, lookup: None, resolves: false, rebalancer: Some(rebalancer) };
    let core = Core::new(
        CoreId(id),
        MonoioRuntime::new().unwrap(),
        Arc::new(Settings::default()),
        telemetry,
        reports,
        Compiler::new(CompilerSettings { cores: 4, ..CompilerSettings::default() }).snapshot().clone(),
        doors,
    );
    (Rc::new(core), reported, registry)
}

/// The worst moment: a core is given a connection, and begins to drain, before it has looked at it.
#[test]
fn a_connection_that_was_on_its_way_when_the_drain_began_is_served() {
    among(2, |mut made, source| async move {
        let (taker, reported, registry) = core_of(1, made.pop().unwrap());
        start(&taker).unwrap();
        let giver = made.pop().unwrap();
        let (handover, mut client) = source.next().await;
        giver.give(handover, MANY, usize::MAX).unwrap();
        spawn(drain(taker.clone(), || (), clock::now().after(PATIENCE)), |_| {});
        std::io::Write::write_all(&mut client, b"GET / HTTP/1.1\r\nHost: none.test\r\n\r\n").unwrap();
        client.set_nonblocking(true).unwrap();
        let (mut answer, mut is_over) = (Vec::new(), false);
        while !is_over {
            yield_now().await;
            let mut piece = [0; 4096];
            match client.read(&mut piece) {
                Ok(0) => is_over = true,
                Ok(count) => answer.extend_from_slice(&piece[..count]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert!(answer.starts_with(b"HTTP/1.1 404 "), "{:?}", String::from_utf8_lossy(&answer));
        drop(client);
        while taker.connections() > 0 {
            yield_now().await;
        }
        let reading = registry.cores().next().unwrap();
        assert_eq!((reading.connections_accepted, reading.connections_open), (1, 0), "counted once");
        // The other may hand over another one, as far as this core knows.
        for _ in 0..3 {
            sleep(Duration::from_millis(25)).await;
            assert_eq!(reported.try_recv().err(), Some(TryRecvError::Empty));
        }
        giver.leave();
        loop {
            match reported.try_recv() {
                Ok(report) => break assert!(matches!(report, Report::Drained { core: CoreId(1) })),
                Err(_) => yield_now().await,
            }
        }
    });
}

/// A whole worker, however it ends: the others must not go on giving it connections.
#[test]
fn a_worker_that_ends_or_panics_is_given_nothing_any_more() {
    for panics in [false, true] {
        let mut made = rebalancers(2).unwrap();
        let (waker, wake) = wake_pair().unwrap();
        let (_, snapshots) = slot(waker.clone());
        let (orders, orders_of_worker) = mailbox(1, waker);
        let (reports, _reported) = blocking_mailbox(ringway_model::limits::REPORTS_MAX);
        let parts = crate::Parts {
            id: CoreId(1),
            cpu: None,
            driver: DriverChoice::Auto,
            listeners: Vec::new(),
            https_port: None,
            tls: None,
            lookup: None,
            rebalancer: made.pop().unwrap(),
            resolves: false,
            snapshot: Compiler::new(CompilerSettings { cores: 4, ..CompilerSettings::default() })
                .snapshot()
                .clone(),
            snapshots,
            orders: orders_of_worker,
            wake,
            reports,
            telemetry: Telemetry::new(Registry::new().add_core(CoreId(1)), None, None),
            settings: Arc::default(),
        };
        orders.send(Order::Stop).unwrap();
        let worker = std::thread::spawn(move || crate::run(parts, move |_| assert!(!panics)).unwrap());
        assert_eq!(worker.join().is_err(), panics);
        let other = made.pop().unwrap().unwrap();
        assert_eq!(other.place.read(1), None);
        assert!(other.is_done());
    }
}

#[test]
fn a_core_that_drains_hands_over_nothing() {
    among(2, |mut made, source| async move {
        let (other, _reports, _registry) = core_of(1, made.pop().unwrap());
        let (core, _reports_too, _registry_too) = core_of(0, made.pop().unwrap());
        for _ in 0..5 {
            let (handover, _client) = source.next().await;
            accept::admit(&core, handover.accepted, KIND).unwrap();
        }
        let (handover, _client) = source.next().await;
        assert!(hand_over(&core, handover.accepted, KIND).is_none(), "five beside none");
        core.draining.set(true);
        let (handover, _client) = source.next().await;
        assert!(hand_over(&core, handover.accepted, KIND).is_some());
        assert_eq!(other.rebalancer.as_ref().unwrap().arrived.waiting(), 1);
    });
}

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

use crate::accept::listener::{HttpMode, ListenerConfig, Listeners};
use crate::core::CoreParts;
use crate::drain::drain;
use crate::settings::Settings;

const TIMEOUT: Duration = Duration::from_secs(20);
const MANY: usize = 1_000;

/// The only listener of a core.
fn listener() -> ListenerId {
    let listeners = Listeners::new(vec![ListenerConfig::http(HttpMode::Plain)], &Settings::default());
    listeners.ids().next().unwrap()
}

/// Core of the next connection of one with `own`, when the others have these numbers.
fn chosen(own: usize, own_max: usize, others: &[usize]) -> Option<usize> {
    choose(own, own_max, others.iter().copied().enumerate())
}

#[test]
fn a_core_that_is_clearly_ahead_migrates_to_the_least_busy() {
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
fn a_full_core_migrates_to_any_that_is_not_full() {
    assert_eq!(chosen(9, 10, &[9, 9]), None, "there is room here");
    assert_eq!(chosen(10, 10, &[10, 9]), Some(1));
    assert_eq!(chosen(10, 10, &[10, 10]), None, "there is room nowhere");
    // The limit may be lowered below what a core has.
    assert_eq!(chosen(12, 10, &[11, 11]), None);
}

/// Connections that arrive one by one never leave a core further ahead than the margin and one connection.
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
fn a_single_worker_has_no_rebalancer() {
    let made = rebalancers(1).unwrap();
    assert_eq!(made.len(), 1);
    assert!(made[0].is_none());
    assert!(rebalancers(3).unwrap().iter().all(Option::is_some));
}

/// Runs a scenario with connected rebalancers inside of a runtime.
fn among<F: Future<Output = ()>>(workers: usize, scenario: impl FnOnce(Vec<Rebalancer>, Source) -> F) {
    let made = rebalancers(workers).unwrap().into_iter().map(Option::unwrap).collect();
    run(RuntimeOptions::default(), |_| scenario(made, Source::new())).unwrap();
}

/// Listener that new connections come from.
struct Source(Listener);

impl Source {
    fn new() -> Self {
        let listener = bind_reuseport("127.0.0.1:0".parse().unwrap(), 1024).unwrap();
        Self(Listener::from_std(listener).unwrap())
    }

    /// Returns a new connection and its client.
    async fn next(&self) -> (Migration, StdStream) {
        let client = StdStream::connect(self.0.local_addr()).unwrap();
        client.set_read_timeout(Some(TIMEOUT)).unwrap();
        (Migration { accepted: self.0.take().await.unwrap(), listener: listener() }, client)
    }
}

#[test]
fn migrations_count_at_their_destination() {
    among(3, |cores, source| async move {
        cores[0].publish(10);
        cores[2].publish(4);
        let (mut clients, mut to) = (Vec::new(), Vec::new());
        loop {
            let (migration, client) = source.next().await;
            clients.push(client);
            match cores[0].send(migration, 10, MANY) {
                Ok(core) => to.push(core.0),
                Err(_) => break,
            }
        }
        // Neither has served one: four go to the core that had none, then they alternate until all are about
        // even.
        assert_eq!(to, [1, 1, 1, 1, 1, 2, 1, 2, 1, 2, 1, 2]);
        assert_eq!((cores[1].arrivals.waiting(), cores[2].arrivals.waiting()), (8, 4));
    });
}

#[test]
fn a_full_mailbox_leaves_the_connection_on_its_core() {
    among(2, |cores, source| async move {
        let mut clients = Vec::new();
        for _ in 0..crate::limits::MIGRATIONS_WAITING_MAX {
            let (migration, client) = source.next().await;
            cores[0].send(migration, MANY, usize::MAX).unwrap();
            clients.push(client);
        }
        let (migration, mut client) = source.next().await;
        let kept = cores[0].send(migration, MANY, usize::MAX).unwrap_err();
        assert_eq!(kept.accepted.peer(), client.local_addr().unwrap());
        drop(kept);
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "there is no other handle of it");
        // Once one was taken there is room again.
        drop(cores[1].arrivals.try_recv().unwrap());
        let (migration, _client) = source.next().await;
        assert_eq!(cores[0].send(migration, MANY, usize::MAX).unwrap(), CoreId(1));
    });
}

#[test]
fn a_core_that_drains_or_has_ended_gets_no_connection() {
    among(3, |mut cores, source| async move {
        cores[1].leave();
        cores[1].publish(0);
        cores[2].publish(9);
        let (migration, _client) = source.next().await;
        assert_eq!(cores[0].send(migration, MANY, usize::MAX).unwrap(), CoreId(2), "the busier one is left");
        drop(cores.remove(2));
        let (migration, _client) = source.next().await;
        assert!(cores[0].send(migration, MANY, usize::MAX).is_err());
    });
}

#[test]
fn a_core_is_done_when_all_have_left_and_its_mailbox_is_empty() {
    among(2, |cores, source| async move {
        let (migration, _client) = source.next().await;
        cores[0].send(migration, MANY, usize::MAX).unwrap();
        assert!(!cores[1].is_done());
        cores[0].leave();
        assert!(!cores[1].is_done(), "one is waiting");
        drop(cores[1].arrivals.try_recv().unwrap());
        assert!(cores[1].is_done());
        assert!(!cores[0].is_done(), "the other may still send");
    });
}

#[test]
fn migrations_to_a_core_that_ends_are_closed() {
    among(2, |mut cores, source| async move {
        let (migration, mut client) = source.next().await;
        cores[0].send(migration, MANY, usize::MAX).unwrap();
        drop(cores.pop());
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        let (migration, _client) = source.next().await;
        assert!(cores[0].send(migration, MANY, usize::MAX).is_err());
    });
}

/// Core without a route.
fn core_of(id: u16, rebalancer: Rebalancer) -> (Rc<Core<MonoioRuntime>>, MailboxReceiver<Report>, Registry) {
    let mut registry = Registry::new();
    let telemetry = Telemetry::new(registry.add_core(CoreId(id)), None, None);
    let (reports, reported) = blocking_mailbox(ringway_model::limits::REPORTS_MAX);
    let parts = CoreParts {
        id: CoreId(id),
        settings: Arc::new(Settings::default()),
        listeners: vec![ListenerConfig::http(HttpMode::Plain)],
        telemetry,
        reports,
        snapshot: Compiler::new(CompilerSettings { cores: 4, ..CompilerSettings::default() })
            .snapshot()
            .clone(),
        https_port: None,
        tls: None,
        secrets: None,
        resolves_hosts: false,
        rebalancer: Some(rebalancer),
        cache: None,
        forward: None,
    };
    let core = Core::new(MonoioRuntime::new().unwrap(), parts);
    (core, reported, registry)
}

/// The worst moment: a core begins to drain after a connection was sent to it, and before it has received it.
#[test]
fn a_migration_in_flight_when_the_drain_begins_is_served() {
    among(2, |mut made, source| async move {
        let (taker, reported, registry) = core_of(1, made.pop().unwrap());
        start(&taker).unwrap();
        let giver = made.pop().unwrap();
        let (migration, mut client) = source.next().await;
        giver.send(migration, MANY, usize::MAX).unwrap();
        spawn(drain(taker.clone(), || (), clock::now().after(TIMEOUT)), |_| {});
        std::io::Write::write_all(&mut client, b"GET / HTTP/1.1\r\nHost: none.test\r\n\r\n").unwrap();
        client.set_nonblocking(true).unwrap();
        let (mut response, mut is_over) = (Vec::new(), false);
        while !is_over {
            yield_now().await;
            let mut chunk = [0; 4096];
            match client.read(&mut chunk) {
                Ok(0) => is_over = true,
                Ok(count) => response.extend_from_slice(&chunk[..count]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert!(response.starts_with(b"HTTP/1.1 404 "), "{:?}", String::from_utf8_lossy(&response));
        drop(client);
        while taker.connections() > 0 {
            yield_now().await;
        }
        let reading = registry.cores().next().unwrap();
        assert_eq!((reading.connections_accepted, reading.connections_open), (1, 0), "counted once");
        // The other core has not drained: it may send another connection.
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

/// A whole worker that ends or panics must get no more connections.
#[test]
fn a_worker_that_has_ended_gets_no_connection() {
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
            secrets: None,
            rebalancer: made.pop().unwrap(),
            cache: None,
            forward: None,
            resolves_hosts: false,
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
        let worker = std::thread::spawn(move || crate::run(parts, &move |_| assert!(!panics)).unwrap());
        assert_eq!(worker.join().is_err(), panics);
        let other = made.pop().unwrap().unwrap();
        assert_eq!(other.gauge.read(1), None);
        assert!(other.is_done());
    }
}

#[test]
fn a_core_that_drains_migrates_nothing() {
    among(2, |mut made, source| async move {
        let (other, _reports, _registry) = core_of(1, made.pop().unwrap());
        let (core, _reports_too, _registry_too) = core_of(0, made.pop().unwrap());
        for _ in 0..5 {
            let (migration, _client) = source.next().await;
            accept::admit(&core, migration.accepted, listener()).unwrap();
        }
        let (migration, _client) = source.next().await;
        assert!(migrate(&core, migration.accepted, listener()).is_none(), "five against none");
        core.draining.set(true);
        let (migration, _client) = source.next().await;
        assert!(migrate(&core, migration.accepted, listener()).is_some());
        assert_eq!(other.rebalancer.as_ref().unwrap().arrivals.waiting(), 1);
    });
}

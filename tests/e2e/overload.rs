//! Overload protection of routes: the limit of concurrent requests over all workers, its queue, and the
//! adaptive limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringway::model::{
    AdaptiveLimit, AppId, Balancer, Change, EndpointSpec, FailurePolicy, HealthCheck, HostPattern,
    InstanceId, OnAllUnhealthy, OperatorSet, Overload, Owner, PathMatch, PoolRef, PoolSpec, Replacement,
    RouteId, RouteSpec, Target, TrafficSpec,
};
use ringway::{DriverChoice, Gateway, Handle, Submission};

use crate::kit::*;

fn gateway(driver: Driver, workers: usize) -> Handle {
    let driver = match driver {
        Driver::IoUring => DriverChoice::IoUring,
        Driver::Epoll => DriverChoice::Epoll,
    };
    let http = vec!["127.0.0.1:0".parse().unwrap()];
    Gateway::builder().http(http).driver(driver).workers(workers).pin(false).spawn().unwrap()
}

fn limit(max_concurrent: u32, queue_size: u32) -> Overload {
    let queue_timeout = Duration::from_secs(60);
    Overload { max_concurrent, queue_size, queue_timeout, adaptive: None, dry_run: false }
}

/// Routes the path `/limited` with this protection and all others without to the origin.
fn configure(gateway: &Handle, origin: &Origin, overload: Overload) {
    let pool = AppId::parse("pool").unwrap();
    let target = Target::parse(&origin.target()).unwrap();
    let id = InstanceId::of_endpoint(&pool, &target);
    let pools = vec![PoolSpec {
        traffic: Default::default(),
        endpoints: vec![EndpointSpec { id, target, weight: 1, health_check: HealthCheck::default() }],
        id: pool.clone(),
        balancer: Balancer::RoundRobin,
        upstream_tls: None,
        failures: FailurePolicy::default(),
        on_all_unhealthy: OnAllUnhealthy::default(),
        policy: None,
    }];
    let route = |id: &str, path: &str| {
        let host = HostPattern::parse("a.test").unwrap();
        let mut route = RouteSpec::new(RouteId::parse(id).unwrap(), host, PoolRef::Pool(pool.clone()));
        route.matcher.path = PathMatch::Prefix(path.into());
        route
    };
    let mut limited = route("limited", "/limited");
    limited.traffic =
        Some(Arc::new(TrafficSpec { canary: None, cohorts: None, overload: Some(overload), mirror: None }));
    let routes = vec![Arc::new(limited), Arc::new(RouteSpec { order: 1, ..route("free", "/") })];
    let set = Arc::new(OperatorSet { pools, routes, ..OperatorSet::default() });
    let replacement = Replacement { owner: Owner::File, set, expect: None, version: None };
    gateway.client().submit(Submission::of(Change::ReplaceOwned(Arc::new(replacement)))).unwrap();
}

/// An origin whose responses below `/limited` wait for the gate.
fn gated() -> (Origin, Gate) {
    let gate = Gate::new();
    let own = gate.clone();
    let origin = Origin::http(move |request, connection| {
        if request.target().starts_with("/limited") {
            own.pass();
        }
        connection.reply(200, request.target().as_bytes());
        After::Keep
    });
    (origin, gate)
}

fn client(gateway: &Handle) -> Client {
    Client::connect(gateway.http_addresses()[0])
}

fn send(client: &mut Client, target: &str) {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
}

/// Sends a request on a connection that its worker knows, and returns once the only worker has handled it.
fn send_to_the_only_worker(gateway: &Handle, target: &str) -> Client {
    let (mut waiting, mut other) = (client(gateway), client(gateway));
    for client in [&mut waiting, &mut other] {
        assert_eq!(client.get("a.test", "/").status(), 200);
    }
    send(&mut waiting, target);
    // Its bytes come later, and its response later still.
    for _ in 0..2 {
        assert_eq!(other.get("a.test", "/").status(), 200);
    }
    waiting
}

/// Targets below `/limited` of the origin's requests, in their order.
fn limited(origin: &Origin) -> Vec<String> {
    let targets = origin.requests().into_iter().map(|request| request.target().to_owned());
    targets.filter(|target| target.starts_with("/limited")).collect()
}

fn await_limited(origin: &Origin, count: usize) {
    eventually("requests at the origin", || (limited(origin).len() == count).then_some(()));
}

on_both_drivers! {
    fn the_limit_holds_over_all_workers(driver) {
        const MAX: usize = 3;
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (now.clone(), most.clone());
        let origin = Origin::http(move |_, connection| {
            let (now, most) = &counts;
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            // Before the response: the next request may arrive with its last byte.
            now.fetch_sub(1, Ordering::SeqCst);
            connection.reply(200, b"ok");
            After::Keep
        });
        let gateway = gateway(driver, 4);
        configure(&gateway, &origin, limit(MAX as u32, 1_000));
        std::thread::scope(|scope| {
            for _ in 0..24 {
                scope.spawn(|| {
                    let mut client = client(&gateway);
                    for _ in 0..25 {
                        assert_eq!(client.get("a.test", "/limited").status(), 200);
                    }
                });
            }
        });
        assert_eq!(origin.request_count(), 24 * 25);
        let most = most.load(Ordering::SeqCst);
        assert!((1..=MAX).contains(&most), "{most} at a time");
    }

    fn waiting_requests_are_served_in_their_order(driver) {
        let (origin, gate) = gated();
        let gateway = gateway(driver, 1);
        configure(&gateway, &origin, limit(1, 10));
        let mut clients: Vec<Client> =
            (0..6).map(|number| send_to_the_only_worker(&gateway, &format!("/limited/{number}"))).collect();
        await_limited(&origin, 1);
        for client in &mut clients {
            gate.open();
            assert_eq!(client.response("GET").status(), 200);
        }
        assert_eq!(limited(&origin), (0..6).map(|number| format!("/limited/{number}")).collect::<Vec<_>>());
    }

    fn a_full_queue_refuses_and_says_why(driver) {
        let (origin, gate) = gated();
        let gateway = gateway(driver, 2);
        configure(&gateway, &origin, limit(1, 0));
        let mut first = client(&gateway);
        send(&mut first, "/limited");
        await_limited(&origin, 1);
        let mut second = client(&gateway);
        let refused = second.get("a.test", "/limited");
        assert_eq!((refused.status(), refused.field("retry-after")), (503, Some("1")));
        let error = &refused.json()["error"];
        assert_eq!((&error["code"], &error["policy"]), (&"queue_full".into(), &"limited".into()));
        assert_eq!(error["limit"], "1 concurrent requests, queue of 0");
        // Its connection goes on, and other routes know nothing of it.
        assert_eq!(second.get("a.test", "/").status(), 200);
        gate.open();
        assert_eq!(first.response("GET").status(), 200);
        gate.open();
        // The place is given back once the response has been sent, by another core.
        eventually("the place is free", || (second.get("a.test", "/limited").status() == 200).then_some(()));
    }

    fn a_wait_ends_at_its_timeout(driver) {
        let (origin, gate) = gated();
        let gateway = gateway(driver, 2);
        configure(&gateway, &origin, Overload { queue_timeout: Duration::from_millis(50), ..limit(1, 5) });
        let mut first = client(&gateway);
        send(&mut first, "/limited/first");
        await_limited(&origin, 1);
        let mut second = client(&gateway);
        // Its body is not read, so that the connection ends.
        second.send("POST /limited/late HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\nab");
        let late = second.response("POST");
        assert_eq!((late.status(), late.json()["error"]["code"].as_str()), (503, Some("queue_timeout")));
        gate.open();
        assert_eq!(first.response("GET").status(), 200);
        gate.open();
        assert_eq!(client(&gateway).get("a.test", "/limited/next").status(), 200);
        assert_eq!(limited(&origin), ["/limited/first", "/limited/next"]);
    }

    fn a_client_that_leaves_frees_its_place(driver) {
        let (origin, gate) = gated();
        let gateway = gateway(driver, 1);
        configure(&gateway, &origin, limit(1, 2));
        let mut first = send_to_the_only_worker(&gateway, "/limited/first");
        drop(send_to_the_only_worker(&gateway, "/limited/gone"));
        let mut third = send_to_the_only_worker(&gateway, "/limited/third");
        // Both places are taken, until the worker looks for the client.
        let mut fourth = eventually("a free place", || {
            let mut client = send_to_the_only_worker(&gateway, "/limited/fourth");
            client.within(Duration::from_millis(10)).patiently("GET").is_err().then_some(client)
        });
        fourth.within(SOON);
        for client in [&mut first, &mut third, &mut fourth] {
            gate.open();
            assert_eq!(client.response("GET").status(), 200);
        }
        assert_eq!(limited(&origin), ["/limited/first", "/limited/third", "/limited/fourth"]);
    }

    fn a_raised_limit_serves_those_who_wait(driver) {
        let (origin, gate) = gated();
        let gateway = gateway(driver, 1);
        configure(&gateway, &origin, limit(1, 5));
        let mut clients: Vec<Client> =
            (0..3).map(|number| send_to_the_only_worker(&gateway, &format!("/limited/{number}"))).collect();
        await_limited(&origin, 1);
        configure(&gateway, &origin, limit(3, 5));
        await_limited(&origin, 3);
        // Lowered again: no permit is free before two have come back.
        configure(&gateway, &origin, limit(1, 0));
        assert_eq!(client(&gateway).get("a.test", "/limited").status(), 503);
        (0..3).for_each(|_| gate.open());
        clients.iter_mut().for_each(|client| assert_eq!(client.response("GET").status(), 200));
    }

    fn upgraded_connections_and_streams_of_events_give_their_permit_back(driver) {
        let origin = Origin::script(|connection| {
            while let Ok(request) = connection.request() {
                match request.target() {
                    "/health" => connection.reply(200, b""),
                    "/limited/events" => {
                        connection.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
                        connection.until_closed();
                        return;
                    }
                    "/limited/socket" => {
                        let key = request.field("sec-websocket-key").unwrap_or_default();
                        connection.send(ws::accepted_for(key));
                        while connection.echo_frame() {}
                        return;
                    }
                    _ => connection.reply(200, b"ok"),
                }
            }
        });
        let gateway = gateway(driver, 2);
        configure(&gateway, &origin, limit(1, 0));
        let mut socket = client(&gateway);
        socket.send(ws::upgrade("a.test", "/limited/socket"));
        assert_eq!(socket.response_head("GET").status(), 101);
        let mut events = client(&gateway);
        send(&mut events, "/limited/events");
        assert_eq!(events.response_head("GET").status(), 200);
        assert_eq!(client(&gateway).get("a.test", "/limited").status(), 200);
    }

    fn an_adaptive_limit_falls_for_a_slow_origin_and_recovers(driver) {
        const TARGET: Duration = Duration::from_millis(50);
        let gate = Gate::new();
        let own = gate.clone();
        let origin = Origin::http(move |request, connection| {
            match request.target() {
                "/limited/slow" => pace(TARGET + Duration::from_millis(10)),
                "/limited/held" => assert!(own.pass()),
                _ => {}
            }
            connection.reply(200, b"ok");
            After::Keep
        });
        let gateway = gateway(driver, 2);
        let adaptive = Some(AdaptiveLimit { target: Some(TARGET), min: 1 });
        configure(&gateway, &origin, Overload { adaptive, ..limit(20, 0) });
        let mut first = client(&gateway);
        // 20, 16, 12, 9, 7, 5, 4, 3, 2, 1.
        (0..9).for_each(|_| assert_eq!(first.get("a.test", "/limited/slow").status(), 200));
        let held_beside_another = |first: &mut Client| {
            let before = origin.request_count();
            send(first, "/limited/held");
            eventually("a request at the origin", || (origin.request_count() > before).then_some(()));
            let other = client(&gateway).get("a.test", "/limited/fast").status();
            gate.open();
            assert_eq!(first.response("GET").status(), 200);
            other
        };
        assert_eq!(held_beside_another(&mut first), 503);
        eventually("a higher limit", || {
            assert_eq!(first.get("a.test", "/limited/fast").status(), 200);
            (held_beside_another(&mut first) == 200).then_some(())
        });
    }
}

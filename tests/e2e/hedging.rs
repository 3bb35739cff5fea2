//! Hedging and mirroring of routes: the faster of two attempts, copies of requests, and what the client sees
//! of either.

use std::sync::Arc;
use std::time::Duration;

use ringway::model::{
    AppId, Balancer, Change, EndpointSpec, FailurePolicy, HealthCheck, Hedge, HedgeDelay, HostPattern,
    InstanceId, Mirror, OnAllUnhealthy, OperatorSet, Owner, Percent, PolicyRef, PolicySettings, PoolRef,
    PoolSpec, Replacement, RouteId, RouteSpec, Target, TrafficSpec,
};
use ringway::{DriverChoice, Gateway, Handle, Submission};

use crate::kit::h2::H2;
use crate::kit::h2_origin::H2Origin;
use crate::kit::*;
use crate::routes::Secure;

fn gateway(driver: Driver) -> Handle {
    let driver = match driver {
        Driver::IoUring => DriverChoice::IoUring,
        Driver::Epoll => DriverChoice::Epoll,
    };
    let http = vec!["127.0.0.1:0".parse().unwrap()];
    Gateway::builder().http(http).driver(driver).workers(1).pin(false).spawn().unwrap()
}

fn pool(id: &str, targets: &[String]) -> PoolSpec {
    let id = AppId::parse(id).unwrap();
    let endpoint = |target: &String| {
        let target = Target::parse(target).unwrap();
        let id = InstanceId::of_endpoint(&id, &target);
        EndpointSpec { id, target, weight: 1, health_check: HealthCheck::default() }
    };
    PoolSpec {
        traffic: Default::default(),
        endpoints: targets.iter().map(endpoint).collect(),
        id: id.clone(),
        balancer: Balancer::RoundRobin,
        upstream_tls: None,
        failures: FailurePolicy::default(),
        on_all_unhealthy: OnAllUnhealthy::default(),
        policy: None,
    }
}

/// A gateway with one route to the first pool.
fn serving(
    driver: Driver,
    pools: Vec<PoolSpec>,
    settings: Option<PolicySettings>,
    mirror: Option<Mirror>,
) -> Handle {
    let gateway = gateway(driver);
    configure(&gateway, pools, settings, mirror);
    gateway
}

fn configure(
    gateway: &Handle,
    pools: Vec<PoolSpec>,
    settings: Option<PolicySettings>,
    mirror: Option<Mirror>,
) {
    let host = HostPattern::parse("a.test").unwrap();
    let first = PoolRef::Pool(pools[0].id.clone());
    let mut route = RouteSpec::new(RouteId::parse("route").unwrap(), host, first);
    route.policies = settings.into_iter().map(|settings| PolicyRef::Inline(Arc::new(settings))).collect();
    if let Some(mirror) = mirror {
        let traffic = TrafficSpec { mirror: Some(mirror), ..TrafficSpec::default() };
        route.traffic = Some(Arc::new(traffic));
    }
    let set = Arc::new(OperatorSet { pools, routes: vec![Arc::new(route)], ..OperatorSet::default() });
    let replacement = Replacement { owner: Owner::File, set, expect: None, version: None };
    gateway.client().submit(Submission::of(Change::ReplaceOwned(Arc::new(replacement)))).unwrap();
}

fn hedging(driver: Driver, targets: &[String], hedge: Hedge) -> Handle {
    let settings = PolicySettings { hedge: Some(hedge), ..PolicySettings::default() };
    serving(driver, vec![pool("pool", targets)], Some(settings), None)
}

fn at_once() -> Hedge {
    let delay = HedgeDelay::After(Duration::from_millis(1));
    Hedge { delay, budget: Percent::ALL, dry_run: false }
}

fn copying(methods: &[&str], share: Percent) -> Mirror {
    Mirror {
        pool: PoolRef::Pool(AppId::parse("copies").unwrap()),
        share,
        methods: methods.iter().map(|method| (*method).into()).collect(),
        timeout: Duration::from_secs(60),
    }
}

fn mirroring(driver: Driver, main: &Origin, copies: &str, methods: &[&str], share: Percent) -> Handle {
    let mirror = copying(methods, share);
    let pools = vec![pool("pool", &[main.target()]), pool("copies", &[copies.to_owned()])];
    serving(driver, pools, None, Some(mirror))
}

fn client(gateway: &Handle) -> Client {
    Client::connect(gateway.http_addresses()[0])
}

fn metric(gateway: &Handle, series: &str) -> u64 {
    let text = gateway.client().metrics().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.map_or(0, |value| value.trim().parse().unwrap())
}

fn await_metric(gateway: &Handle, series: &str, count: u64) {
    eventually(series, || (metric(gateway, series) == count).then_some(()));
}

fn hedged(outcome: &str) -> String {
    format!("proxy_hedged_total{{route=\"route\",outcome=\"{outcome}\"}}")
}

fn mirrored(outcome: &str) -> String {
    format!("proxy_mirrored_total{{route=\"route\",outcome=\"{outcome}\"}}")
}

/// A silent origin, and one that answers as soon as the silent one has the request too.
fn race() -> (Origin, Origin) {
    let arrived = Gate::new();
    let fast = behind(&arrived);
    let silent = Origin::script(move |connection| {
        if connection.request().is_ok() {
            arrived.open();
            connection.until_closed();
        }
    });
    (silent, fast)
}

/// An origin whose response waits for the gate.
fn behind(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::http(move |_, connection| {
        gate.pass();
        connection.reply(200, b"fast");
        After::Keep
    })
}

on_both_drivers! {
    fn the_client_gets_the_response_of_the_faster_endpoint(driver) {
        let (silent, fast) = race();
        let gateway = hedging(driver, &[silent.target(), fast.target()], at_once());
        let mut client = client(&gateway);
        for _ in 0..4 {
            let response = client.get("a.test", "/");
            assert_eq!((response.status(), response.text()), (200, "fast".into()));
        }
        assert_eq!(fast.request_count(), 4);
        let tried = silent.connections();
        assert_eq!(tried.len(), 4, "a connection whose response is awaited takes no other request");
        for connection in tried {
            eventually("the end of the slower attempt", || connection.has_ended().then_some(()));
            assert_eq!(connection.text().matches("GET /").count(), 1);
        }
        // First attempts alternate.
        await_metric(&gateway, &hedged("won"), 2);
        await_metric(&gateway, &hedged("lost"), 2);
    }

    fn requests_of_http2_clients_are_hedged_and_copied(driver) {
        let ((silent, fast), copies) = (race(), Origin::named("copy"));
        let secure = Secure::new(driver);
        let settings = PolicySettings { hedge: Some(at_once()), ..PolicySettings::default() };
        let mirror = copying(&[], Percent::ALL);
        let pools = vec![pool("pool", &[silent.target(), fast.target()]), pool("copies", &[copies.target()])];
        configure(&secure.gateway, pools, Some(settings), Some(mirror));
        let stream = secure.tls("a.test").alpn(&["h2"]).stream(secure.address()).unwrap();
        let mut client = H2::open(Box::new(stream), "https", &[]);
        for _ in 0..4 {
            let stream = client.get("a.test", "/x");
            let answer = client.response(stream);
            assert!(answer.is_whole(), "{answer:?}");
            assert_eq!((answer.status(), answer.text().as_str()), (200, "fast"));
        }
        for connection in silent.connections() {
            eventually("the end of the slower attempt", || connection.has_ended().then_some(()));
        }
        await_metric(&secure.gateway, &hedged("won"), 2);
        await_metric(&secure.gateway, &mirrored("answered"), 4);
        let copied: Vec<_> = copies.requests().iter().map(|copy| copy.first_line.clone()).collect();
        assert_eq!(copied, ["GET /x HTTP/1.1"; 4]);
        assert_eq!(copies.requests()[0].field("x-mirrored"), Some("1"));
    }

    fn an_attempt_over_http2_that_is_beaten_is_reset(driver) {
        let arrived = Gate::new();
        let silent = {
            let arrived = arrived.clone();
            H2Origin::new(move |_, _| arrived.open())
        };
        let fast = behind(&arrived);
        let gateway = hedging(driver, &[silent.target(), fast.target()], at_once());
        let mut client = client(&gateway);
        for _ in 0..4 {
            assert_eq!(client.get("a.test", "/").text(), "fast");
        }
        eventually("the resets", || (silent.resets().len() == 4).then_some(()));
        assert_eq!((silent.requests().len(), silent.connections()), (4, 1));
    }

    fn only_requests_that_are_safe_and_without_body_are_hedged(driver) {
        let gate = Gate::new();
        let own = gate.clone();
        let slow = move |name: &'static str| {
            let gate = own.clone();
            Origin::http(move |_, connection| {
                gate.pass();
                connection.reply(200, name.as_bytes());
                After::Keep
            })
        };
        let (one, other) = (slow("one"), slow("other"));
        let gateway = hedging(driver, &[one.target(), other.target()], at_once());
        let mut client = client(&gateway);
        for request in ["POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\nx",
            "GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\nx",
            "DELETE / HTTP/1.1\r\nHost: a.test\r\n\r\n"] {
            client.send(request);
            client.assert_silent(Duration::from_millis(50));
            client.within(SOON);
            gate.open();
            assert_eq!(client.response("GET").status(), 200);
        }
        assert_eq!(one.request_count() + other.request_count(), 3);
    }

    fn without_budget_no_second_attempt_is_made(driver) {
        let gate = Gate::new();
        let gated = || {
            let gate = gate.clone();
            Origin::http(move |_, connection| {
                gate.pass();
                connection.reply(200, b"late");
                After::Keep
            })
        };
        let (one, other) = (gated(), gated());
        let attempts = || one.request_count() + other.request_count();
        // A share of one in a hundred is none of fewer requests.
        let gateway = hedging(driver, &[one.target(), other.target()], Hedge { budget: Percent::whole(1), ..at_once() });
        let mut client = client(&gateway);
        let mut sent = 0;
        eventually("a request whose response is late", || {
            client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
            sent += 1;
            eventually("its attempt", || (attempts() == sent).then_some(()));
            client.assert_silent(Duration::from_millis(20));
            client.within(SOON);
            gate.open();
            assert_eq!(client.response("GET").text(), "late");
            (metric(&gateway, &hedged("budget")) > 0).then_some(())
        });
        assert_eq!(attempts(), sent);
    }

    fn a_dry_run_only_counts(driver) {
        let gate = Gate::new();
        let own = gate.clone();
        let slow = Origin::http(move |_, connection| {
            own.pass();
            connection.reply(200, b"slow");
            After::Keep
        });
        let gateway = hedging(driver, &[slow.target()], Hedge { dry_run: true, ..at_once() });
        let mut client = client(&gateway);
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        client.assert_silent(Duration::from_millis(20));
        client.within(SOON);
        gate.open();
        assert_eq!(client.response("GET").text(), "slow");
        await_metric(&gateway, &hedged("dry_run"), 1);
        assert_eq!(slow.request_count(), 1);
    }

    fn a_failed_attempt_leaves_the_other_one(driver) {
        // The bad one breaks while both are under way.
        let (arrived, gate) = (Gate::new(), Gate::new());
        let (seen, done) = (arrived.clone(), gate.clone());
        let bad = Origin::script(move |connection| {
            if connection.request().is_ok() {
                seen.pass();
                done.open();
            }
        });
        let good = Origin::http(move |_, connection| {
            arrived.open();
            gate.pass();
            connection.reply(200, b"good");
            After::Keep
        });
        let gateway = hedging(driver, &[bad.target(), good.target()], at_once());
        let mut client = client(&gateway);
        assert_eq!(client.get("a.test", "/").text(), "good");
    }

    fn a_client_that_leaves_ends_both_attempts(driver) {
        let (one, other) = (Origin::silent(), Origin::silent());
        let gateway = hedging(driver, &[one.target(), other.target()], at_once());
        let mut client = client(&gateway);
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        eventually("both attempts", || {
            (one.connections().len() + other.connections().len() == 2).then_some(())
        });
        drop(client);
        for connection in one.connections().into_iter().chain(other.connections()) {
            eventually("the end of an attempt", || connection.has_ended().then_some(()));
        }
    }

    fn a_mirror_gets_copies_with_their_bodies_and_a_mark(driver) {
        let (main, copies) = (Origin::named("main"), Origin::named("copy"));
        let gateway = mirroring(driver, &main, &copies.target(), &["POST"], Percent::ALL);
        let mut client = client(&gateway);
        let head = "POST /x?y=1 HTTP/1.1\r\nHost: a.test\r\nX-Mirrored: forged\r\nCookie: a=b\r\nContent-Length: 4\r\n\r\n";
        client.send(format!("{head}body"));
        assert_eq!(client.response("POST").text(), "main");
        assert_eq!(client.get("a.test", "/").text(), "main");
        eventually("the copy", || (copies.request_count() == 1).then_some(()));
        let copy = copies.one_request();
        assert_eq!((copy.target(), &*copy.body), ("/x?y=1", &b"body"[..]));
        assert_eq!((copy.field("host"), copy.field("cookie"), copy.field("x-mirrored")), (Some("a.test"), Some("a=b"), Some("1")));
        assert_eq!(main.requests()[0].field("x-mirrored"), Some("forged"));
        await_metric(&gateway, &mirrored("answered"), 1);
        assert_eq!(copies.connections().len(), 1);
    }

    fn a_share_of_the_requests_is_copied(driver) {
        let (main, copies) = (Origin::named("main"), Origin::named("copy"));
        let gateway = mirroring(driver, &main, &copies.target(), &[], Percent::whole(25));
        let mut client = client(&gateway);
        for _ in 0..100 {
            assert_eq!(client.get("a.test", "/").text(), "main");
        }
        let answered = eventually("copies", || {
            let count = metric(&gateway, &mirrored("answered"));
            (count >= 23).then_some(count)
        });
        assert!(answered <= 27, "{answered}");
    }

    fn a_mirror_that_is_silent_full_or_dead_changes_nothing(driver) {
        let main = Origin::named("main");
        let silent = Origin::silent();
        let gateway = mirroring(driver, &main, &silent.target(), &[], Percent::ALL);
        let mut client = client(&gateway);
        for _ in 0..100 {
            assert_eq!(client.get("a.test", "/").text(), "main");
        }
        assert_eq!(metric(&gateway, &mirrored("limit")), 100 - 64);
        eventually("all copies", || (silent.connections().len() == 64).then_some(()));
        silent.die();
        await_metric(&gateway, &mirrored("failed"), 64);
        assert_eq!(client.get("a.test", "/").text(), "main");
        assert_eq!(main.request_count(), 101);
    }

    fn a_mirror_that_floods_is_cut_off(driver) {
        let main = Origin::named("main");
        let flood = Origin::http(|_, connection| {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
            while connection.send([b'x'; 65_536]) {}
            After::Close
        });
        let gateway = mirroring(driver, &main, &flood.target(), &[], Percent::ALL);
        let mut client = client(&gateway);
        assert_eq!(client.get("a.test", "/").text(), "main");
        await_metric(&gateway, &mirrored("answered"), 1);
        let connection = eventually("the copy", || flood.connections().pop());
        eventually("its end", || connection.has_ended().then_some(()));
        assert_eq!(client.get("a.test", "/").text(), "main");
    }

    fn a_body_that_is_still_to_come_is_not_copied(driver) {
        let (main, copies) = (Origin::named("main"), Origin::named("copy"));
        let gateway = mirroring(driver, &main, &copies.target(), &["PUT"], Percent::ALL);
        let mut client = client(&gateway);
        client.send("PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbo");
        await_metric(&gateway, &mirrored("body"), 1);
        client.send("dy");
        assert_eq!(client.response("PUT").text(), "main");
        assert_eq!(copies.request_count(), 0);
    }
}

//! Pools by their traffic settings: balancers, the cap of ejections, circuit breakers of pools and routes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringway::model::{
    AppId, Balancer, Change, CircuitBreaker, EndpointSpec, FailurePolicy, HealthCheck, HostPattern,
    InstanceId, OnAllUnhealthy, OperatorSet, Outliers, Owner, Percent, PolicyRef, PolicySettings, PoolRef,
    PoolSpec, PoolTraffic, Replacement, RequestKey, RouteId, RouteSpec, StatusSet, Target, TimeoutPolicy,
};
use ringway::{DriverChoice, Gateway, Handle, Submission};

use crate::kit::*;

/// A gateway with one worker that routes `a.test` to a pool of these origins.
fn serving(
    driver: Driver,
    origins: &[&Origin],
    balancer: Balancer,
    traffic: PoolTraffic,
    policy: Option<PolicySettings>,
) -> Handle {
    let driver = match driver {
        Driver::IoUring => DriverChoice::IoUring,
        Driver::Epoll => DriverChoice::Epoll,
    };
    let http = vec!["127.0.0.1:0".parse().unwrap()];
    let gateway = Gateway::builder().http(http).driver(driver).workers(1).pin(false).spawn().unwrap();
    let pool = AppId::parse("pool").unwrap();
    let endpoint = |origin: &&Origin| {
        let target = Target::parse(&origin.target()).unwrap();
        let id = InstanceId::of_endpoint(&pool, &target);
        EndpointSpec { id, target, weight: 1, health_check: HealthCheck::default() }
    };
    let failures =
        FailurePolicy { statuses: StatusSet::parse("500-504").unwrap(), timeouts: TimeoutPolicy::Always };
    let pools = vec![PoolSpec {
        traffic: Arc::new(traffic),
        endpoints: origins.iter().map(endpoint).collect(),
        id: pool.clone(),
        balancer,
        upstream_tls: None,
        failures,
        on_all_unhealthy: OnAllUnhealthy::default(),
        policy: None,
    }];
    let host = HostPattern::parse("a.test").unwrap();
    let mut route = RouteSpec::new(RouteId::parse("route").unwrap(), host, PoolRef::Pool(pool));
    route.policies = policy.map(|settings| PolicyRef::Inline(Arc::new(settings))).into_iter().collect();
    let set = Arc::new(OperatorSet { pools, routes: vec![Arc::new(route)], ..OperatorSet::default() });
    let replacement = Replacement { owner: Owner::File, set, expect: None, version: None };
    gateway.client().submit(Submission::of(Change::ReplaceOwned(Arc::new(replacement)))).unwrap();
    gateway
}

fn client(gateway: &Handle) -> Client {
    Client::connect(gateway.http_addresses()[0])
}

/// Response to a request with these field lines.
fn send(client: &mut Client, fields: &str) -> Message {
    client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"));
    client.response("GET")
}

fn named() -> [Origin; 3] {
    ["a", "b", "c"].map(Origin::named)
}

/// An origin that fails until the flag is cleared.
fn failing_while(is_failing: &Arc<AtomicBool>) -> Origin {
    let is_failing = is_failing.clone();
    Origin::http(move |_, connection| {
        let status = if is_failing.load(Ordering::SeqCst) { 500 } else { 200 };
        connection.reply(status, b"own");
        After::Keep
    })
}

fn failing() -> Origin {
    failing_while(&Arc::new(AtomicBool::new(true)))
}

/// Opens after five failures of five, for a moment.
fn breaker() -> CircuitBreaker {
    CircuitBreaker { requests_min: 5, open: Duration::from_millis(500), ..CircuitBreaker::default() }
}

/// Sends requests until a breaker refuses one, lets the origin recover, and expects the breaker to close.
fn opens_and_closes(gateway: &Handle, is_failing: &AtomicBool, origin: &Origin, named: &str) {
    let mut client = client(gateway);
    let refused = eventually("the breaker opens", || {
        let response = send(&mut client, "");
        match response.status() {
            500 => None,
            _ => Some(response),
        }
    });
    assert_eq!(refused.status(), 503, "{refused:?}");
    assert_eq!(refused.field("x-proxy-circuit-open"), Some("true"), "{refused:?}");
    assert!(refused.field("retry-after").is_some(), "{refused:?}");
    assert!(refused.text().contains("circuit_open") && refused.text().contains(named), "{refused:?}");
    assert!(origin.request_count() >= 5);
    is_failing.store(false, Ordering::SeqCst);
    eventually("the breaker closes", || (send(&mut client, "").status() == 200).then_some(()));
    for _ in 0..10 {
        assert_eq!(send(&mut client, "").status(), 200, "two probes have closed it");
    }
}

on_both_drivers! {
    /// Another request is in flight at one of two endpoints: all that come meanwhile go to the other one.
    fn the_less_loaded_endpoint_is_chosen(driver) {
        let gate = Gate::new();
        let gated = |name: &'static str, gate: &Gate| {
            let own = gate.clone();
            Origin::http(move |request, connection| {
                if request.target() == "/slow" {
                    own.pass();
                }
                connection.reply(200, name.as_bytes());
                After::Keep
            })
        };
        let (one, two) = (gated("one", &gate), gated("two", &gate));
        let traffic = PoolTraffic::default();
        let gateway = serving(driver, &[&one, &two], Balancer::LeastRequest, traffic, None);
        let mut slow = client(&gateway);
        slow.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n");
        eventually("the slow request at an origin", || {
            (one.request_count() + two.request_count() == 1).then_some(())
        });
        let other = if one.request_count() == 1 { "two" } else { "one" };
        let mut client = client(&gateway);
        for _ in 0..20 {
            assert_eq!(send(&mut client, "").text(), other);
        }
        gate.open();
        assert_eq!(slow.response("GET").status(), 200);
    }

    fn a_key_has_its_endpoint(driver) {
        let origins = named();
        let all: Vec<&Origin> = origins.iter().collect();
        let keys = [
            (RequestKey::Header("x-user".into()), "X-User: "),
            (RequestKey::Cookie("user".into()), "Cookie: other=1; user="),
        ];
        for (key, line) in keys {
            let traffic = PoolTraffic { hash_by: Some(key), ..PoolTraffic::default() };
            let gateway = serving(driver, &all, Balancer::ConsistentHash, traffic, None);
            let mut client = client(&gateway);
            // Until their first health check, new endpoints are not in rotation.
            eventually("all endpoints", || {
                let names: BTreeSet<String> = (0..3).map(|_| send(&mut client, "").text()).collect();
                (names.len() == 3).then_some(())
            });
            let mut used = BTreeSet::new();
            for user in 0..30 {
                let fields = format!("{line}{user}\r\n");
                let first = send(&mut client, &fields).text();
                for _ in 0..3 {
                    assert_eq!(send(&mut client, &fields).text(), first, "{fields}");
                }
                used.insert(first);
            }
            assert_eq!(used.len(), 3, "keys are spread");
            let without: BTreeSet<String> = (0..3).map(|_| send(&mut client, "").text()).collect();
            assert_eq!(without.len(), 3, "requests without a key come in turn");
        }
    }

    /// Of three endpoints, half are one, and a third is less than one.
    fn no_more_endpoints_are_ejected_than_the_cap_allows(driver) {
        for (max, ejected) in [(50, 1), (33, 0)] {
            let (good, bad) = (Origin::named("good"), [failing(), failing()]);
            let outliers = Outliers { max_ejection: Percent::whole(max), ..Outliers::default() };
            let traffic = PoolTraffic { outliers, ..PoolTraffic::default() };
            let all = [&good, &bad[0], &bad[1]];
            let gateway = serving(driver, &all, Balancer::RoundRobin, traffic, None);
            let mut client = client(&gateway);
            for _ in 0..60 {
                send(&mut client, "");
            }
            let before = [bad[0].request_count(), bad[1].request_count()];
            for _ in 0..12 {
                send(&mut client, "");
            }
            let after = [bad[0].request_count(), bad[1].request_count()];
            let silent = (0..2).filter(|index| before[*index] == after[*index]).count();
            assert_eq!(silent, ejected, "cap {max} %: {before:?}, then {after:?}");
        }
    }

    fn the_breaker_of_a_pool_opens_and_closes(driver) {
        let is_failing = Arc::new(AtomicBool::new(true));
        let origin = failing_while(&is_failing);
        let traffic = PoolTraffic { circuit_breaker: Some(breaker()), ..PoolTraffic::default() };
        let gateway = serving(driver, &[&origin], Balancer::RoundRobin, traffic, None);
        opens_and_closes(&gateway, &is_failing, &origin, "pool");
    }

    fn the_breaker_of_a_route_opens_and_closes(driver) {
        let is_failing = Arc::new(AtomicBool::new(true));
        let origin = failing_while(&is_failing);
        let policy = PolicySettings { circuit_breaker: Some(breaker()), ..PolicySettings::default() };
        let traffic = PoolTraffic::default();
        let gateway = serving(driver, &[&origin], Balancer::RoundRobin, traffic, Some(policy));
        opens_and_closes(&gateway, &is_failing, &origin, "route");
    }

    /// The statuses of a registered app are its own matter.
    fn the_errors_of_an_app_open_no_breaker(driver) {
        let origin = failing();
        let proxy = Proxy::on(driver).env("HEALTH_CHECK_INTERVAL", "300s").start();
        proxy.serve("app", "app.test", &origin);
        let mut client = proxy.client();
        for _ in 0..30 {
            assert_eq!(client.get("app.test", "/").status(), 500);
        }
        assert_eq!(proxy.api().instance("app", "app-1")["circuit_breaker"], "closed");
        assert!(origin.request_count() >= 30);
    }
}

//! Rate limits: exact on all cores together, by key, with bans, fields and the forms of refusals.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use ringway::model::{
    AppId, Balancer, Ban, Change, EndpointSpec, FailurePolicy, HealthCheck, HostPattern, InstanceId,
    OnAllUnhealthy, OperatorSet, Owner, PathMatch, PolicyRef, PolicySettings, PoolRef, PoolSpec, RateLimit,
    RateLimitKey, Replacement, RouteId, RouteSpec, Target,
};
use ringway::{DataSettings, DriverChoice, Gateway, Handle, Submission};

use crate::kit::*;

fn gateway(driver: Driver, settings: DataSettings) -> Handle {
    let driver = match driver {
        Driver::IoUring => DriverChoice::IoUring,
        Driver::Epoll => DriverChoice::Epoll,
    };
    let http = vec!["127.0.0.1:0".parse().unwrap()];
    Gateway::builder().http(http).driver(driver).workers(4).pin(false).data(settings).spawn().unwrap()
}

/// Requests per hour: no interval passes within a test.
fn per_hour(burst: u32, key: &[RateLimitKey]) -> RateLimit {
    RateLimit {
        requests: 1,
        per: Duration::from_secs(3_600),
        burst,
        key: key.into(),
        ban: None,
        sends_fields: false,
        dry_run: false,
    }
}

fn route(id: &str, path: &str, limit: RateLimit) -> RouteSpec {
    let pool = PoolRef::Pool(AppId::parse("one").unwrap());
    let host = HostPattern::parse("a.test").unwrap();
    let mut route = RouteSpec::new(RouteId::parse(id).unwrap(), host, pool);
    route.matcher.path = PathMatch::Prefix(path.into());
    let settings = PolicySettings { rate_limit: Some(limit), ..PolicySettings::default() };
    RouteSpec { policies: [PolicyRef::Inline(Arc::new(settings))].into(), ..route }
}

fn configure(gateway: &Handle, origin: &Origin, routes: Vec<RouteSpec>) {
    let id = AppId::parse("one").unwrap();
    let target = Target::parse(&origin.target()).unwrap();
    let endpoint = EndpointSpec {
        id: InstanceId::of_endpoint(&id, &target),
        target,
        weight: 1,
        health_check: HealthCheck::default(),
    };
    let pool = PoolSpec {
        endpoints: [endpoint].into_iter().collect(),
        id,
        balancer: Balancer::RoundRobin,
        upstream_tls: None,
        failures: FailurePolicy::default(),
        on_all_unhealthy: OnAllUnhealthy::default(),
        policy: None,
        traffic: Arc::default(),
    };
    let routes = (0..).zip(routes).map(|(order, route)| Arc::new(RouteSpec { order, ..route })).collect();
    let set = Arc::new(OperatorSet { pools: vec![pool], routes, ..OperatorSet::default() });
    let replacement = Replacement { owner: Owner::File, set, expect: None, version: None };
    gateway.client().submit(Submission::of(Change::ReplaceOwned(Arc::new(replacement)))).unwrap();
}

/// A gateway with four cores and one limited route to an origin.
fn limited(driver: Driver, settings: DataSettings, limit: RateLimit) -> (Handle, Origin) {
    let (gateway, origin) = (gateway(driver, settings), Origin::named("one"));
    configure(&gateway, &origin, vec![route("limited", "/", limit)]);
    (gateway, origin)
}

fn client(gateway: &Handle) -> Client {
    Client::connect(gateway.http_addresses()[0])
}

/// Statuses of so many requests over as many connections, all at once.
fn statuses(gateway: &Handle, requests: usize) -> Vec<u16> {
    let barrier = Barrier::new(requests);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..requests)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = client(gateway);
                    barrier.wait();
                    client.get("a.test", "/").status()
                })
            })
            .collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn with_fields(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")
}

/// Status of a request with these field lines.
fn status(client: &mut Client, fields: &str) -> u16 {
    client.send(with_fields(fields));
    client.response("GET").status()
}

/// Whether the number at the end is that of an hour, or of two, less what the test took.
fn is_hours(text: Option<&str>, hours: u64) -> bool {
    let digits = text.unwrap_or_default().rsplit('=').next().unwrap_or_default();
    digits.parse().is_ok_and(|seconds: u64| (hours * 3_600 - 600..=hours * 3_600).contains(&seconds))
}

fn trusting() -> DataSettings {
    DataSettings { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..DataSettings::default() }
}

on_both_drivers! {
    fn a_limit_is_exact_over_all_cores_and_connections(driver) {
        let (gateway, origin) = limited(driver, DataSettings::default(), per_hour(20, &[RateLimitKey::Route]));
        assert_eq!(client(&gateway).get("a.test", "/").status(), 200);
        let statuses = statuses(&gateway, 100);
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 19, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 81, "{statuses:?}");
        assert_eq!(origin.request_count(), 20);
    }

    fn a_limit_survives_changes_and_takes_their_numbers(driver) {
        let (gateway, origin) = limited(driver, DataSettings::default(), per_hour(2, &[]));
        let mut client = client(&gateway);
        assert_eq!([0; 3].map(|_| status(&mut client, "")), [200, 200, 429]);
        let other = route("other", "/other", per_hour(1, &[]));
        configure(&gateway, &origin, vec![route("limited", "/", per_hour(2, &[])), other]);
        assert_eq!(status(&mut client, ""), 429);
        configure(&gateway, &origin, vec![route("limited", "/", per_hour(3, &[]))]);
        assert_eq!([0; 2].map(|_| status(&mut client, "")), [200, 429]);
    }

    fn a_refusal_says_what_to_do(driver) {
        let limit = RateLimit { sends_fields: true, ..per_hour(1, &[]) };
        let (gateway, _origin) = limited(driver, DataSettings::default(), limit);
        let mut client = client(&gateway);
        let policy = Some("\"limited\";q=1;w=3600");
        let admitted = client.get("a.test", "/");
        assert_eq!((admitted.status(), admitted.text().as_str()), (200, "one"));
        let left = admitted.field("ratelimit");
        assert!(left.is_some_and(|left| left.starts_with("\"limited\";r=0;t=")) && is_hours(left, 1), "{left:?}");
        assert_eq!(admitted.field("ratelimit-policy"), policy);
        let refused = client.get("a.test", "/");
        assert_eq!(refused.status(), 429);
        assert!(is_hours(refused.field("retry-after"), 1) && is_hours(refused.field("ratelimit"), 1), "{refused:?}");
        assert_eq!(refused.field("ratelimit-policy"), policy);
        let error = &refused.json()["error"];
        assert_eq!(error["code"], "rate_limited");
        assert_eq!((&error["policy"], &error["limit"]), (&"limited".into(), &"1 per hour, burst 1".into()));
        client.send(with_fields("Accept: text/html\r\n"));
        let page = client.response("GET").text();
        assert!(page.contains("429 Too Many Requests") && page.contains("limited: 1 per hour, burst 1"), "{page}");
        client.send(with_fields("Content-Type: application/grpc\r\n"));
        let call = client.response("GET");
        assert_eq!((call.status(), call.field("grpc-status")), (200, Some("8")));
        assert!(call.field("grpc-message").is_some_and(|message| message.contains("1 per hour")), "{call:?}");
    }

    fn a_dry_run_refuses_nothing(driver) {
        let limit = RateLimit { sends_fields: true, dry_run: true, ..per_hour(1, &[]) };
        let (gateway, origin) = limited(driver, DataSettings::default(), limit);
        let mut client = client(&gateway);
        for _ in 0..5 {
            let answer = client.get("a.test", "/");
            assert_eq!((answer.status(), answer.field("ratelimit")), (200, None));
        }
        assert_eq!(origin.request_count(), 5);
    }

    fn a_key_that_goes_on_after_refusals_is_banned(driver) {
        let ban = Some(Ban { after: 2, duration: Duration::from_secs(7_200) });
        let limit = RateLimit { ban, ..per_hour(1, &[RateLimitKey::Header("x-key".into())]) };
        let (gateway, _origin) = limited(driver, DataSettings::default(), limit);
        let mut client = client(&gateway);
        let mut ask = |key: &str| {
            client.send(with_fields(&format!("X-Key: {key}\r\n")));
            let answer = client.response("GET");
            let code = match answer.status() {
                200 => String::new(),
                _ => answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned(),
            };
            (code, is_hours(answer.field("retry-after"), 2))
        };
        assert_eq!(ask("a").0, "");
        assert_eq!(ask("a"), ("rate_limited".into(), false));
        assert_eq!(ask("a"), ("banned".into(), true));
        assert_eq!(ask("a"), ("banned".into(), true));
        assert_eq!(ask("b").0, "", "another key is not banned");
    }

    fn a_client_cannot_choose_its_address(driver) {
        let (gateway, _origin) = limited(driver, DataSettings::default(), per_hour(2, &[RateLimitKey::Client]));
        let mut client = client(&gateway);
        let spoofed = |n: u8| format!("X-Forwarded-For: 198.51.100.{n}\r\nX-Real-IP: 198.51.100.{n}\r\nForwarded: for=198.51.100.{n}\r\n");
        let statuses: Vec<u16> = (0..6).map(|n| status(&mut client, &spoofed(n))).collect();
        assert_eq!(statuses, [200, 200, 429, 429, 429, 429]);
    }

    fn clients_behind_a_trusted_proxy_are_apart_and_networks_of_ipv6_together(driver) {
        let (gateway, _origin) = limited(driver, trusting(), per_hour(1, &[RateLimitKey::Client]));
        let mut client = client(&gateway);
        let mut from = |address: &str| status(&mut client, &format!("X-Forwarded-For: {address}\r\n"));
        assert_eq!((from("198.51.100.1"), from("198.51.100.2")), (200, 200));
        assert_eq!(from("198.51.100.1"), 429);
        assert_eq!(from("2001:db8::1"), 200);
        for host in 2..20 {
            assert_eq!(from(&format!("2001:db8::{host:x}:{host}")), 429, "{host}");
        }
        assert_eq!(from("2001:db8:0:1::1"), 200);
        // An address before one that the proxy did not see is the client's own invention.
        assert_eq!(from("192.0.2.77, 198.51.100.2"), 429);
    }

    fn fields_of_any_size_are_keys(driver) {
        let (gateway, _origin) = limited(driver, DataSettings::default(), per_hour(1, &[RateLimitKey::Header("x-key".into())]));
        let mut client = client(&gateway);
        let long = "k".repeat(7_000);
        assert_eq!(status(&mut client, &format!("X-Key: {long}\r\n")), 200);
        assert_eq!(status(&mut client, &format!("X-Key: {long}\r\n")), 429);
        assert_eq!(status(&mut client, &format!("X-Key: {long}l\r\n")), 200);
        assert_eq!(status(&mut client, ""), 200, "requests without the field share a key");
        assert_eq!(status(&mut client, ""), 429);
    }

    fn a_refused_request_leaves_nothing_on_its_connection(driver) {
        let (gateway, origin) = limited(driver, DataSettings::default(), per_hour(1, &[]));
        let mut client = client(&gateway);
        assert_eq!(status(&mut client, ""), 200);
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(client.response("POST").status(), 429);
        assert_eq!(status(&mut client, ""), 429, "a body that was there is no request");
        assert_eq!(origin.request_count(), 1);
    }
}

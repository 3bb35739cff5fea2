//! Retries by a policy: statuses, methods, bodies, the budget of the pool, and short timeouts of attempts.

use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use ringway::model::{
    AppId, Balancer, Change, EndpointSpec, FailurePolicy, HealthCheck, HostPattern, InstanceId,
    OnAllUnhealthy, OperatorSet, Owner, Percent, PolicyRef, PolicySettings, PoolRef, PoolSpec, Replacement,
    Retries, RouteId, RouteSpec, Target,
};
use ringway::{DriverChoice, Gateway, Handle, Submission};

use crate::kit::*;

fn gateway(driver: Driver) -> Handle {
    let driver = match driver {
        Driver::IoUring => DriverChoice::IoUring,
        Driver::Epoll => DriverChoice::Epoll,
    };
    let http = vec!["127.0.0.1:0".parse().unwrap()];
    Gateway::builder().http(http).driver(driver).workers(1).pin(false).spawn().unwrap()
}

/// Three attempts and a budget that is never exhausted.
fn retries() -> Retries {
    Retries {
        attempts_max: NonZeroU8::new(3).unwrap(),
        budget: Percent::ALL,
        budget_floor: 1_000,
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(5),
        ..Retries::default()
    }
}

/// A gateway that routes all requests to these origins by this policy.
fn serving(driver: Driver, origins: &[&Origin], settings: PolicySettings) -> Handle {
    let gateway = gateway(driver);
    let pool = AppId::parse("pool").unwrap();
    let endpoint = |origin: &&Origin| {
        let target = Target::parse(&origin.target()).unwrap();
        let id = InstanceId::of_endpoint(&pool, &target);
        EndpointSpec { id, target, weight: 1, health_check: HealthCheck::default() }
    };
    let pools = vec![PoolSpec {
        traffic: Default::default(),
        endpoints: origins.iter().map(endpoint).collect(),
        id: pool.clone(),
        balancer: Balancer::RoundRobin,
        upstream_tls: None,
        failures: FailurePolicy::default(),
        on_all_unhealthy: OnAllUnhealthy::default(),
        policy: None,
    }];
    let host = HostPattern::parse("a.test").unwrap();
    let mut route = RouteSpec::new(RouteId::parse("route").unwrap(), host, PoolRef::Pool(pool));
    route.policies = vec![PolicyRef::Inline(Arc::new(settings))].into();
    let set = Arc::new(OperatorSet { pools, routes: vec![Arc::new(route)], ..OperatorSet::default() });
    let replacement = Replacement { owner: Owner::File, set, expect: None, version: None };
    gateway.client().submit(Submission::of(Change::ReplaceOwned(Arc::new(replacement)))).unwrap();
    gateway
}

fn with(retries: Retries) -> PolicySettings {
    PolicySettings { retries: Some(retries), ..PolicySettings::default() }
}

fn client(gateway: &Handle) -> Client {
    Client::connect(gateway.http_addresses()[0])
}

/// An origin whose responses all have this status, and its name as their body.
fn answering(status: u16, name: &'static str) -> Origin {
    Origin::http(move |_, connection| {
        connection.reply(status, name.as_bytes());
        After::Keep
    })
}

/// Attempts that reached the origins.
fn attempts(origins: &[&Origin]) -> usize {
    origins.iter().map(|origin| origin.request_count()).sum()
}

fn post(client: &mut Client, fields: &str, body: &str) -> Message {
    let length = body.len();
    client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\n{fields}Content-Length: {length}\r\n\r\n{body}"));
    client.response("POST")
}

on_both_drivers! {
    fn a_rejected_status_is_retried_at_another_endpoint(driver) {
        let (bad, good) = (answering(503, "bad"), answering(200, "good"));
        let gateway = serving(driver, &[&bad, &good], with(retries()));
        let mut client = client(&gateway);
        for _ in 0..8 {
            let response = client.get("a.test", "/");
            assert_eq!((response.status(), response.text()), (200, "good".into()));
        }
        assert_eq!(good.request_count(), 8);
        assert_eq!(bad.request_count(), 4, "each second request begins there: a retry takes no turn");
        // Its small responses were read, and the connection is in use again.
        assert_eq!(bad.connections().len(), 1);
    }

    fn without_a_policy_no_status_is_retried(driver) {
        let (bad, good) = (answering(503, "bad"), answering(200, "good"));
        let gateway = serving(driver, &[&bad, &good], PolicySettings::default());
        let mut client = client(&gateway);
        let statuses: Vec<u16> = (0..4).map(|_| client.get("a.test", "/").status()).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 2, "{statuses:?}");
    }

    fn the_response_of_the_last_attempt_is_the_client_s(driver) {
        let (one, other) = (answering(503, "same"), answering(503, "same"));
        let gateway = serving(driver, &[&one, &other], with(retries()));
        let response = client(&gateway).get("a.test", "/");
        assert_eq!((response.status(), response.text()), (503, "same".into()));
        assert_eq!(attempts(&[&one, &other]), 3);
    }

    fn a_pool_of_one_endpoint_is_tried_again(driver) {
        let origin = answering(502, "only");
        let gateway = serving(driver, &[&origin], with(retries()));
        let response = client(&gateway).get("a.test", "/");
        assert_eq!((response.status(), response.text(), origin.request_count()), (502, "only".into(), 3));
    }

    fn a_post_is_retried_only_with_the_key_that_makes_it_repeatable(driver) {
        let (one, other) = (answering(503, "bad"), answering(503, "bad"));
        let key = Retries { idempotency_key: Some("idempotency-key".into()), ..retries() };
        let gateway = serving(driver, &[&one, &other], with(key));
        let mut client = client(&gateway);
        assert_eq!(post(&mut client, "", "body").status(), 503);
        assert_eq!(attempts(&[&one, &other]), 1);
        assert_eq!(post(&mut client, "Idempotency-Key: 1\r\n", "body").status(), 503);
        assert_eq!(attempts(&[&one, &other]), 4);
        let bodies: Vec<Vec<u8>> =
            [&one, &other].into_iter().flat_map(|origin| origin.requests()).map(|request| request.body).collect();
        assert!(bodies.iter().all(|body| body == b"body"), "each attempt has all of the body");
    }

    fn a_body_that_was_forwarded_is_not_sent_again(driver) {
        let (one, other) = (answering(503, "bad"), answering(503, "bad"));
        let gateway = serving(driver, &[&one, &other], with(Retries { idempotent_only: false, ..retries() }));
        let mut client = client(&gateway);
        let response = post(&mut client, "", &"x".repeat(300_000));
        assert_eq!((response.status(), response.text()), (503, "bad".into()));
        assert_eq!(attempts(&[&one, &other]), 1);
    }

    fn an_exhausted_budget_passes_the_endpoint_s_response_on(driver) {
        const REQUESTS: usize = 100;
        let (one, other) = (answering(503, "own"), answering(503, "own"));
        let small = Retries { budget: Percent::whole(10), budget_floor: 1, ..retries() };
        let gateway = serving(driver, &[&one, &other], with(small));
        let mut client = client(&gateway);
        for _ in 0..REQUESTS {
            let response = client.get("a.test", "/");
            assert_eq!((response.status(), response.text()), (503, "own".into()));
        }
        let attempts = attempts(&[&one, &other]);
        // Ten from the beginning, and as many in each further ten seconds, should this machine be so slow.
        assert!((REQUESTS + 10..=REQUESTS + 30).contains(&attempts), "{attempts}");
    }

    fn a_late_endpoint_is_left_within_milliseconds(driver) {
        let (silent, good) = (Origin::silent(), answering(200, "good"));
        let settings = PolicySettings {
            per_try_timeout: Some(Duration::from_millis(50)),
            timeout: Some(Duration::from_secs(30)),
            ..with(retries())
        };
        let gateway = serving(driver, &[&silent, &good], settings);
        let mut client = client(&gateway);
        for _ in 0..4 {
            assert_eq!(client.get("a.test", "/").text(), "good");
        }
        assert_eq!(good.request_count(), 4);
    }
}

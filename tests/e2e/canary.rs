//! Canaries and cohorts of routes: shares, buckets in cookies, the brake and its end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ringway::model::{
    AppId, Balancer, BrakeMode, Canary, Change, Cohorts, EndpointSpec, FailurePolicy, HealthCheck,
    HostPattern, InstanceId, OnAllUnhealthy, OperatorSet, Outliers, Owner, Percent, PoolRef, PoolSpec,
    PoolTraffic, Replacement, RouteId, RouteSpec, StatusSet, Target, TimeoutPolicy, TrafficSpec,
};
use ringway::store::{Fjall, Memory, Store};
use ringway::{Admin, AdminSettings, AuditLog, ControlSettings, DriverChoice, Gateway, Handle, Submission};

use crate::kit::*;

const PATH: &str = "/api/v2/traffic/canary";

/// Gateway with one worker that compares canaries five times a second.
fn gateway(driver: Driver, store: Box<dyn Store>) -> Handle {
    audited(driver, store, None)
}

/// The same with an audit log.
fn audited(driver: Driver, store: Box<dyn Store>, audit: Option<AuditLog>) -> Handle {
    let driver = match driver {
        Driver::IoUring => DriverChoice::IoUring,
        Driver::Epoll => DriverChoice::Epoll,
    };
    let any = || vec!["127.0.0.1:0".parse().unwrap()];
    let control = ControlSettings {
        canary_interval: Duration::from_millis(200),
        bucket_secret: b"secret"[..].into(),
        ..ControlSettings::default()
    };
    let builder = Gateway::builder().http(any()).driver(driver).workers(1).pin(false).control(control);
    let settings = AdminSettings { audit, ..AdminSettings::default() };
    builder.admin(Admin { addresses: any(), settings, ..Admin::default() }).store(store).spawn().unwrap()
}

fn pool(id: &str) -> PoolRef {
    PoolRef::Pool(AppId::parse(id).unwrap())
}

fn canary(percent: u16) -> Canary {
    Canary {
        pool: pool("v2"),
        weight: Percent::whole(percent),
        steps: Box::default(),
        hash: None,
        cookie: None,
        brake: BrakeMode::On,
    }
}

/// Routes `a.test` to the first origin, with a plan whose other pool is the second.
fn configure(gateway: &Handle, [stable, other]: [&Origin; 2], traffic: TrafficSpec) {
    let failures =
        FailurePolicy { statuses: StatusSet::parse("500-504").unwrap(), timeouts: TimeoutPolicy::Always };
    // A pool of one endpoint keeps it otherwise.
    let outliers = Outliers { max_ejection: Percent::ALL, ..Outliers::default() };
    let of = |id: &str, origin: &Origin| {
        let (pool, target) = (AppId::parse(id).unwrap(), Target::parse(&origin.target()).unwrap());
        let id = InstanceId::of_endpoint(&pool, &target);
        PoolSpec {
            traffic: Arc::new(PoolTraffic { outliers: outliers.clone(), ..PoolTraffic::default() }),
            endpoints: vec![EndpointSpec { id, target, weight: 1, health_check: HealthCheck::default() }],
            id: pool,
            balancer: Balancer::RoundRobin,
            upstream_tls: None,
            failures,
            on_all_unhealthy: OnAllUnhealthy::default(),
            policy: None,
        }
    };
    let host = HostPattern::parse("a.test").unwrap();
    let mut route = RouteSpec::new(RouteId::parse("shop").unwrap(), host, pool("v1"));
    route.traffic = Some(Arc::new(traffic));
    let set = OperatorSet {
        pools: vec![of("v1", stable), of("v2", other)],
        routes: vec![Arc::new(route)],
        ..OperatorSet::default()
    };
    let replacement = Replacement { owner: Owner::Admin, set: Arc::new(set), expect: None, version: None };
    gateway.client().submit(Submission::of(Change::ReplaceOwned(Arc::new(replacement)))).unwrap();
}

fn with(canary: Canary) -> TrafficSpec {
    TrafficSpec { canary: Some(canary), ..TrafficSpec::default() }
}

fn client(gateway: &Handle) -> Client {
    Client::connect(gateway.http_addresses()[0])
}

/// Response to a request with these field lines.
fn send(client: &mut Client, fields: &str) -> Message {
    client.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"));
    client.response("GET")
}

fn api(gateway: &Handle) -> Api {
    Api::new(gateway.admin_addresses()[0])
}

/// The route's canary, as the API shows it.
fn shown(gateway: &Handle) -> Value {
    api(gateway).get(PATH).is(200).json["canaries"][0].clone()
}

fn failing() -> Origin {
    Origin::http(|_, connection| {
        connection.reply(500, b"v2");
        After::Keep
    })
}

/// Sends requests until the canary is braked.
fn await_brake(gateway: &Handle) {
    let mut client = client(gateway);
    eventually("the brake", || {
        for _ in 0..20 {
            send(&mut client, "");
        }
        (shown(gateway)["state"] == "braked").then_some(())
    });
}

on_both_drivers! {
    fn a_canary_gets_its_share_and_cohorts_their_pool(driver) {
        let (stable, next) = (Origin::named("v1"), Origin::named("v2"));
        let gateway = gateway(driver, Box::new(Memory::new()));
        let cohorts = Cohorts {
            header: Some("x-cohort".into()),
            cookie: Some("cohort".into()),
            trusted_only: false,
            mappings: [("beta".into(), pool("v2")), ("stable".into(), pool("v1"))].into(),
            brake: false,
        };
        configure(&gateway, [&stable, &next], TrafficSpec { cohorts: Some(cohorts), ..with(canary(10)) });
        let mut client = client(&gateway);
        let canaries = (0..200).filter(|_| send(&mut client, "").text() == "v2").count();
        assert!((18..=22).contains(&canaries), "{canaries} of 200");
        for _ in 0..20 {
            assert_eq!(send(&mut client, "X-Cohort: beta\r\n").text(), "v2");
            assert_eq!(send(&mut client, "X-Cohort: stable\r\nCookie: cohort=beta\r\n").text(), "v1");
            assert_eq!(send(&mut client, "Cookie: a=b; cohort=beta\r\n").text(), "v2");
        }
        let unknown = (0..100).filter(|_| send(&mut client, "X-Cohort: gamma\r\n").text() == "v2").count();
        assert!((8..=12).contains(&unknown), "{unknown} of 100");
    }

    fn a_cookie_keeps_a_client_in_its_bucket_when_the_weight_rises(driver) {
        let (stable, next) = (Origin::named("v1"), Origin::named("v2"));
        let gateway = gateway(driver, Box::new(Memory::new()));
        let sticky = |percent| with(Canary { cookie: Some("bucket".into()), ..canary(percent) });
        configure(&gateway, [&stable, &next], sticky(30));
        let mut client = client(&gateway);
        let mut users: Vec<(String, String)> = Vec::new();
        for _ in 0..40 {
            let response = send(&mut client, "");
            let cookie = response.field("Set-Cookie").unwrap().to_owned();
            let (pair, attributes) = cookie.split_once(';').unwrap();
            assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Lax");
            users.push((format!("Cookie: {pair}\r\n"), response.text()));
        }
        assert!(users.iter().any(|(_, variant)| variant == "v2"));
        for (cookie, variant) in &users {
            let again = send(&mut client, cookie);
            assert_eq!((&again.text(), again.field("Set-Cookie")), (variant, None));
        }
        configure(&gateway, [&stable, &next], sticky(60));
        let now: Vec<String> = users.iter().map(|(cookie, _)| send(&mut client, cookie).text()).collect();
        for ((_, before), now) in users.iter().zip(&now) {
            assert!(!(before == "v2" && now == "v1"), "a user of the canary went back");
        }
        assert!(users.iter().zip(&now).any(|((_, before), now)| before == "v1" && now == "v2"));
        let forged = send(&mut client, "Cookie: bucket=0000.00000000000000000000000000000000\r\n");
        assert!(forged.field("Set-Cookie").is_some());
    }

    fn a_canary_without_an_endpoint_falls_back(driver) {
        let (stable, next) = (Origin::named("v1"), Origin::named("v2"));
        let gateway = gateway(driver, Box::new(Memory::new()));
        configure(&gateway, [&stable, &next], with(Canary { brake: BrakeMode::Off, ..canary(100) }));
        let mut client = client(&gateway);
        assert_eq!(send(&mut client, "").text(), "v2");
        next.kill();
        // Its circuit breaker opens; until then requests fail.
        eventually("the fallback", || (send(&mut client, "").text() == "v1").then_some(()));
        eventually("its count", || (shown(&gateway)["fallbacks"].as_u64() > Some(0)).then_some(()));
    }

    fn a_canary_that_fails_is_braked_and_resumed_by_an_operator(driver) {
        let folder = tempfile::tempdir().unwrap();
        // The database's own threads may hold its lock for a moment after the gateway has ended.
        let store = |path: &Path| eventually("the store is free", || Fjall::open(path).ok().map(Box::new));
        let (stable, next) = (Origin::named("v1"), failing());
        let audit = folder.path().join("audit.log");
        let first =
            audited(driver, store(&folder.path().join("store")), Some(AuditLog::start(audit.clone()).unwrap()));
        configure(&first, [&stable, &next], with(canary(10)));
        await_brake(&first);
        let mut client = client(&first);
        assert!((0..50).all(|_| send(&mut client, "").text() == "v1"));
        let canary = shown(&first);
        assert_eq!((&canary["weight"], &canary["canary_pool"]), (&json!(0.0), &json!("v2")));
        assert!(canary["braked_because"].as_str().unwrap().contains("failed in the canary"), "{canary}");
        eventually("the state on disk", || {
            let stored = first.client().desired().unwrap();
            stored.canary_state("shop").is_some_and(|state| state.braked.is_some()).then_some(())
        });
        drop(client);
        first.shutdown(Duration::from_secs(10)).unwrap();

        let text = std::fs::read_to_string(audit).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let brake = lines.iter().find(|line| line["action"] == "canary.brake").unwrap();
        assert_eq!((&brake["who"], &brake["objects"][0]["id"]), (&json!("ringway"), &json!("shop")), "{brake}");

        let second = gateway(driver, store(&folder.path().join("store")));
        assert_eq!((&shown(&second)["state"], &shown(&second)["weight"]), (&json!("braked"), &json!(0.0)));
        let mut client = self::client(&second);
        assert!((0..50).all(|_| send(&mut client, "").text() == "v1"), "after a restart");
        let resumed = api(&second).post(&format!("{PATH}/shop/resume"), &json!({})).is(200);
        assert_eq!((&resumed.json["state"], &resumed.json["weight"]), (&json!("steady"), &json!(10.0)));
        let again = api(&second).post(&format!("{PATH}/shop/resume"), &json!({}));
        assert_eq!((again.status, &again.json["code"]), (409, &json!("not_braked")));
        await_brake(&second);
    }

    fn a_dry_run_leaves_the_canary_alone(driver) {
        let (stable, next) = (Origin::named("v1"), failing());
        let gateway = gateway(driver, Box::new(Memory::new()));
        configure(&gateway, [&stable, &next], with(Canary { brake: BrakeMode::DryRun, ..canary(10) }));
        let mut client = client(&gateway);
        eventually("the dry run", || {
            for _ in 0..20 {
                send(&mut client, "");
            }
            shown(&gateway)["would_brake_since"].is_string().then_some(())
        });
        assert_eq!((&shown(&gateway)["state"], &shown(&gateway)["weight"]), (&json!("steady"), &json!(10.0)));
    }
}

//! Pools, circuit breakers, tenants and readiness of operators' resources; policies of registrations.

use std::sync::Arc;

use ringway_control::{
    BreakerState, BreakerStatus, CircuitScope, CircuitStatus, EjectionStatus, InstanceState, InstanceStatus,
};
use ringway_model::{
    AppId, Balancer, Change, EndpointSpec, FailurePolicy, Health, HealthCheck, HostPattern, InstanceId,
    OnAllUnhealthy, OperatorSet, Owner, PolicyId, PolicySettings, PolicySpec, PoolRef, PoolSpec, Replacement,
    RouteId, RouteSpec, Target, TenantId, Timestamp,
};
use serde_json::{Value as Json, json};

use super::Api;
use super::fake::State;

/// Pool `web` of the files with two endpoints, and a route of the tenant `acme` to it.
fn operator(state: &mut State) {
    let id = AppId::parse("web").unwrap();
    let endpoint = |(address, weight): (&str, u16)| {
        let target = Target::parse(&format!("http://{address}")).unwrap();
        let id = InstanceId::of_endpoint(&id, &target);
        EndpointSpec { id, target, weight, health_check: HealthCheck::default() }
    };
    let pool = PoolSpec {
        traffic: Default::default(),
        endpoints: [("10.0.1.1:80", 100), ("10.0.1.2:80", 50)].map(endpoint).to_vec(),
        balancer: Balancer::WeightedRoundRobin,
        upstream_tls: None,
        failures: FailurePolicy::default(),
        on_all_unhealthy: OnAllUnhealthy::default(),
        policy: None,
        id: id.clone(),
    };
    let host = HostPattern::parse("*.apps.example").unwrap();
    let to = PoolRef::Pool(AppId::parse("web").unwrap());
    let mut route = RouteSpec::new(RouteId::parse("apps").unwrap(), host, to);
    route.tenant = TenantId::parse("acme").ok();
    let policy = PolicySpec { id: PolicyId::parse("strict").unwrap(), settings: PolicySettings::default() };
    let set = OperatorSet {
        policies: vec![policy],
        pools: vec![pool],
        routes: vec![route.into()],
        ..OperatorSet::default()
    };
    let replacement = Replacement { owner: Owner::File, set: Arc::new(set), expect: None, version: None };
    state.make(&Change::ReplaceOwned(Arc::new(replacement)));
}

/// Marks an endpoint with an open circuit breaker.
fn eject(state: &mut State, id: &str) {
    let status = InstanceStatus {
        state: InstanceState::Ejected,
        health: Health::Unhealthy,
        breaker: BreakerStatus { state: BreakerState::Open, since: Some(Timestamp(7)), until: None },
        ..InstanceStatus::default()
    };
    state.statuses.insert(InstanceId::parse(id).unwrap(), status);
}

fn get(api: &Api, path: &str) -> Json {
    let reply = api.ask("GET", path, "");
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    reply.json()
}

#[test]
fn a_pool_shows_the_health_of_its_endpoints() {
    let api = Api::start();
    operator(&mut api.state());
    eject(&mut api.state(), "web@10.0.1.2:80");
    let pool = get(&api, "/api/v2/pools/web/health");
    assert_eq!((&pool["owner"], &pool["status"]), (&json!("file"), &json!("degraded")));
    assert_eq!((&pool["healthy_endpoints"], &pool["total_endpoints"]), (&json!(1), &json!(2)));
    assert_eq!(pool["balancer"], "weighted_round_robin");
    let endpoint = &pool["endpoints"][1];
    assert_eq!((&endpoint["url"], &endpoint["weight"]), (&json!("http://10.0.1.2:80"), &json!(50)));
    assert_eq!((&endpoint["state"], &endpoint["circuit_breaker"]), (&json!("ejected"), &json!("open")));
    let breakers = get(&api, "/api/v2/breakers?limit=1");
    assert_eq!((&breakers["total"], &breakers["next"]), (&json!(2), &json!("web@10.0.1.1:80")));
    let breakers = get(&api, "/api/v2/breakers?after=web@10.0.1.1:80");
    assert_eq!(
        breakers["breakers"][0],
        json!({
            "endpoint": "web@10.0.1.2:80", "pool": "web", "state": "open", "since": "1970-01-01T00:00:00.007Z",
            "until": null
        })
    );
}

#[test]
fn circuits_of_pools_and_routes_are_on_the_first_page_of_breakers() {
    let api = Api::start();
    operator(&mut api.state());
    let web = AppId::parse("web").unwrap();
    api.state().circuits = vec![CircuitStatus {
        scope: CircuitScope::Pool,
        name: "web".into(),
        pool: Some(web.clone()),
        has_slot: true,
        breaker: BreakerStatus {
            state: BreakerState::Open,
            since: Some(Timestamp(1)),
            until: Some(Timestamp(1_001)),
        },
        is_dry_run: false,
        successes: 10,
        failures: 30,
        trips: 2,
        would_trip: 0,
    }];
    api.state().ejections =
        vec![EjectionStatus { pool: web, has_slot: true, reason: "error_rate", ejections: 3, prevented: 1 }];
    let breakers = get(&api, "/api/v2/breakers?limit=1");
    assert_eq!(
        breakers["circuits"],
        json!([{
            "scope": "pool", "name": "web", "pool": "web", "state": "open", "since": "1970-01-01T00:00:00.001Z",
            "until": "1970-01-01T00:00:01.001Z", "dry_run": false, "successes": 10, "failures": 30, "trips": 2, "would_trip": 0
        }])
    );
    let ejections = json!([{ "pool": "web", "reason": "error_rate", "ejections": 3, "prevented": 1 }]);
    assert_eq!(breakers["ejections"], ejections);
    let next = get(&api, "/api/v2/breakers?after=web@10.0.1.1:80");
    assert_eq!((&next["circuits"], &next["ejections"]), (&json!([]), &json!([])));
    let other = get(&api, "/api/v2/breakers?app_id=other");
    assert_eq!((&other["circuits"], &other["ejections"]), (&json!([]), &json!([])));
}

#[test]
fn tenants_are_those_of_domains_and_of_routes() {
    let api = Api::start();
    operator(&mut api.state());
    eject(&mut api.state(), "web@10.0.1.1:80");
    eject(&mut api.state(), "web@10.0.1.2:80");
    for (domain, tenant) in [("a.example", "acme"), ("b.example", "acme"), ("c.example", "zeta")] {
        let body = json!({ "domain": domain, "app_id": "shop", "instance_id": "shop-1", "target": "http://10.0.2.1:80", "tenant_id": tenant });
        assert_eq!(api.ask("POST", "/api/register", &body.to_string()).status / 100, 2);
    }
    let page = get(&api, "/admin/tenants");
    assert_eq!((&page["total"], &page["next"]), (&json!(2), &Json::Null));
    let acme = &page["tenants"][0];
    assert_eq!((&acme["tenant_id"], &acme["status"]), (&json!("acme"), &json!("degraded")));
    assert_eq!(
        acme["routes"],
        json!([
            { "route_id": null, "host": "a.example", "path": null, "owner": "api", "pool": "shop" },
            { "route_id": null, "host": "b.example", "path": null, "owner": "api", "pool": "shop" },
            { "route_id": "apps", "host": "*.apps.example", "path": null, "owner": "file", "pool": "web" },
        ])
    );
    let statuses: Vec<_> =
        acme["backends"].as_array().unwrap().iter().map(|one| one["status"].clone()).collect();
    assert_eq!(statuses, [json!("unknown"), json!("unhealthy"), json!("unhealthy")]);
    assert_eq!((&acme["routes_total"], &acme["backends_total"]), (&json!(3), &json!(3)));
    let first = get(&api, "/admin/tenants?limit=1");
    assert_eq!((&first["next"], &first["total"]), (&json!("acme"), &json!(2)));
    let second = get(&api, "/admin/tenants?limit=1&after=acme");
    assert_eq!((&second["tenants"][0]["tenant_id"], &second["next"]), (&json!("zeta"), &Json::Null));
    assert_eq!(get(&api, "/admin/tenants?tenant_id=zeta")["total"], 1);
}

#[test]
fn readiness_names_its_checks_and_operators_backends() {
    let api = Api::start();
    operator(&mut api.state());
    eject(&mut api.state(), "web@10.0.1.2:80");
    let ready = get(&api, "/health/readiness");
    assert_eq!((&ready["status"], &ready["checks"]["configuration"]), (&json!("ready"), &json!("ok")));
    assert_eq!(
        ready["checks"]["backends"],
        json!([
            { "url": "http://10.0.1.1:80", "status": "unknown", "pool": "web" },
            { "url": "http://10.0.1.2:80", "status": "unhealthy", "pool": "web" },
        ])
    );
    api.state().is_ready = false;
    let reply = api.ask("GET", "/ready", "");
    assert_eq!((reply.status, &reply.json()["status"]), (503, &json!("not_ready")));
    let alive = get(&api, "/healthz");
    assert!(alive["status"] == "ok" && alive["timestamp"].as_str().unwrap().ends_with('Z'), "{alive}");
}

#[test]
fn apps_and_domains_take_policies_by_name_and_in_place() {
    let api = Api::start();
    operator(&mut api.state());
    let post = |path: &str, body: Json| api.ask("POST", path, &body.to_string());
    let inline = json!({ "timeout": "3s", "body_size_limit": 1000, "websocket": false });
    let made = post("/api/apps/register", json!({ "app_id": "shop", "policy": inline }));
    assert_eq!((made.status, &made.json()["policy"]), (201, &inline));
    // Absent keeps it, null removes it.
    assert_eq!(post("/api/apps/register", json!({ "app_id": "shop" })).json()["policy"], inline);
    assert_eq!(
        post("/api/apps/register", json!({ "app_id": "shop", "policy": null })).json()["policy"],
        Json::Null
    );
    let domain = |policy: Json| json!({ "domain": "shop.example", "app_id": "shop", "policy": policy });
    assert_eq!(post("/api/tenants/domains", domain(json!("strict"))).json()["policy"], "strict");
    let reply = post("/api/apps/register", json!({ "app_id": "shop", "policy": "lax" }));
    assert_eq!(reply.code(), "unknown_policy");
    let reply = post(
        "/api/apps/register",
        json!({ "app_id": "shop", "policy": { "timeout": "soon", "retries": 3 } }),
    );
    assert_eq!(reply.code(), "invalid_request");
}

#[test]
fn registrations_do_not_change_what_operators_own() {
    let api = Api::start();
    operator(&mut api.state());
    let post = |path: &str, body: Json| api.ask("POST", path, &body.to_string());
    let refused = |reply: super::Reply, code: &str| {
        assert_eq!((reply.status, reply.code().as_str()), (409, code), "{reply:?}");
        assert!(reply.json()["detail"].as_str().unwrap().contains("file"), "it names the owner: {reply:?}");
    };
    refused(post("/api/apps/register", json!({ "app_id": "web" })), "not_owned");
    refused(
        post(
            "/api/apps/instances",
            json!({ "app_id": "web", "instance_id": "x", "target": "http://10.0.0.1:80" }),
        ),
        "not_owned",
    );
    refused(api.ask("DELETE", "/api/apps/web", ""), "not_owned");
    refused(api.ask("DELETE", "/api/apps/instances/web@10.0.1.1:80", ""), "not_owned");
    let body = json!({ "app_id": "web", "url": "https://example.com/hook" });
    refused(post("/api/webhooks", body), "not_owned");
}

#[test]
fn canaries_are_listed_and_resumed() {
    let api = Api::start();
    api.state().canaries = vec![super::fake::canary("blog", false), super::fake::canary("shop", true)];
    let listed = get(&api, "/api/v2/traffic/canary");
    assert_eq!((&listed["total"], &listed["canaries"][0]["state"]), (&json!(2), &json!("steady")));
    let braked = &listed["canaries"][1];
    assert_eq!(
        (&braked["route"], &braked["state"], &braked["weight"]),
        (&json!("shop"), &json!("braked"), &json!(0.0))
    );
    assert_eq!(braked["window"]["canary"], json!({ "requests": 100, "errors": 60, "error_rate": 60.0 }));
    assert_eq!(braked["braked_because"], "it failed");

    let resume = |route: &str| api.ask("POST", &format!("/api/v2/traffic/canary/{route}/resume"), "");
    let resumed = resume("shop");
    assert_eq!((resumed.status, &resumed.json()["canary_pool"]), (200, &json!("v2")));
    let submitted = api.state().submissions.last().unwrap().change.clone();
    let ringway_model::Change::PutCanaryState(state) = submitted else { panic!("{submitted:?}") };
    assert_eq!((state.route.as_str(), &state.braked), ("shop", &None));
    let refused = |route: &str| (resume(route).status, resume(route).code());
    assert_eq!(refused("blog"), (409, "not_braked".to_owned()));
    assert_eq!(refused("other"), (404, "unknown_canary".to_owned()));
}

#[test]
fn an_endpoint_is_drained_and_reset_at_run_time() {
    let api = Api::start();
    api.state().app("app1");
    api.state().instance("app1", "i1");
    let path = "/api/v2/pools/app1/endpoints/i1";
    let drained = api.ask("PUT", path, r#"{"drain":true}"#);
    assert_eq!((drained.status, &drained.json()["weight"]), (200, &json!(0)));
    assert_eq!(drained.json()["override"]["drain"], json!(true));
    let shown = get(&api, "/api/v2/pools/app1/health");
    assert_eq!(shown["endpoints"][0]["override"]["drain"], json!(true));
    // Weights above one change nothing where endpoints take turns.
    let refused = api.ask("PUT", path, r#"{"weight":5}"#);
    assert_eq!((refused.status, &refused.json()["errors"][0]["pointer"]), (422, &json!("/weight")));
    assert_eq!(api.ask("PUT", path, r#"{"weight":70000}"#).status, 422);
    let reset = api.ask("DELETE", path, "");
    assert_eq!((reset.status, &reset.json()["override"]), (200, &json!(null)));
    assert_eq!(reset.json()["weight"], json!(1));
}

#[test]
fn an_update_of_an_endpoint_says_what_it_takes() {
    let api = Api::start();
    operator(&mut api.state());
    let path = "/api/v2/pools/web/endpoints/10.0.1.1:80";
    assert_eq!(api.ask("PUT", path, r#"{"drain":true,"reason":"disk"}"#).status, 200);
    for (body, message) in [
        ("{}", "is required, or drain; DELETE gives the endpoint its configured values again"),
        (
            r#"{"reason":"disk"}"#,
            "is required, or drain; DELETE gives the endpoint its configured values again",
        ),
        (r#"{"weight":-1}"#, "must be a whole number that is not negative"),
        (r#"{"weight":1.5}"#, "must be a whole number that is not negative"),
        (r#"{"weight":65536}"#, "must be 65535 at most"),
    ] {
        let refused = api.ask("PUT", path, body);
        let error = &refused.json()["errors"][0];
        assert_eq!(
            (refused.status, &error["pointer"], &error["message"]),
            (422, &json!("/weight"), &json!(message)),
            "{body}"
        );
    }
    let kept = get(&api, "/api/v2/pools/web")["endpoints"][0]["override"].clone();
    assert_eq!((&kept["drain"], &kept["reason"]), (&json!(true), &json!("disk")));
    // A weight ends a drain; either may be ended by its own value.
    assert_eq!(api.ask("PUT", path, r#"{"weight":7}"#).json()["weight"], 7);
    assert_eq!(api.ask("PUT", path, r#"{"weight":null}"#).json()["override"], Json::Null);
    let unknown = api.ask("PUT", "/api/v2/pools/web/endpoints/10.0.1.9:80", r#"{"drain":true}"#);
    assert_eq!((unknown.status, unknown.code()), (404, "unknown_instance".to_owned()));
    let detail = unknown.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("it has web@10.0.1.1:80, web@10.0.1.2:80"), "{detail}");
    let unknown = api.ask("PUT", "/api/v2/pools/wab/endpoints/x", r#"{"drain":true}"#).json();
    assert!(unknown["detail"].as_str().unwrap().contains("did you mean web?"), "{unknown}");
}

#[test]
fn pools_are_listed_and_shown_with_their_overrides() {
    let api = Api::start();
    operator(&mut api.state());
    api.state().app("shop");
    api.state().instance("shop", "shop-1");
    let web = InstanceId::parse("web@10.0.1.1:80").unwrap();
    let in_flight = ringway_control::InFlightStatus { requests: 3, tunnels: 1 };
    let status = |state| InstanceStatus { state, in_flight, ..InstanceStatus::default() };
    api.state().statuses.insert(web.clone(), status(InstanceState::Serving));
    let drained = api.ask("PUT", "/api/v2/pools/web/endpoints/10.0.1.1:80", r#"{"drain":true}"#);
    assert_eq!((drained.status, &drained.json()["state"]), (200, &json!("draining")));
    let page = get(&api, "/api/v2/pools");
    assert_eq!(
        (&page["total"], &page["pools"][0]["id"], &page["pools"][1]["id"]),
        (&json!(2), &json!("shop"), &json!("web"))
    );
    let pool = &get(&api, "/api/v2/pools?owner=file")["pools"][0];
    assert_eq!((&pool["id"], &pool["endpoints"]), (&json!("web"), &json!(2)));
    assert_eq!((&pool["in_flight"], &pool["overrides"]), (&json!(3), &json!(1)));
    assert_eq!(get(&api, "/api/v2/pools?owner=admin")["total"], 0);
    let first = get(&api, "/api/v2/pools?limit=1");
    assert_eq!(first["next"], "shop");
    assert_eq!(get(&api, "/api/v2/pools?after=shop")["pools"][0]["id"], "web");
    let details = get(&api, "/api/v2/pools/web");
    assert_eq!(details["endpoints"].as_array().unwrap().len(), 2);
    assert_eq!((&details["pool"]["overrides"], &details["endpoints"][0]["tunnels"]), (&json!(1), &json!(1)));
    let overridden = &get(&api, "/api/status")["overridden"];
    assert_eq!(
        (&overridden[0]["endpoint"], &overridden[0]["configured_weight"], &overridden[0]["weight"]),
        (&json!("web@10.0.1.1:80"), &json!(100), &json!(0))
    );
    // Of a drained endpoint that has failed, the failure is shown.
    api.state().statuses.insert(web, status(InstanceState::Unhealthy));
    assert_eq!(get(&api, "/api/v2/pools/web")["endpoints"][0]["state"], "unhealthy");
    assert_eq!(api.ask("GET", "/api/v2/pools/nothing-like-it", "").status, 404);
}

#[test]
fn a_weight_of_a_canary_is_set_and_ended_explicitly() {
    let api = Api::start();
    api.state().canaries = vec![super::fake::canary("blog", false), super::fake::canary("shop", true)];
    let set =
        |route: &str, body: &str| api.ask("POST", &format!("/api/v2/traffic/canary/{route}/weight"), body);
    let stored = || {
        let change = api.state().submissions.last().unwrap().change.clone();
        let Change::PutCanaryState(state) = change else { panic!("{change:?}") };
        state.set_weight.clone()
    };
    assert_eq!(set("blog", r#"{"weight":12.5,"reason":"a test"}"#).status, 200);
    let weight = stored().unwrap();
    assert_eq!((weight.weight.hundredths(), &*weight.reason, &*weight.by), (1_250, "a test", "loopback"));
    assert_eq!(set("blog", r#"{"weight":null}"#).status, 200);
    assert_eq!(stored(), None);
    let refused = |route: &str, body: &str| (set(route, body).status, set(route, body).code());
    assert_eq!(refused("blog", "{}"), (422, "invalid_request".to_owned()));
    assert_eq!(refused("blog", r#"{"weight":100.5}"#), (422, "invalid_request".to_owned()));
    assert_eq!(refused("shop", r#"{"weight":5}"#), (409, "canary_braked".to_owned()));
    assert_eq!(refused("other", r#"{"weight":5}"#), (404, "unknown_canary".to_owned()));
}

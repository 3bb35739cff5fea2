//! Traffic settings of configuration documents, on the real process: protocols, limits and weights of
//! endpoints, canaries over a crash, retry budgets, and the metrics and log fields of all of them.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::kit::h2::{CANCEL, H2};
use crate::kit::h2_origin::H2Origin;
use crate::kit::*;

const CANARIES: &str = "/api/v2/traffic/canary";

/// A process with one worker, and its configuration file. JSON is YAML.
struct Site {
    proxy: Proxy,
    file: PathBuf,
}

impl Site {
    fn start(driver: Driver, document: &Value) -> Self {
        let builder = Proxy::on(driver).env("PROXY_WORKERS", "1");
        let file = builder.folder().join("ringway.yaml");
        fs::write(&file, document.to_string()).unwrap();
        let log = builder.folder().join("access.log");
        let builder = builder.env("PROXY_CONFIG", file.to_str().unwrap());
        let proxy = builder.env("ACCESS_LOG", log.to_str().unwrap()).start();
        Self { proxy, file }
    }

    /// Saves the document, and waits until it is in force.
    fn save(&self, document: &Value) {
        let applied =
            || self.proxy.log().iter().filter(|line| line.contains("configuration applied")).count();
        let before = applied();
        let other = self.file.with_extension("new");
        fs::write(&other, document.to_string()).unwrap();
        fs::rename(&other, &self.file).unwrap();
        eventually("the document in force", || (applied() > before).then_some(()));
    }

    fn kill9(self) -> Self {
        Self { file: self.file, proxy: self.proxy.kill9().start() }
    }

    /// Lines of the access log.
    fn requests(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.file.with_file_name("access.log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Host `web.test`, whose requests go to the pool `web` with these members.
fn document(pool: Value) -> Value {
    json!({ "version": "v1", "routes": [{ "id": "web", "host": "web.test", "pool": "web" }], "pools": [with_id("web", pool)] })
}

fn with_id(id: &str, mut pool: Value) -> Value {
    pool["id"] = json!(id);
    pool
}

fn endpoints(origins: &[&Origin]) -> Value {
    origins.iter().map(|origin| json!({ "address": origin.address().to_string() })).collect()
}

/// An origin that answers with this status while the flag is set, else with 200.
fn failing_while(is_failing: &Arc<AtomicBool>, status: u16) -> Origin {
    let is_failing = is_failing.clone();
    Origin::http(move |_, connection| {
        connection.reply(if is_failing.load(Ordering::SeqCst) { status } else { 200 }, b"own");
        After::Keep
    })
}

fn failing(status: u16) -> Origin {
    failing_while(&Arc::new(AtomicBool::new(true)), status)
}

/// Bodies of this many responses, sorted, each once.
fn served_by(proxy: &Proxy, count: usize) -> Vec<String> {
    let mut client = proxy.client();
    let mut names: Vec<String> = (0..count).map(|_| client.get("web.test", "/").text()).collect();
    names.sort();
    names.dedup();
    names
}

/// The stable pool `web`, and the pool `next` with all or some of its requests.
fn canary(stable: &Origin, next: (&Origin, Value), percent: u32, brake: &str) -> Value {
    let (origin, mut members) = next;
    members["endpoints"] = endpoints(&[origin]);
    let mut document = document(json!({ "endpoints": endpoints(&[stable]) }));
    document["pools"].as_array_mut().unwrap().push(with_id("next", members));
    let plan = json!({ "route": "web", "canary_pool": "next", "canary_weight": percent, "brake": brake });
    document["traffic_management"] = json!([plan]);
    document
}

fn canary_state(proxy: &Proxy) -> Value {
    proxy.api().get(CANARIES).is(200).json["canaries"][0].clone()
}

on_both_drivers! {
    fn a_pool_speaks_the_protocol_of_its_setting(driver) {
        let h2 = H2Origin::new(|asked, replies| {
            replies.ok(asked.stream, b"two");
        });
        let address = h2.target().replace("h2c://", "");
        let site = Site::start(driver, &document(json!({ "protocol": "h2c", "endpoints": [{ "address": address }] })));
        assert_eq!(site.proxy.get("web.test", "/").text(), "two");
        assert_eq!(h2.requests().len(), 1);
        let h1 = Origin::named("one");
        for protocol in ["h1", "auto"] {
            site.save(&document(json!({ "protocol": protocol, "endpoints": endpoints(&[&h1]) })));
            assert_eq!(site.proxy.get("web.test", "/").text(), "one");
        }
    }

    fn an_endpoint_has_no_more_requests_than_its_maximum(driver) {
        let gate = Gate::new();
        let gated = |name: &'static str| {
            let own = gate.clone();
            Origin::http(move |request, connection| {
                if request.target() == "/slow" {
                    own.pass();
                }
                connection.reply(200, name.as_bytes());
                After::Keep
            })
        };
        let (one, two) = (gated("one"), gated("two"));
        let pool = |origins: &[&Origin]| document(json!({ "max_concurrent": 1, "endpoints": endpoints(origins) }));
        let site = Site::start(driver, &pool(&[&one, &two]));
        let mut held: Vec<Client> = Vec::new();
        for count in 1..=2 {
            let mut client = site.proxy.client();
            client.send("GET /slow HTTP/1.1\r\nHost: web.test\r\n\r\n");
            eventually("the request at an origin", || {
                (one.request_count() + two.request_count() == count).then_some(())
            });
            held.push(client);
        }
        assert_eq!((one.request_count(), two.request_count()), (1, 1), "never two at one of them");
        let mut client = site.proxy.client();
        let refused = client.get("web.test", "/");
        assert_eq!((refused.status(), refused.field("retry-after")), (503, Some("1")));
        assert_eq!(refused.json()["error"]["code"], "endpoints_busy");
        // Either of them may pass the gate first.
        held.iter().for_each(|_| gate.open());
        for client in &mut held {
            assert_eq!(client.response("GET").status(), 200);
        }
        assert_eq!(client.get("web.test", "/").status(), 200);
    }

    fn the_weight_of_an_endpoint_set_at_run_time_outlives_reloads_and_crashes(driver) {
        let (one, two) = (Origin::named("one"), Origin::named("two"));
        let text = document(json!({ "endpoints": endpoints(&[&one, &two]) }));
        let site = Site::start(driver, &text);
        assert_eq!(served_by(&site.proxy, 10), ["one", "two"]);
        let path = format!("/api/v2/pools/web/endpoints/{}", one.address());
        let body = json!({ "weight": 0, "reason": "a test" });
        site.proxy.api().put(&path, &body).is(200);
        assert_eq!(served_by(&site.proxy, 10), ["two"]);
        let mut other = text.clone();
        other["routes"].as_array_mut().unwrap().push(json!({ "id": "more", "host": "more.test", "pool": "web" }));
        site.save(&other);
        assert_eq!(served_by(&site.proxy, 10), ["two"], "after a reload");
        let site = site.kill9();
        assert_eq!(served_by(&site.proxy, 10), ["two"], "after a crash");
        site.proxy.api().delete(&path, &json!({}));
        assert_eq!(served_by(&site.proxy, 10), ["one", "two"]);
    }

    fn an_http2_request_that_is_reset_frees_its_place_in_the_queue(driver) {
        let gate = Gate::new();
        let own = gate.clone();
        let origin = Origin::http(move |request, connection| {
            if request.target().starts_with("/limited") {
                own.pass();
            }
            connection.reply(200, request.target().as_bytes());
            After::Keep
        });
        let proxy = h2::serving_as(Proxy::on(driver).env("PROXY_WORKERS", "1"), &origin);
        let config = json!({
            "routes": [{ "id": "web", "host": "app.test", "path_prefix": "/limited", "pool": "web" }],
            "pools": [{ "id": "web", "endpoints": endpoints(&[&origin]) }],
            "traffic_management": [{
                "route": "web",
                "overload_protection": { "max_concurrent": 1, "queue_size": 1, "queue_timeout": "60s" }
            }]
        });
        proxy.api().post("/api/v2/config/apply", &json!({ "config": config, "reason": "a test" })).is(200);
        let mut client = H2::connect(&proxy);
        let held = client.get("app.test", "/limited/held");
        eventually("the request at the origin", || (origin.request_count() == 1).then_some(()));
        let waiting = client.get("app.test", "/limited/reset");
        let refused = client.get("app.test", "/limited/refused");
        assert_eq!(client.response(refused).status(), 503, "the queue is full");
        client.reset(waiting, CANCEL);
        // Frames of one connection are processed in their order.
        let next = client.get("app.test", "/limited/next");
        let other = client.get("app.test", "/other");
        assert_eq!(client.response(other).status(), 200);
        assert!(!client.answer(next).is_over(), "it waits in the place of the other one");
        for stream in [held, next] {
            gate.open();
            assert_eq!(client.response(stream).status(), 200);
        }
        let targets: Vec<String> = origin.requests().iter().map(|request| request.target().to_owned()).collect();
        assert_eq!(targets, ["/limited/held", "/other", "/limited/next"]);
    }

    fn a_braked_canary_of_a_document_stays_braked_over_a_crash(driver) {
        let (stable, next) = (Origin::named("v1"), failing(500));
        let whole = json!({ "health": { "passive": { "dry_run": true } } });
        let site = Site::start(driver, &canary(&stable, (&next, whole), 50, "on"));
        let mut client = site.proxy.client();
        // It is compared every ten seconds.
        eventually_within(4 * SOON, "the brake", || {
            (0..20).for_each(|_| drop(client.get("web.test", "/")));
            (canary_state(&site.proxy)["state"] == "braked").then_some(())
        });
        assert_eq!(served_by(&site.proxy, 30), ["v1"]);
        // A change of something else is stored behind the state of the canary.
        site.proxy.api().register("app", "app-1", &stable.target());
        drop(client);
        let site = site.kill9();
        let state = canary_state(&site.proxy);
        assert_eq!((&state["state"], &state["weight"]), (&json!("braked"), &json!(0.0)), "{state}");
        assert_eq!(served_by(&site.proxy, 30), ["v1"], "after a crash");
    }

    fn a_canary_whose_circuit_is_open_is_served_by_the_stable_pool(driver) {
        let (stable, next) = (Origin::named("v1"), failing(500));
        let members = json!({ "circuit_breaker": { "failure_threshold": 3, "open_duration": "60s" } });
        let site = Site::start(driver, &canary(&stable, (&next, members), 100, "off"));
        let mut client = site.proxy.client();
        let statuses: Vec<u16> = (0..10).map(|_| client.get("web.test", "/").status()).collect();
        assert_eq!(statuses, [[500; 3].as_slice(), [200; 7].as_slice()].concat());
        assert_eq!(canary_state(&site.proxy)["fallbacks"], 7);
    }

    fn an_outage_is_not_multiplied_by_retries(driver) {
        const REQUESTS: usize = 200;
        let is_failing = Arc::new(AtomicBool::new(false));
        let (one, two) = (failing_while(&is_failing, 503), failing_while(&is_failing, 503));
        let mut text = document(json!({
            "endpoints": endpoints(&[&one, &two]), "health": { "passive": { "dry_run": true } }
        }));
        let retries = json!({ "max_attempts": 3, "budget_percent": 10, "min_per_second": 1 });
        text["routes"][0]["policy"] = json!({ "retries": retries });
        let site = Site::start(driver, &text);
        let attempts = || one.request_count() + two.request_count();
        let mut client = site.proxy.client();
        for _ in 0..REQUESTS {
            assert_eq!(client.get("web.test", "/").status(), 200);
        }
        assert_eq!(attempts(), REQUESTS);
        let tokens = || site.proxy.metric("proxy_retry_budget_tokens", &["route=\"web\""]);
        assert!(tokens() >= 10.0, "{}", tokens());
        is_failing.store(true, Ordering::SeqCst);
        for _ in 0..REQUESTS {
            assert_eq!(client.get("web.test", "/").status(), 503);
        }
        // A tenth of the successes, ten of the floor, and as many of it again in each further ten seconds.
        let retries = attempts() - 2 * REQUESTS;
        assert!((10..=20 + 10 + 30).contains(&retries), "{retries}");
        assert!(site.proxy.metric("proxy_retries_total", &["route=\"web\""]) >= 1.0);
    }

    fn the_circuit_of_a_refused_request_is_in_log_api_and_cli(driver) {
        let origin = failing(500);
        let breaker = json!({ "failure_threshold": 3, "open_duration": "60s" });
        let site = Site::start(driver, &document(json!({ "endpoints": endpoints(&[&origin]), "circuit_breaker": breaker })));
        let mut client = site.proxy.client();
        let statuses: Vec<u16> = (0..5).map(|_| client.get("web.test", "/").status()).collect();
        assert_eq!(statuses, [500, 500, 500, 503, 503]);
        let states = eventually("all lines", || {
            let lines = site.requests();
            let states: Vec<String> =
                lines.iter().filter_map(|line| Some(line["breaker_state"].as_str()?.to_owned())).collect();
            (states.len() == 5).then_some(states)
        });
        assert_eq!(states, ["closed", "closed", "closed", "open", "open"]);
        let circuit = site.proxy.api().get("/api/v2/breakers").is(200).json["circuits"][0].clone();
        assert_eq!((&circuit["state"], &circuit["name"]), (&json!("open"), &json!("web")));
        let (since, until) = (circuit["since"].as_str().unwrap(), circuit["until"].as_str().unwrap());
        assert!(since < until, "{since}, {until}");
        let shown = String::from_utf8(site.proxy.command(&["breakers"]).stdout).unwrap();
        assert!(shown.contains("SINCE") && shown.contains(&since.replace('T', " ")[..19]), "{since}: {shown}");
    }

    /// Half of two may be out, and none of one.
    fn an_ejected_endpoint_that_is_left_alone_is_reinstated_and_reported(driver) {
        let (good, bad) = (Origin::named("good"), failing(500));
        let site = Site::start(driver, &document(json!({ "endpoints": endpoints(&[&good, &bad]) })));
        let state = || {
            let breakers = site.proxy.api().get("/api/v2/breakers").is(200).json["breakers"].clone();
            let of_bad = format!("web@{}", bad.address());
            breakers.as_array().unwrap().iter().find(|one| one["endpoint"] == of_bad.as_str()).unwrap()["state"].clone()
        };
        let mut client = site.proxy.client();
        eventually("the ejection", || {
            client.get("web.test", "/");
            (state() == "open").then_some(())
        });
        site.save(&document(json!({ "endpoints": endpoints(&[&bad]) })));
        assert_eq!(state(), "closed");
        let line = eventually("a log line", || {
            site.proxy.log().into_iter().find(|line| line.contains("more endpoints were ejected"))
        });
        assert!(line.contains(&format!("web@{}", bad.address())), "{line}");
        assert_eq!(client.get("web.test", "/").status(), 500);
    }

    /// The first request after the ejection is the trickle's; the others are refused.
    fn a_trickle_to_a_dead_pool_is_counted(driver) {
        let (dead, other) = (Origin::named("dead"), Origin::named("other"));
        let ejected = json!({ "consecutive_failures": 1, "ejection_duration": "60s", "max_ejection_percent": 100 });
        let members = |origin: &Origin| json!({
            "endpoints": endpoints(&[origin]), "outlier_detection": ejected, "on_all_unhealthy": "trickle"
        });
        let mut text = document(members(&dead));
        text["pools"].as_array_mut().unwrap().push(with_id("other", members(&other)));
        text["routes"].as_array_mut().unwrap().push(json!({ "id": "other", "host": "other.test", "pool": "other" }));
        let site = Site::start(driver, &text);
        dead.kill();
        other.kill();
        let mut client = site.proxy.client();
        let trickled = || site.proxy.metric("proxy_trickle_requests_total", &[]);
        assert_eq!(trickled(), 0.0);
        // The first one finds out that the endpoint is dead.
        assert_eq!(client.get("web.test", "/").status(), 502);
        eventually("a request of the trickle", || {
            client.get("web.test", "/");
            (trickled() > 0.0).then_some(())
        });
        // Another pool's busy trickle takes nothing from this one, which recovers with its first request.
        client.get("other.test", "/");
        other.revive();
        eventually("the other pool's recovery", || {
            client.get("web.test", "/");
            (client.get("other.test", "/").text() == "other").then_some(())
        });
        assert!(trickled() >= 2.0);
    }
}

//! Apps that announce themselves: heartbeats, leases that run out, and processes that come back from the
//! dead.

use std::time::Duration;

use crate::kit::*;

on_both_drivers! {
    fn a_heartbeat_is_noted(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let api = proxy.api();
        assert_eq!(api.instance("app", "app-1")["last_heartbeat"], Value::Null);
        api.post("/api/apps/heartbeat", &json!({ "instance_id": "app-1" })).is(204);
        assert!(api.instance("app", "app-1")["last_heartbeat"].is_string());
        api.post("/api/apps/heartbeat", &json!({ "instance_id": "nobody" })).is(404);
    }

    fn an_instance_that_stops_its_heartbeats_is_deregistered(driver) {
        let (quiet, loud) = (Origin::named("quiet"), Origin::named("loud"));
        let proxy = Proxy::on(driver).env("HEARTBEAT_TIMEOUT", "2s").start();
        proxy.serve("app", "app.test", &quiet);
        let api = proxy.api();
        api.add("app", "loud", &loud.target());
        api.post("/api/apps/heartbeat", &json!({ "instance_id": "loud" })).is(204);
        // After its only heartbeat it first gets no more requests, then is deregistered.
        let lapsed = eventually("it leaves the rotation", || {
            let instance = api.instance("app", "loud");
            (instance["health"] == "unhealthy").then_some(instance)
        });
        assert!(lapsed["health_reason"].as_str().unwrap().starts_with("no heartbeat for "), "{lapsed}");
        eventually("the lease runs out", || {
            let ids: Vec<Value> =
                api.app("app")["instances"].as_array().unwrap().iter().map(|one| one["instance_id"].clone()).collect();
            (ids == ["app-1"]).then_some(())
        });
        // An instance without heartbeats depends on health checks alone.
        let mut client = proxy.client();
        for _ in 0..4 {
            assert_eq!(client.get("app.test", "/").text(), "quiet");
        }
        let late = api.post("/api/apps/heartbeat", &json!({ "instance_id": "loud" })).is(404);
        let detail = late.json["detail"].as_str().unwrap();
        assert!(detail.starts_with("loud was deregistered at 2"), "{detail}");
        assert!(detail.contains(": no heartbeat for ") && detail.ends_with("; register it again"), "{detail}");
        let log = proxy.log().join("\n");
        assert!(log.contains("no heartbeat: instance is deregistered"), "{log}");
    }

    fn a_heartbeat_brings_an_instance_back_at_once(driver) {
        let (other, origin) = (Origin::named("other"), Origin::named("a"));
        let proxy = Proxy::on(driver).env("HEARTBEAT_TIMEOUT", "3s").start();
        proxy.serve("app", "app.test", &other);
        let api = proxy.api();
        api.add("app", "app-2", &origin.target());
        let beat = json!({ "instance_id": "app-2" });
        api.post("/api/apps/heartbeat", &beat).is(204);
        eventually("it leaves the rotation", || (api.instance("app", "app-2")["health"] == "unhealthy").then_some(()));
        let mut client = proxy.client();
        for _ in 0..4 {
            assert_eq!(client.get("app.test", "/").text(), "other");
        }
        api.post("/api/apps/heartbeat", &beat).is(204);
        assert_ne!(api.instance("app", "app-2")["health"], "unhealthy");
        let mut names: Vec<String> = (0..4).map(|_| client.get("app.test", "/").text()).collect();
        names.sort();
        assert_eq!(names, ["a", "a", "other", "other"]);
    }

    fn heartbeats_keep_an_instance(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::on(driver).env("HEARTBEAT_TIMEOUT", "2s").start();
        proxy.serve("app", "app.test", &origin);
        let api = proxy.api();
        let other = Origin::named("b");
        api.add("app", "stops", &other.target());
        api.post("/api/apps/heartbeat", &json!({ "instance_id": "stops" })).is(204);
        // For as long as another one needs to run out twice.
        for _ in 0..2 {
            let again = api.post("/api/apps/instances", &json!({ "app_id": "app", "instance_id": "stops", "target": other.target() }));
            assert!([200, 201].contains(&again.status), "{again:?}");
            api.post("/api/apps/heartbeat", &json!({ "instance_id": "stops" })).is(204);
            eventually("the other lease runs out", || {
                api.post("/api/apps/heartbeat", &json!({ "instance_id": "app-1" })).is(204);
                (api.app("app")["instances"].as_array().unwrap().len() == 1).then_some(())
            });
        }
        assert_eq!(proxy.get("app.test", "/").text(), "a");
    }

    fn a_late_message_of_an_old_process_does_nothing(driver) {
        let (old, new) = (Origin::named("old"), Origin::named("new"));
        let proxy = Proxy::start(driver);
        let api = proxy.api();
        let first = api.register("app", "app-1", &old.target()).json["generation"].as_u64().expect("a generation");
        api.domain("app.test", "app", None);
        // The process is replaced by one with the same id.
        let body = json!({ "app_id": "app", "instance_id": "app-1", "target": new.target() });
        let answer = api.post("/api/apps/instances", &body);
        assert!([200, 201].contains(&answer.status), "{answer:?}");
        let second = answer.json["generation"].as_u64().expect("a generation");
        assert!(second > first);
        let stale = json!({ "instance_id": "app-1", "generation": first });
        api.delete("/api/apps/instances", &stale).is(409);
        api.post("/api/apps/heartbeat", &stale).is(409);
        assert_eq!(api.instance("app", "app-1")["last_heartbeat"], Value::Null);
        assert_eq!(proxy.get("app.test", "/").text(), "new");
        let current = json!({ "instance_id": "app-1", "generation": second });
        api.post("/api/apps/heartbeat", &current).is(204);
        api.delete("/api/apps/instances", &current).is(204);
        assert_eq!(proxy.get("app.test", "/").status(), 502);
    }

    fn registering_again_moves_the_instance(driver) {
        let (one, two) = (Origin::named("one"), Origin::named("two"));
        let proxy = Proxy::serving(driver, &one);
        let body = json!({ "app_id": "app", "app_name": "app", "instance": { "instance_id": "app-1", "target": two.target() } });
        let answer = proxy.api().post("/api/apps/register", &body);
        assert!([200, 201].contains(&answer.status), "{answer:?}");
        let mut client = proxy.client();
        for _ in 0..4 {
            assert_eq!(client.get("app.test", "/").text(), "two");
        }
    }

    fn leases_survive_a_restart_without_killing_anybody(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::on(driver).env("HEARTBEAT_TIMEOUT", "3s").start();
        proxy.serve("app", "app.test", &origin);
        proxy.api().post("/api/apps/heartbeat", &json!({ "instance_id": "app-1" })).is(204);
        let proxy = proxy.stop().start();
        // The proxy was down, not the app: missed heartbeats of that time do not deregister it.
        assert_eq!(proxy.get("app.test", "/").text(), "a");
        proxy.api().post("/api/apps/heartbeat", &json!({ "instance_id": "app-1" })).is(204);
    }
}

on_both_drivers! {
    fn health_checks_take_an_instance_out_and_back_in(driver) {
        let (good, bad) = (Origin::named("good"), Origin::named("bad"));
        let proxy = Proxy::start(driver);
        let api = proxy.api();
        api.register("app", "good", &good.target());
        api.add_checked("app", "bad", &bad.target());
        api.domain("app.test", "app", None);
        eventually("the instance is seen to be well", || (api.instance("app", "bad")["health"] == "healthy").then_some(()));
        bad.set_healthy(false);
        eventually("it is seen to be unwell", || (api.instance("app", "bad")["health"] == "unhealthy").then_some(()));
        let unwell = api.instance("app", "bad");
        assert!(unwell["health_streak"].as_u64().unwrap() >= 3, "{unwell}");
        assert!(unwell["health_reason"].as_str().unwrap().contains("503"), "{unwell}");
        let before = bad.request_count();
        let mut client = proxy.client();
        for _ in 0..10 {
            assert_eq!(client.get("app.test", "/").text(), "good");
        }
        assert_eq!(bad.request_count(), before);
        bad.set_healthy(true);
        eventually("it is well again", || (api.instance("app", "bad")["health"] == "healthy").then_some(()));
        let mut names: Vec<String> = (0..4).map(|_| client.get("app.test", "/").text()).collect();
        names.sort();
        assert_eq!(names, ["bad", "bad", "good", "good"]);
    }

    fn two_failed_checks_are_not_enough(driver) {
        // Every third check succeeds: the streak never reaches three.
        let count = std::sync::atomic::AtomicUsize::new(0);
        let origin = Origin::script(move |connection| {
            while let Ok(request) = connection.request() {
                if request.target() != "/health" {
                    connection.reply(200, b"ok");
                    continue;
                }
                let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                connection.remember(&request);
                connection.reply(if number % 3 == 2 { 200 } else { 500 }, b"");
            }
        });
        let proxy = Proxy::start(driver);
        let api = proxy.api();
        api.register("app", "first", &origin.target());
        api.add_checked("app", "app-1", &origin.target());
        eventually_within(Duration::from_secs(60), "nine checks", || {
            assert_ne!(api.instance("app", "app-1")["health"], "unhealthy");
            (origin.request_count() >= 9).then_some(())
        });
    }

    fn all_instances_unwell_is_a_502(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::start(driver);
        let api = proxy.api();
        let body = json!({ "app_id": "app", "instance": { "instance_id": "app-1", "target": origin.target(), "health_check": "/health" } });
        api.post("/api/apps/register", &body).is(201);
        api.domain("app.test", "app", None);
        origin.set_healthy(false);
        eventually("it is seen to be unwell", || (api.instance("app", "app-1")["health"] == "unhealthy").then_some(()));
        let answer = proxy.get("app.test", "/");
        assert_eq!(answer.status(), 502);
        assert!(answer.field("retry-after").is_some());
        assert_eq!(origin.request_count(), 0);
    }

    fn an_answer_that_is_no_http_is_no_health(driver) {
        let origin = Origin::script(|connection| {
            let _ = connection.request();
            connection.send("+PONG\r\n");
        });
        let proxy = Proxy::start(driver);
        let api = proxy.api();
        let body = json!({ "app_id": "app", "instance": { "instance_id": "app-1", "target": origin.target(), "health_check": "/health" } });
        api.post("/api/apps/register", &body).is(201);
        eventually("it is seen to be unwell", || (api.instance("app", "app-1")["health"] == "unhealthy").then_some(()));
    }
}

/// As Django and Rails are: a Host that is not its own is 400; and the proxy has to know a secret.
#[test]
fn a_health_check_has_the_host_headers_and_expectations_of_its_instance() {
    let origin = Origin::script(|connection| {
        while let Ok(request) = connection.request() {
            let is_ours = request.field("host") == Some("app.example");
            let is_known = request.field("authorization") == Some("Bearer correct-horse");
            match (is_ours, is_known) {
                (false, _) => connection.reply(400, b"DisallowedHost"),
                (true, false) => connection.reply(401, b""),
                (true, true) => connection.reply(200, b"database: ok"),
            }
        }
    });
    let proxy = Proxy::start(Driver::IoUring);
    let api = proxy.api();
    let check = |fields: Value| {
        let body = json!({ "app_id": "app", "instance": {
            "instance_id": "app-1", "target": origin.target(), "health_check": fields,
        } });
        let answer = api.post("/api/apps/register", &body);
        assert!([200, 201].contains(&answer.status), "{answer:?}");
    };
    let health = |expected: &str| {
        eventually(expected, || {
            let instance = api.instance("app", "app-1");
            (instance["health"] == expected).then_some(instance)
        })
    };
    check(json!({ "path": "/up?key=battery", "unhealthy_threshold": 1 }));
    let reason = health("unhealthy")["health_reason"].as_str().unwrap().to_owned();
    assert!(
        reason.starts_with("GET /up?…: status 400, expected 200-399 (its Host was 127.0.0.1:"),
        "{reason}"
    );

    let headers = json!({ "Authorization": "Bearer correct-horse" });
    let full = |body: &str| {
        json!({
            "path": "/up", "host": "app.example", "headers": headers, "unhealthy_threshold": 1,
            "expect": { "status": [200], "body": body },
        })
    };
    check(full("cache: ok"));
    assert_eq!(health("unhealthy")["health_reason"], "GET /up: body lacks \"cache: ok\"");
    check(full("database: ok"));
    let well = health("healthy");
    assert_eq!(well["health_reason"], Value::Null);
    assert_eq!(
        well["health_check"],
        json!({ "path": "/up", "host": "app.example", "headers": ["Authorization"], "unhealthy_threshold": 1,
                "expect": { "status": "200", "body": "database: ok" } })
    );
    // The probe is the same after a restart, and the secret appears only in the request.
    let log = proxy.log().join("\n");
    assert!(log.contains("status 400, expected 200-399"), "{log}");
    let proxy = proxy.stop().start();
    let api = proxy.api();
    eventually("healthy again", || (api.instance("app", "app-1")["health"] == "healthy").then_some(()));
    let log = log + &proxy.log().join("\n");
    assert!(!log.contains("horse") && !log.contains("battery"), "{log}");
}

//! `ringway pools`, and weights of canaries, at run time: drains, weights and their end, over reloads and
//! restarts.

use std::fs;
use std::process::Output;

use crate::kit::*;

/// Route to the pool `web` with two endpoints.
fn document(a: &Origin, b: &Origin) -> String {
    format!(
        "routes:\n  - {{id: web, host: a.test, pool: web}}\npools:\n  - id: web\n    \
         balancer: weighted_round_robin\n    endpoints:\n      - {{address: \"{}\", weight: 100}}\n      \
         - {{address: \"{}\", weight: 50}}\n",
        a.address(),
        b.address()
    )
}

/// A process with a configuration file.
struct Site {
    proxy: Proxy,
    file: std::path::PathBuf,
}

impl Site {
    fn start(driver: Driver, text: &str) -> Self {
        let builder = Proxy::on(driver);
        let file = builder.folder().join("config.yaml");
        fs::write(&file, text).unwrap();
        Self { proxy: builder.env("PROXY_CONFIG", file.to_str().unwrap()).start(), file }
    }

    fn restart(self) -> Self {
        Self { proxy: self.proxy.stop().start(), file: self.file }
    }

    /// Output of a command that succeeds.
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.proxy.command(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Messages of a command that ends with this code.
    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let Output { status, stderr, .. } = self.proxy.command(arguments);
        let text = String::from_utf8_lossy(&stderr).into_owned();
        assert_eq!(status.code(), Some(code), "{arguments:?}: {text}");
        text
    }

    /// Bodies of requests over one connection, counted by the origin with this name.
    fn served_by(&self, name: &str, requests: usize) -> usize {
        let mut client = self.proxy.client();
        (0..requests).filter(|_| client.get("a.test", "/").text() == name).count()
    }

    fn endpoint(&self, address: &str) -> Value {
        let pool = self.proxy.api().get("/api/v2/pools/web").is(200).json;
        let is_it = |endpoint: &&Value| endpoint["endpoint"] == format!("web@{address}");
        pool["endpoints"].as_array().unwrap().iter().find(is_it).unwrap().clone()
    }
}

/// Whether all connections that carried a request have been closed.
fn all_closed(origin: &Origin) -> bool {
    let connections = origin.connections();
    let mut used = connections.iter().filter(|record| record.text().contains("a.test")).peekable();
    assert!(used.peek().is_some(), "no request has come");
    used.all(|record| record.has_ended())
}

/// Origin that holds requests for `/slow` until the gate opens.
fn held(name: &'static str) -> (Origin, Gate, Gate) {
    let (arrived, answer) = (Gate::new(), Gate::new());
    let gates = (arrived.clone(), answer.clone());
    let origin = Origin::http(move |request, connection| {
        if request.target() == "/slow" {
            gates.0.open();
            gates.1.pass();
        }
        connection.reply(200, name.as_bytes());
        After::Keep
    });
    (origin, arrived, answer)
}

on_both_drivers! {
    fn a_drained_endpoint_loses_its_idle_connections_and_finishes_its_requests(driver) {
        let ((a, arrived, answer), b) = (held("a"), Origin::named("b"));
        let site = Site::start(driver, &document(&a, &b));
        let address = a.address().to_string();
        let listed = site.run(&["pools"]);
        assert!(listed.starts_with("POOL") && listed.contains("web   file   weighted_round_robin"), "{listed}");
        let shown = site.run(&["pools", "show", "web"]);
        assert!(shown.contains("healthy, 2 of 2 endpoints available"), "{shown}");
        assert!(site.served_by("a", 30) == 20, "weights of 100 and 50");

        // One request is in flight, and other connections are idle.
        let other = b.address().to_string();
        site.run(&["pools", "drain", "web", &other]);
        let mut client = site.proxy.client();
        client.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert!(arrived.pass());
        site.run(&["pools", "reset", "web", &other]);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                site.run(&["pools", "drain", "web", &address, "--wait", "--reason", "new disk"])
            });
            eventually("it drains", || (site.endpoint(&address)["state"] == "draining").then_some(()));
            let idle = |record: &std::sync::Arc<origin::Record>| {
                let text = record.text();
                text.contains("a.test") && !text.contains("/slow")
            };
            eventually("idle connections are closed", || {
                a.connections().iter().filter(|record| idle(record)).all(|record| record.has_ended()).then_some(())
            });
            assert_eq!(site.served_by("b", 20), 20, "no new requests");
            assert!(!waiting.is_finished());
            answer.open();
            assert_eq!(client.response("GET").text(), "a");
            let done = waiting.join().unwrap();
            assert_eq!(done, format!("web@{address}: drained, weight 0 (configured 100)\n"));
        });
        eventually("the last connection is closed", || all_closed(&a).then_some(()));
        let endpoint = site.endpoint(&address);
        assert_eq!((&endpoint["state"], &endpoint["override"]["reason"]), (&json!("drained"), &json!("new disk")));
        let status = site.run(&["status"]);
        assert!(status.contains("has weight 0, not the configured 100: drained by"), "{status}");

        // Over a restart, until it is reset.
        let site = site.restart();
        assert_eq!(site.served_by("b", 20), 20);
        assert_eq!(site.run(&["pools", "reset", "web", &address]), format!("web@{address}: serving, weight 100\n"));
        assert_eq!(site.served_by("a", 30), 20);
    }

    fn a_weight_replaces_the_configured_one_and_is_refused_with_a_reason(driver) {
        let (a, b) = (Origin::named("a"), Origin::named("b"));
        let site = Site::start(driver, &document(&a, &b));
        let (a_address, b_address) = (a.address().to_string(), b.address().to_string());
        let set = site.run(&["pools", "weight", "web", &a_address, "150"]);
        assert_eq!(set, format!("web@{a_address}: serving, weight 150 (configured 100)\n"));
        assert_eq!(site.served_by("a", 40), 30);
        // A save of the file changes nothing about it.
        site.run(&["config", "reload"]);
        assert_eq!(site.served_by("a", 40), 30);
        site.run(&["pools", "drain", "web", &b_address]);
        assert_eq!(site.served_by("a", 20), 20);
        let drain = |endpoint: &str| {
            let output = site.proxy.command(&["pools", "drain", "web", endpoint]);
            assert!(output.status.success(), "{output:?}");
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        assert_eq!(drain(&b_address), "", "another one is left");
        let warning = drain(&a_address);
        assert!(warning.contains("warning: no endpoint of web takes requests now"), "{warning}");
        let reset = site.run(&["pools", "reset", "web"]);
        assert_eq!(reset.lines().count(), 2, "{reset}");
        assert_eq!(site.served_by("a", 30), 20);
        assert_eq!(site.run(&["pools", "reset", "web", "--all"]), "no endpoint of web is overridden\n");

        let unknown = site.fails(3, &["pools", "show", "wob"]);
        assert!(unknown.contains("There is no such pool"), "{unknown}");
        assert!(unknown.contains("there is no pool or app wob; did you mean web?"), "{unknown}");
        let unknown = site.fails(3, &["pools", "drain", "web", "127.0.0.1:1"]);
        assert!(unknown.contains(&format!("it has web@{a_address}, web@{b_address}")) || unknown.contains(&format!("it has web@{b_address}, web@{a_address}")), "{unknown}");
        let empty = site.fails(2, &["pools", "drain", "web", &a_address, "--reason", " "]);
        assert!(empty.contains("must be one line, and not empty"), "{empty}");
    }

    fn an_override_ends_with_its_endpoint_and_that_is_logged(driver) {
        let (a, b) = (Origin::named("a"), Origin::named("b"));
        let site = Site::start(driver, &document(&a, &b));
        let address = b.address().to_string();
        site.run(&["pools", "drain", "web", &address, "--reason", "gone soon"]);
        let only_a = document(&a, &a).replacen(&format!("      - {{address: \"{}\", weight: 50}}\n", a.address()), "", 1);
        fs::write(&site.file, only_a).unwrap();
        eventually("the removal", || {
            let pool = site.proxy.api().get("/api/v2/pools/web").is(200).json;
            (pool["pool"]["endpoints"] == 1).then_some(())
        });
        eventually("its log line", || {
            site.proxy.log().into_iter().find(|line| line.contains("override of an endpoint dropped") && line.contains(&address))
        });
        fs::write(&site.file, document(&a, &b)).unwrap();
        eventually("the endpoint is back", || (site.served_by("b", 30) == 10).then_some(()));
        assert_eq!(site.endpoint(&address)["override"], Value::Null);
    }

    fn the_weight_of_a_canary_is_set_at_run_time_and_outlives_a_restart(driver) {
        let (stable, canary) = (Origin::named("stable"), Origin::named("canary"));
        let document = |extra: &str| format!(
            "routes:\n  - {{id: shop, host: a.test, pool: v1}}\npools:\n  \
             - {{id: v1, endpoints: [{{address: \"{}\"}}]}}\n  - {{id: v2, endpoints: [{{address: \"{}\"}}]}}\n\
             traffic_management:\n  - {{route: shop, canary_pool: v2, canary_weight: 10{extra}}}\n",
            stable.address(), canary.address()
        );
        let site = Site::start(driver, &document(""));
        let set = site.run(&["canary", "weight", "shop", "100", "--reason", "a test"]);
        assert!(set.contains("100 % in place of 10 %"), "{set}");
        assert_eq!(site.served_by("canary", 40), 40);
        let site = site.restart();
        assert_eq!(site.served_by("canary", 40), 40, "after a restart");
        site.run(&["canary", "weight", "shop", "0"]);
        assert_eq!(site.served_by("stable", 40), 40);
        let reset = site.run(&["canary", "weight", "shop", "--reset"]);
        assert!(reset.contains("weight         10 %") && !reset.contains("in place of"), "{reset}");
        let steps = document(", canary_steps: [{weight: 50, after: 1h}]");
        fs::write(&site.file, steps).unwrap();
        let stepping = eventually("it steps", || {
            let output = site.proxy.command(&["canary", "weight", "shop", "5"]);
            (output.status.code() == Some(4)).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
        });
        assert!(stepping.contains("has steps before it"), "{stepping}");
    }
}

/// Two processes with stores in one folder have one audit log.
#[test]
fn a_process_without_its_audit_log_is_degraded() {
    // In the folder of the process that stays.
    let second = Proxy::on(Driver::Epoll);
    let log = second.folder().join("audit.log");
    let first = Proxy::on(Driver::Epoll).env("PROXY_AUDIT_LOG", log.to_str().unwrap()).start();
    assert_eq!(first.ready()["degraded"], json!([]));
    let second = second.env("PROXY_AUDIT_LOG", log.to_str().unwrap()).start();
    let degraded = second.ready()["degraded"][0].as_str().unwrap();
    assert!(degraded.contains("audit.log cannot be written: another process writes it"), "{degraded}");
    let status = second.api().get("/api/status").is(200).json;
    assert_eq!(status["status"], "degraded");
    drop(first);
    eventually("it is written", || {
        (second.api().get("/api/status").is(200).json["status"] == "ready").then_some(())
    });
}

//! Events of an app are delivered to its webhook.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::kit::*;

/// Receiver that responds with 204.
fn receiver() -> (String, Receiver<(Vec<String>, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, got) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = Vec::new();
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
                head.push(line.trim_end().to_ascii_lowercase());
                line.clear();
            }
            let length = head.iter().find_map(|field| field.strip_prefix("content-length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            (&stream).write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
            if sender.send((head, serde_json::from_slice(&body).unwrap())).is_err() {
                return;
            }
        }
    });
    (url, got)
}

on_both_drivers! {
    fn webhooks_report_unhealthy_instances_and_the_last_one(driver) {
        let (url, got) = receiver();
        let next = || got.recv_timeout(Duration::from_secs(30)).expect("an event");
        let proxy = Proxy::start(driver);
        let origin = Origin::named("a");
        let api = proxy.api();
        api.post("/api/apps/register", &json!({ "app_id": "app1" })).is(201);
        let webhook = json!({ "app_id": "app1", "url": url, "secret": "correct-horse-battery" });
        api.post("/api/webhooks", &webhook).is(201);
        let domain = json!({ "domain": "one.test", "app_id": "app1", "tenant_id": "t1" });
        api.post("/api/tenants/domains", &domain).is(201);
        let instance = json!({ "app_id": "app1", "instance_id": "i1", "target": origin.target() });
        api.post("/api/apps/instances", &instance).is(201);
        let (head, event) = next();
        assert_eq!(event["event"], "instance_registered");
        assert_eq!((&event["app_id"], &event["details"]["instance_id"]), (&json!("app1"), &json!("i1")));
        assert!(head.iter().any(|field| field.starts_with("x-ringway-signature: sha256=")), "{head:?}");
        assert!(head.iter().any(|field| field.starts_with("x-ringway-event-id: evt_")), "{head:?}");

        api.delete("/api/apps/instances", &json!({ "instance_id": "i1" })).is(204);
        let two = || {
            let mut events = [next().1, next().1];
            events.sort_by_key(|event| event["event"].to_string());
            events
        };
        let [down, gone] = two();
        assert_eq!((&down["event"], &gone["event"]), (&json!("all_instances_down"), &json!("instance_deregistered")));
        assert_eq!((&down["domain"], &down["tenant_id"]), (&json!("one.test"), &json!("t1")));
        assert_eq!(down["details"]["total_instances"], 0);

        api.post("/api/apps/instances", &instance).is(201);
        let [back, up] = two();
        assert_eq!((&back["event"], &up["event"]), (&json!("instance_registered"), &json!("instances_recovered")));
        assert_eq!(up["domain"], "one.test");
    }

    fn a_deregistration_for_missed_heartbeats_is_reported(driver) {
        let (url, got) = receiver();
        let origin = Origin::named("a");
        let proxy = Proxy::on(driver).env("HEARTBEAT_TIMEOUT", "1s").start();
        proxy.serve("app", "app.test", &origin);
        proxy.api().post("/api/webhooks", &json!({ "app_id": "app", "url": url })).is(201);
        proxy.api().post("/api/apps/heartbeat", &json!({ "instance_id": "app-1" })).is(204);
        let next = || got.recv_timeout(Duration::from_secs(60)).expect("an event").1;
        assert_eq!(next()["event"], "all_instances_down", "first it is out of rotation");
        let gone = next();
        assert_eq!((&gone["event"], &gone["details"]["instance_id"]), (&json!("instance_deregistered"), &json!("app-1")));
        assert!(gone["details"]["reason"].as_str().unwrap().starts_with("no heartbeat for "), "{gone}");
    }

    fn a_failing_health_check_is_reported(driver) {
        let (url, got) = receiver();
        let origin = Origin::named("a");
        let proxy = Proxy::on(driver).env("HEALTH_CHECK_INTERVAL", "1s").start();
        proxy.serve("app", "app.test", &origin);
        proxy.api().post("/api/webhooks", &json!({ "app_id": "app", "url": url })).is(201);
        drop(origin);
        let (head, event) = got.recv_timeout(Duration::from_secs(60)).expect("an event");
        assert_eq!((&event["event"], &event["domain"]), (&json!("all_instances_down"), &json!("app.test")));
        assert_eq!((&event["details"]["healthy_instances"], &event["details"]["total_instances"]), (&json!(0), &json!(1)));
        assert!(!head.iter().any(|field| field.starts_with("x-ringway-signature")), "{head:?}");
    }
}

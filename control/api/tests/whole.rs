//! The API as a service of the real control plane, with a store in memory and without cores.

use std::net::TcpListener;
use std::time::Duration;

use ringway_control::{ControlSettings, Parts, inbox, start};
use ringway_net::DriverChoice;
use ringway_store::Memory;
use ringway_telemetry::Registry;
use serde_json::json;

use super::{Client, PATIENCE};
use crate::{Listeners, Settings, service};

#[test]
fn the_real_control_plane_is_served() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listeners = Listeners { tcp: vec![listener], ..Listeners::default() };
    let (inbox, _reports) = inbox(0).unwrap();
    let control = start(Parts {
        configuration: Default::default(),
        certificates: None,
        cache: None,
        resolver: None,
        store: Box::new(Memory::new()),
        links: Vec::new(),
        inbox,
        registry: Registry::new(),
        log: None,
        on_event: None,
        settings: ControlSettings {
            certificate_webhook: None,
            defaults: Default::default(),
            health: ringway_health::Defaults::default(),
            heartbeat_timeout: Duration::from_secs(30),
            hash_key: 7,
            driver: DriverChoice::Auto,
            version: "1.2.3",
            commit: "unknown",
            ..ControlSettings::default()
        },
        services: vec![service(listeners, Settings::default())],
    })
    .unwrap();

    let stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Client { stream, pending: Vec::new() };
    let key = [("Idempotency-Key", "k1")];
    let body = r#"{"domain":"app1.com","instance_id":"i1","target":"http://127.0.0.1:9","app_id":"app1","health_check":"/health"}"#;
    let reply = client.ask("POST", "/api/register", &key, body);
    assert_eq!(reply.status, 201, "{reply:?}");
    let generation = reply.json()["generation"].as_u64().unwrap();
    let again = client.ask("POST", "/api/register", &key, body);
    assert_eq!((again.status, again.field("idempotency-replayed")), (201, Some("true")));
    assert_eq!(client.ask("POST", "/api/routes", &key, body).status, 422);

    let heartbeat = format!(r#"{{"instance_id":"i1","generation":{generation}}}"#);
    assert_eq!(client.ask("POST", "/api/apps/heartbeat", &[], &heartbeat).status, 204);
    let instance =
        client.ask("POST", "/api/apps/get", &[], r#"{"app_id":"app1"}"#).json()["instances"][0].clone();
    assert_eq!(
        (&instance["circuit_breaker"], &instance["addresses"]),
        (&json!("closed"), &json!(["127.0.0.1:9"]))
    );
    assert!(instance["last_heartbeat"].is_string() && instance["lease_expires"].is_string(), "{instance}");

    let stale = client.ask("DELETE", "/api/apps/instances/i1?generation=0", &[], "");
    assert_eq!(stale.status, 409);
    let mismatch = client.ask("DELETE", "/api/apps/instances/i1", &[("If-Match", "\"999\"")], "");
    assert_eq!((mismatch.status, mismatch.field("etag")), (412, Some("\"1\"")));
    assert_eq!(client.ask("DELETE", "/api/apps/app1", &[], "").status, 409);
    assert_eq!(client.ask("DELETE", "/api/apps/instances/i1", &[], "").status, 204);
    assert_eq!(client.ask("POST", "/api/apps/heartbeat", &[], &heartbeat).status, 404);

    let status = client.ask("GET", "/api/status", &[], "").json();
    assert_eq!((&status["version"], &status["store"]["kind"]), (&json!("1.2.3"), &json!("memory")));
    let metrics = client.ask("GET", "/metrics", &[], "");
    assert!(String::from_utf8(metrics.body).unwrap().contains("# TYPE "));

    control.client.shutdown(PATIENCE).unwrap();
    control.join().unwrap();
    assert!(client.is_closed(), "the service ends with the plane");
}

//! Long polls: limited, and ended when their client disconnects.

use std::time::Instant;

use crate::limits;
use ringway_control::InstanceState;
use ringway_net::DriverChoice;
use serde_json::json;

use super::{Api, Client, PATIENCE};
use crate::{Listeners, Settings};

const DRIVERS: [DriverChoice; 2] = [DriverChoice::Auto, DriverChoice::Epoll];

/// A request that waits longer than any test does.
const POLL: &str =
    "GET /api/status/instances?instance_id=i1&wait=serving&timeout=5m HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A request whose drain does not end while a test runs.
fn drain() -> String {
    let body = r#"{"instance_id":"i1","drain":"60m"}"#;
    let length = body.len();
    format!(
        "DELETE /api/apps/instances HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// `i1` is joining, and no drain of it ever ends.
fn start(waits_max: usize, driver: DriverChoice) -> Api {
    let api = Api::with(Settings { waits_max, ..Settings::default() }, driver, Listeners::default());
    {
        let mut state = api.state();
        state.app("app1");
        state.instance("app1", "i1");
        state.stands("i1", InstanceState::Joining, None);
        state.drain_end = None;
    }
    api
}

/// Sends a request that has to wait, and returns when it does.
fn begin(api: &Api, request: &str) -> Client<std::net::TcpStream> {
    let looks = api.state().looks;
    let mut client = api.connect();
    client.send(request.as_bytes());
    let begun = Instant::now();
    // Between the first read and the permit the server's only thread does nothing else.
    while api.state().looks == looks {
        assert!(begun.elapsed() < PATIENCE, "the request does not arrive");
        std::thread::yield_now();
    }
    client
}

fn poll(api: &Api) -> super::Reply {
    let mut client = api.connect();
    client.send(POLL.as_bytes());
    client.reply(false)
}

#[test]
fn beyond_their_bound_long_polls_are_refused_and_all_else_is_served() {
    for driver in DRIVERS {
        let api = start(2, driver);
        let mut waiting = vec![begin(&api, POLL)];
        waiting.push(api.connect());
        waiting[1].send(drain().as_bytes());
        let begun = Instant::now();
        while api.state().desired.instance("i1").is_none_or(|instance| instance.draining.is_none()) {
            assert!(begun.elapsed() < PATIENCE, "the drain does not begin");
            std::thread::yield_now();
        }

        let reply = poll(&api);
        assert_eq!((reply.status, reply.field("retry-after")), (503, Some("1")));
        assert_eq!(reply.code(), "too_many_waits");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("without wait"), "{detail}");

        assert_eq!(api.ask("POST", "/api/apps/heartbeat", r#"{"instance_id":"i1"}"#).status, 204);
        assert_eq!(api.ask("GET", "/metrics", "").status, 200);
        let seen = api.ask("GET", "/api/status/instances?instance_id=i1", "");
        assert_eq!((seen.status, &seen.json()["instances"][0]["state"]), (200, &json!("joining")));
        // A request that need not wait takes no permit.
        let reached = "/api/status/instances?instance_id=i1&wait=joining&timeout=5m";
        assert_eq!(api.ask("GET", reached, "").status, 200);
        let now = "/api/status/instances?instance_id=i1&wait=serving&timeout=0s";
        assert_eq!(api.ask("GET", now, "").status, 504);

        api.state().health("i1", ringway_model::Health::Healthy);
        let mut first = waiting.remove(0);
        assert_eq!(first.reply(false).status, 200, "those who wait already go on");
    }
}

#[test]
fn beyond_their_bound_a_drain_goes_on_without_its_request() {
    let api = start(0, DriverChoice::Auto);
    let mut client = api.connect();
    client.send(drain().as_bytes());
    let reply = client.reply(false);
    let body = reply.json();
    assert_eq!(
        (reply.status, &body["instance_id"], &body["state"]),
        (202, &json!("i1"), &json!("draining")),
        "{reply:?}"
    );
    assert!(body["draining_until"].is_string() && body["detail"].as_str().unwrap().contains("continues"));
    assert_eq!(body["revision"], api.state().desired.revision().0);
    assert!(api.state().desired.instance("i1").unwrap().draining.is_some());
    assert_eq!(client.ask("GET", "/healthz", &[], "").status, 200, "the connection goes on");
}

#[test]
fn a_wait_ends_when_its_client_leaves() {
    for (driver, request) in
        DRIVERS.into_iter().flat_map(|driver| [(driver, POLL.to_owned()), (driver, drain())])
    {
        let api = start(1, driver);
        let client = begin(&api, &request);
        assert_eq!(poll(&api).status, 503, "the only place is taken");
        drop(client);
        // The permit is released after the close. A request that has waited gets 504.
        let begun = Instant::now();
        let path = "/api/status/instances?instance_id=i1&wait=serving&timeout=100ms";
        while api.ask("GET", path, "").status == 503 {
            assert!(begun.elapsed() < PATIENCE, "the place of a client that left is not free again");
            std::thread::yield_now();
        }
    }
}

#[test]
fn waits_do_not_outlive_the_server() {
    let settings = Settings { drain_timeout: PATIENCE * 100, ..Settings::default() };
    let mut api = Api::with(settings, DriverChoice::Auto, Listeners::default());
    {
        let mut state = api.state();
        state.app("app1");
        state.instance("app1", "i1");
        state.stands("i1", InstanceState::Joining, None);
    }
    let mut client = begin(&api, POLL);
    api.begin_stop();
    assert_eq!(client.reply(false).code(), "state_not_reached");
    assert!(client.is_closed());
    api.finish().unwrap();
}

#[test]
fn the_time_of_a_wait_is_bounded() {
    let api = start(1, DriverChoice::Auto);
    let path = "/api/status/instances?instance_id=i1&wait=joining&timeout=";
    assert_eq!(api.ask("GET", &format!("{path}{}s", limits::API_WAIT_MAX.as_secs()), "").status, 200);
    let reply = api.ask("GET", &format!("{path}{}s", limits::API_WAIT_MAX.as_secs() + 1), "");
    assert_eq!((reply.status, &reply.json()["detail"]), (422, &json!("timeout must be at most 300s")));
}

#[test]
fn most_connections_are_left_to_requests_that_do_not_wait() {
    let settings = Settings::default();
    assert!(settings.waits_max * 2 < settings.connections_max);
}

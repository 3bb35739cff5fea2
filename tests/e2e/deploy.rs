//! Rolling deploys: new instances join when healthy, old ones leave when their requests are done, and no
//! request fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::kit::h2::{H2, Secure, serving_as};
use super::kit::h2_origin::H2Origin;
use crate::kit::*;

const INSTANCES: &str = "/api/status/instances";

fn instance(proxy: &Proxy, id: &str) -> Option<Value> {
    let page = proxy.api().get(&format!("{INSTANCES}?instance_id={id}")).is(200).json;
    page["instances"].as_array().unwrap().first().cloned()
}

fn state(proxy: &Proxy, id: &str) -> String {
    instance(proxy, id).map_or_else(|| "gone".to_owned(), |view| view["state"].as_str().unwrap().to_owned())
}

fn ids(proxy: &Proxy) -> Vec<String> {
    let page = proxy.api().get(INSTANCES).is(200).json;
    let name = |view: &Value| view["instance_id"].as_str().unwrap().to_owned();
    page["instances"].as_array().unwrap().iter().map(name).collect()
}

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

/// App of these tests: responds with the length of the request body, echoes frames of WebSockets.
fn app(connection: &mut Connection) {
    while let Ok(request) = connection.request() {
        if request.lists("connection", "upgrade") {
            connection.send(ws::accepted());
            while connection.echo_frame() {}
            return;
        }
        let length = request.body.len().to_string();
        connection.reply(200, length.as_bytes());
    }
}

fn busy_app() -> Origin {
    Origin::forgetful(app)
}

fn h2c_app() -> H2Origin {
    H2Origin::new(|asked, replies| {
        let length = asked.body.len().to_string();
        replies.ok(asked.stream, length.as_bytes());
    })
}

/// Origin that opens one gate for each request and responds when the other opens.
fn gated() -> (Origin, Gate, Gate) {
    let (arrived, answer) = (Gate::new(), Gate::new());
    let gates = (arrived.clone(), answer.clone());
    let origin = Origin::http(move |_, connection| {
        gates.0.open();
        gates.1.pass();
        connection.reply(200, b"done");
        After::Keep
    });
    (origin, arrived, answer)
}

fn removal(id: &str, drain: &str) -> Value {
    json!({ "instance_id": id, "drain": drain })
}

/// One kind of requests, repeated while the function returns `true`.
type Kind = fn(&Secure, &mut dyn FnMut() -> bool) -> Result<(), String>;

/// Requests of many kinds until they are stopped; failures are kept.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    failed: mpsc::Receiver<String>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn on(proxy: &Arc<Secure>) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (fail, failed) = mpsc::channel();
        let kinds: [Kind; 5] = [keep_alive, uploads, websockets, streams, to_h2c];
        let threads = kinds
            .into_iter()
            .map(|kind| {
                let (proxy, stop, done, fail) = (proxy.clone(), stop.clone(), done.clone(), fail.clone());
                std::thread::spawn(move || {
                    let mut next = || {
                        done.fetch_add(1, Ordering::SeqCst);
                        !stop.load(Ordering::SeqCst)
                    };
                    if let Err(fault) = kind(&proxy, &mut next) {
                        let _ = fail.send(fault);
                    }
                })
            })
            .collect();
        Self { stop, done, failed, threads }
    }

    /// Waits for this number of further requests.
    fn go_on(&self, count: u64) {
        let until = self.done.load(Ordering::SeqCst) + count;
        eventually_within(3 * SOON, "requests go on", || {
            let over = self.threads.iter().any(std::thread::JoinHandle::is_finished);
            (over || self.done.load(Ordering::SeqCst) >= until).then_some(())
        });
    }

    fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
        let failed: Vec<String> = self.failed.try_iter().collect();
        assert!(failed.is_empty(), "of {} requests: {failed:?}", self.done.load(Ordering::SeqCst));
    }
}

fn answered(what: &str, answer: Result<Message, Fault>, body: &str) -> Result<(), String> {
    match answer {
        Ok(answer) if answer.status() == 200 && answer.text() == body => Ok(()),
        other => Err(format!("{what}: {other:?}")),
    }
}

fn keep_alive(proxy: &Secure, next: &mut dyn FnMut() -> bool) -> Result<(), String> {
    let mut client = proxy.client();
    while next() {
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        answered("GET", client.within(3 * SOON).patiently("GET"), "0")?;
    }
    Ok(())
}

/// By turns with a length, long enough to be spliced, and in chunks.
fn uploads(proxy: &Secure, next: &mut dyn FnMut() -> bool) -> Result<(), String> {
    let body = pattern(200_000);
    let sized =
        [b"POST /up HTTP/1.1\r\nHost: app.test\r\nContent-Length: 200000\r\n\r\n".to_vec(), body.clone()]
            .concat();
    let head = b"POST /up HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let pieces = [head, chunked(&body, 9_000)].concat();
    let mut client = proxy.client();
    while next() {
        for bytes in [&sized, &pieces] {
            client.send(bytes);
            answered("POST", client.within(3 * SOON).patiently("POST"), "200000")?;
        }
    }
    Ok(())
}

fn websockets(proxy: &Secure, next: &mut dyn FnMut() -> bool) -> Result<(), String> {
    while next() {
        let mut client = proxy.client();
        client.send(ws::upgrade("app.test", "/ws"));
        let answer = client.try_response_head("GET").map_err(|fault| format!("upgrade: {fault:?}"))?;
        if answer.status() != 101 {
            return Err(format!("upgrade: {answer:?}"));
        }
        for number in 0..4 {
            client.send(ws::masked(ws::TEXT, &[number]));
            match ws::read_frame(&mut client) {
                Ok((ws::TEXT, payload)) if payload == [number] => {}
                other => return Err(format!("frame: {other:?}")),
            }
        }
        client.send(ws::masked(ws::CLOSE, &1000_u16.to_be_bytes()));
        // Its echo, or the end: the test's app and the proxy may be ahead of one another.
        let _ = client.try_rest();
    }
    Ok(())
}

/// HTTP/2 to the proxy.
fn streams(proxy: &Secure, next: &mut dyn FnMut() -> bool) -> Result<(), String> {
    let mut client = H2::connect(proxy);
    while next() {
        let fields = client.fields("POST", "app.test", "/rpc", &[]);
        let stream = client.begin(&fields, false);
        client.within(3 * SOON).data(stream, b"12345", true);
        let answer = client.response(stream);
        if !(answer.is_whole() && answer.status() == 200 && answer.text() == "5") {
            return Err(format!("stream: {answer:?}"));
        }
    }
    Ok(())
}

/// HTTP/2 from the proxy on, a connection that all requests share.
fn to_h2c(proxy: &Secure, next: &mut dyn FnMut() -> bool) -> Result<(), String> {
    let mut client = proxy.client();
    while next() {
        client.send("POST /rpc HTTP/1.1\r\nHost: rpc.app.test\r\nContent-Length: 5\r\n\r\n12345");
        answered("POST to h2c", client.within(3 * SOON).patiently("POST"), "5")?;
    }
    Ok(())
}

on_both_drivers! {
    /// The former process ends the moment the command has: no request may be on its way there.
    fn ten_deploys_in_a_row_fail_no_request(driver) {
        let (mut app, mut rpc) = (busy_app(), h2c_app());
        let proxy = Arc::new(serving_as(Proxy::on(driver), &app));
        proxy.api().register("rpc", "rpc-1", &rpc.target());
        proxy.api().domain("rpc.app.test", "rpc", None);
        let load = Load::on(&proxy);
        for round in 0..10 {
            load.go_on(50);
            let (next_app, next_rpc) = (busy_app(), h2c_app());
            for (name, target) in [("app", next_app.target()), ("rpc", next_rpc.target())] {
                let output = proxy.command(&["deploy", "--app", name, "--target", &target, "--drain", "60s", "--json"]);
                assert!(output.status.success(), "round {round}: {}", said(&output));
                let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
                let removed = summary["removed"].as_array().unwrap();
                assert_eq!((removed.len(), &removed[0]["drained"]), (1, &json!(true)), "round {round}: {summary}");
            }
            drop(std::mem::replace(&mut app, next_app));
            drop(std::mem::replace(&mut rpc, next_rpc));
        }
        load.go_on(50);
        load.end();
        assert_eq!(ids(&proxy).len(), 2);
    }

    fn a_new_instance_gets_nothing_before_its_first_successful_probe(driver) {
        let (old, new) = (Origin::named("old"), Origin::named("new"));
        let proxy = Proxy::serving(driver, &old);
        new.set_healthy(false);
        proxy.api().add_checked("app", "app-2", &new.target());
        let joining = eventually("it is probed at once", || {
            instance(&proxy, "app-2").filter(|view| view["health_streak"].as_u64() > Some(1))
        });
        assert_eq!((&joining["state"], &joining["health"]), (&json!("joining"), &json!("unknown")), "{joining}");
        assert!(joining["state_reason"].as_str().unwrap().contains("503"), "{joining}");
        for _ in 0..20 {
            assert_eq!(proxy.get("app.test", "/").text(), "old");
        }
        assert_eq!(new.request_count(), 0);
        // A client that wants the result waits for it.
        let waiting = format!("{INSTANCES}?instance_id=app-2&wait=serving&timeout=");
        let refused = proxy.api().get(&format!("{waiting}1ms"));
        assert_eq!((refused.status, &refused.json["code"]), (504, &json!("state_not_reached")));
        assert!(refused.json["detail"].as_str().unwrap().contains("503"), "{}", refused.json);
        new.set_healthy(true);
        let page = proxy.api().get(&format!("{waiting}60s")).is(200).json;
        assert_eq!(page["instances"][0]["state"], "serving");
        eventually("it takes its turn", || (proxy.get("app.test", "/").text() == "new").then_some(()));
    }

    fn a_first_instance_takes_traffic_before_any_probe(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::start(driver);
        origin.set_healthy(false);
        proxy.api().register("app", "app-0", "http://127.0.0.1:9");
        proxy.api().remove("app-0");
        proxy.api().add_checked("app", "app-1", &origin.target());
        proxy.api().domain("app.test", "app", None);
        assert_eq!(proxy.get("app.test", "/").text(), "a");
    }

    fn a_drain_is_answered_when_the_last_request_is_done(driver) {
        let (old, arrived, answer) = gated();
        let proxy = Arc::new(Proxy::serving(driver, &old));
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert!(arrived.pass());
        let new = Origin::named("new");
        proxy.api().add("app", "app-2", &new.target());
        proxy.api().get(&format!("{INSTANCES}?instance_id=app-2&wait=serving")).is(200);
        let draining = {
            let proxy = proxy.clone();
            std::thread::spawn(move || proxy.api().delete("/api/apps/instances", &removal("app-1", "60s")))
        };
        let view = eventually("it drains", || instance(&proxy, "app-1").filter(|view| view["state"] == "draining"));
        assert_eq!((&view["requests_in_flight"], &view["websockets_open"]), (&json!(1), &json!(0)), "{view}");
        assert!(view["draining_until"].is_string());
        assert!(proxy.metric("proxy_endpoint_requests_in_flight", &["instance=\"app-1\""]) == 1.0);
        assert!(proxy.metric("ringway_instance_states", &["state=\"draining\""]) == 1.0);
        for _ in 0..20 {
            assert_eq!(proxy.get("app.test", "/").text(), "new");
        }
        assert!(!draining.is_finished());
        answer.open();
        assert_eq!(client.response("GET").text(), "done");
        let answered = draining.join().unwrap().is(200).json;
        assert_eq!((&answered["drained"], &answered["requests_left"]), (&json!(true), &json!(0)), "{answered}");
        assert_eq!((&answered["outcome"], state(&proxy, "app-1").as_str()), (&json!("removed"), "gone"));
        eventually("its idle connections are closed", || {
            old.connections().iter().all(|connection| connection.has_ended()).then_some(())
        });
    }

    /// After the drain timeout a request continues, a WebSocket is closed on both sides.
    fn the_end_of_the_drain_time_leaves_requests_alone_and_closes_websockets(driver) {
        let (arrived, answer) = (Gate::new(), Gate::new());
        let gates = (arrived.clone(), answer.clone());
        let old = Origin::script(move |connection| {
            while let Ok(request) = connection.request() {
                connection.remember(&request);
                if request.lists("connection", "upgrade") {
                    connection.send(ws::accepted());
                    while connection.echo_frame() {}
                    return;
                }
                gates.0.open();
                gates.1.pass();
                connection.reply(200, b"done");
            }
        });
        let proxy = Proxy::serving(driver, &old);
        let mut socket = proxy.client();
        ws::open(&mut socket, "app.test", "/");
        ws::ping_pong(&mut socket, "before");
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert!(arrived.pass());
        let answered = proxy.api().delete("/api/apps/instances", &removal("app-1", "100ms")).is(200).json;
        let left = (&answered["drained"], &answered["requests_left"], &answered["websockets_left"]);
        assert_eq!(left, (&json!(false), &json!(2), &json!(1)), "{answered}");
        let (opcode, payload) = ws::read_frame(&mut socket).unwrap();
        assert_eq!((opcode, payload), (ws::CLOSE, 1001_u16.to_be_bytes().to_vec()));
        let upgraded = old.connections().into_iter().find(|one| one.text().contains("Upgrade")).unwrap();
        eventually("the app is told, too", || {
            // A masked close frame of two bytes.
            upgraded.bytes().windows(2).any(|pair| pair == [0x88, 0x82]).then_some(())
        });
        answer.open();
        assert_eq!(client.response("GET").text(), "done");
    }

    fn websockets_outlast_a_removal_by_the_drain_time(driver) {
        let origins = [Origin::websocket_echo("a"), Origin::websocket_echo("b"), Origin::websocket_echo("c")];
        let proxy = Proxy::on(driver).env("PROXY_DRAIN_TIMEOUT", "3s").start();
        let names = ["one", "two", "three"];
        for (name, origin) in names.into_iter().zip(&origins) {
            proxy.serve(name, &format!("{name}.test"), origin);
        }
        proxy.api().domain("other.test", "one", None);
        let mut sockets: Vec<Client> = names.into_iter().map(|name| {
            let mut client = proxy.client();
            ws::open(&mut client, &format!("{name}.test"), "/");
            client
        }).collect();
        let mut unconcerned = proxy.client();
        ws::open(&mut unconcerned, "other.test", "/");
        // An instance with its app, a domain, and a domain that moves.
        let api = proxy.api();
        api.delete("/api/tenants/domains", &json!({ "domain": "one.test" })).is(204);
        api.put("/api/tenants/domains", &json!({ "domain": "two.test", "app_id": "one" })).is(200);
        api.remove("three-1");
        for socket in &mut sockets {
            ws::ping_pong(socket, "still here");
        }
        for socket in &mut sockets {
            let (opcode, payload) = ws::read_frame(socket.within(3 * SOON)).unwrap();
            assert_eq!((opcode, payload), (ws::CLOSE, 1001_u16.to_be_bytes().to_vec()));
        }
        ws::ping_pong(&mut unconcerned, "still here");
    }

    /// WebSockets over HTTP/2 are streams of a connection that stays open.
    fn a_websocket_over_http2_is_closed_after_the_drain(driver) {
        let origin = Origin::websocket_echo("a");
        let proxy = serving_as(Proxy::on(driver), &origin);
        let mut client = H2::connect(&proxy);
        let stream = client.begin(
            &[
                (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"),
                (":authority", "app.test"), (":path", "/"), ("sec-websocket-version", "13"),
            ],
            false,
        );
        client.until("the tunnel", |client| (client.answer(stream).status() == 200).then_some(()));
        client.data(stream, &ws::masked(ws::TEXT, b"x"), false);
        let echo = ws::frame(ws::TEXT, b"x");
        client.until("the echo", |client| (client.answer(stream).body == echo).then_some(()));
        let answered = proxy.api().delete("/api/apps/instances", &removal("app-1", "50ms")).is(200).json;
        assert_eq!(answered["websockets_left"], 1, "{answered}");
        let close = [echo, ws::frame(ws::CLOSE, &1001_u16.to_be_bytes())].concat();
        client.until("the close frame", |client| (client.answer(stream).body == close).then_some(()));
        let other = client.get("app.test", "/");
        assert_eq!(client.response(other).status(), 502, "the connection itself goes on");
    }

    fn a_drain_survives_a_restart_and_its_api_client(driver) {
        let (origin, arrived, _answer) = gated();
        let proxy = Proxy::serving(driver, &origin);
        let other = Origin::named("b");
        proxy.api().add("app", "app-2", &other.target());
        proxy.api().get(&format!("{INSTANCES}?instance_id=app-2&wait=serving")).is(200);
        let mut clients: Vec<Client> = (0..2).map(|_| proxy.client()).collect();
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        }
        assert!(arrived.pass());
        let body = removal("app-1", "3600s").to_string();
        let mut caller = Client::connect(proxy.api_address());
        caller.send(format!("DELETE /api/apps/instances HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", proxy.api_address(), body.len()));
        eventually("it drains", || (state(&proxy, "app-1") == "draining").then_some(()));
        drop(caller);
        assert_eq!(state(&proxy, "app-1"), "draining");
        let proxy = proxy.kill9().start();
        eventually("it is removed after the restart", || (state(&proxy, "app-1") == "gone").then_some(()));
        assert_eq!(proxy.get("app.test", "/").text(), "b");
    }

    fn a_new_registration_ends_a_drain(driver) {
        let (origin, arrived, answer) = gated();
        let proxy = Arc::new(Proxy::serving(driver, &origin));
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert!(arrived.pass());
        let draining = {
            let proxy = proxy.clone();
            std::thread::spawn(move || proxy.api().delete("/api/apps/instances", &removal("app-1", "60s")))
        };
        eventually("it drains", || (state(&proxy, "app-1") == "draining").then_some(()));
        assert_eq!(proxy.get("app.test", "/").status(), 502, "nothing new, though no other instance is there");
        let body = json!({ "app_id": "app", "instance_id": "app-1", "target": origin.target() });
        proxy.api().post("/api/apps/instances", &body).is(200);
        let refused = draining.join().unwrap();
        assert_eq!((refused.status, &refused.json["code"]), (409, &json!("stale_generation")));
        answer.open();
        assert_eq!(client.response("GET").text(), "done");
        answer.open();
        assert_eq!(proxy.get("app.test", "/").text(), "done");
    }

    fn a_version_that_never_becomes_healthy_changes_nothing(driver) {
        let old = Origin::named("old");
        let proxy = Proxy::serving(driver, &old);
        let before = proxy.api().get("/api/apps").is(200).json["apps"].clone();
        let sick = Origin::named("sick");
        sick.set_healthy(false);
        for (app, host) in [("app", "new.app.test"), ("fresh", "fresh.test")] {
            let output = proxy.command(&[
                "deploy", "--app", app, "--target", &sick.target(), "--host", host, "--health-check", "/health",
                "--timeout", "1s",
            ]);
            let text = said(&output);
            assert_eq!(output.status.code(), Some(1), "{text}");
            for words in ["not serving within 1s", "joining", "503", "rolled back", "nothing else has changed"] {
                assert!(text.contains(words), "{words} in {text}");
            }
        }
        assert_eq!(ids(&proxy), ["app-1"]);
        let after = proxy.api().get("/api/apps").is(200).json["apps"].clone();
        assert_eq!(after[0]["app_id"], before[0]["app_id"]);
        assert_eq!(after.as_array().unwrap().len(), 1, "{after}");
        let domains = proxy.api().get("/api/tenants/domains").is(200).json;
        assert_eq!(domains["total"], 1, "{domains}");
        assert_eq!(proxy.get("app.test", "/").text(), "old");
        assert_eq!(sick.request_count(), 0);
    }

    fn a_deploy_of_a_new_app_registers_all_of_it(driver) {
        let origins = [Origin::named("a"), Origin::named("b")];
        let proxy = Proxy::start(driver);
        let [one, two] = [origins[0].target(), origins[1].target()];
        let arguments = [
            "deploy", "--app", "shop", "--target", &one, "--target", &two, "--host", "shop.test", "--health-check", "/health",
        ];
        let output = proxy.command(&arguments);
        assert!(output.status.success(), "{}", said(&output));
        assert!(said(&output).contains("shop is served by shop@127.0.0.1:"), "{}", said(&output));
        assert!(["a", "b"].contains(&proxy.get("shop.test", "/").text().as_str()));
        // The same once more has nothing to do.
        let revision = proxy.api().get("/api/apps").is(200).json["revision"].clone();
        let output = proxy.command(&arguments);
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(proxy.api().get("/api/apps").is(200).json["revision"], revision);
    }

    /// An interrupted deploy is completed by the same command.
    fn a_deploy_that_was_interrupted_is_repeated(driver) {
        for step in ["registered", "unhealthy", "restarted", "draining", "removed"] {
            let (old, new) = (Origin::named("old"), Origin::named("new"));
            let mut proxy = Proxy::serving(driver, &old);
            let id = new.target().replace("http://", "app@");
            if step == "unhealthy" {
                new.set_healthy(false);
            }
            proxy.api().add_checked("app", &id, &new.target());
            match step {
                "unhealthy" => {
                    eventually("it is unhealthy", || (state(&proxy, &id) == "unhealthy").then_some(()));
                    new.set_healthy(true);
                }
                "restarted" => proxy = proxy.kill9().start(),
                "draining" | "removed" => {
                    proxy.api().get(&format!("{INSTANCES}?instance_id={id}&wait=serving")).is(200);
                    proxy.api().delete("/api/apps/instances", &removal("app-1", "10s")).is(200);
                }
                _ => {}
            }
            let output = proxy.command(&["deploy", "--app", "app", "--target", &new.target(), "--health-check", "/health"]);
            assert!(output.status.success(), "{step}: {}", said(&output));
            assert_eq!(ids(&proxy), [id.as_str()], "{step}");
            assert_eq!(proxy.get("app.test", "/").text(), "new", "{step}");
        }
    }

    fn a_second_deploy_is_refused_while_the_first_one_joins(driver) {
        let (old, first, second) = (Origin::named("old"), Origin::named("first"), Origin::named("second"));
        let proxy = Arc::new(Proxy::serving(driver, &old));
        first.set_healthy(false);
        let deploying = {
            let (proxy, target) = (proxy.clone(), first.target());
            std::thread::spawn(move || {
                proxy.command(&["deploy", "--app", "app", "--target", &target, "--health-check", "/health", "--timeout", "60s"])
            })
        };
        let id = first.target().replace("http://", "app@");
        eventually("the first joins", || (state(&proxy, &id) == "joining").then_some(()));
        let output = proxy.command(&["deploy", "--app", "app", "--target", &second.target()]);
        assert_eq!(output.status.code(), Some(4), "{}", said(&output));
        assert!(said(&output).contains("another deploy of app app is in progress") && said(&output).contains(&id), "{}", said(&output));
        first.set_healthy(true);
        let output = deploying.join().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(ids(&proxy), [id]);
        assert_eq!(second.request_count(), 0);
    }

    fn an_instance_is_replaced_by_one_command(driver) {
        let (old, new) = (Origin::named("old"), Origin::named("new"));
        let proxy = Proxy::serving(driver, &old);
        let output = proxy.command(&["instances", "replace", "app-1", "app-2", "--target", &new.target(), "--wait"]);
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(ids(&proxy), ["app-2"]);
        assert_eq!(proxy.get("app.test", "/").text(), "new");
        let output = proxy.command(&["instances", "replace", "nobody", "app-3", "--target", &old.target(), "--wait"]);
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        let output = proxy.command(&["instances", "remove", "app-2", "--drain", "10s"]);
        assert!(output.status.success() && said(&output).contains("drained in"), "{}", said(&output));
        assert_eq!(ids(&proxy), [""; 0]);
    }
}

/// Ctrl-C takes back what was registered.
#[test]
fn an_interrupted_command_takes_back_what_it_registered() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let proxy = Proxy::serving(Driver::Epoll, &old);
    new.set_healthy(false);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["deploy", "--app", "app", "--target", &new.target(), "--health-check", "/health"])
        .args(["--api", &proxy.api_address().to_string(), "--timeout", "10m"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let id = new.target().replace("http://", "app@");
    eventually("it joins", || (state(&proxy, &id) == "joining").then_some(()));
    let pid = i32::try_from(command.id()).unwrap();
    // SAFETY: a plain system call; the child was not waited for yet, so that its id is still its own.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGINT) }, 0);
    let status = eventually_within(Duration::from_secs(60), "it ends", || command.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
    assert_eq!(ids(&proxy), ["app-1"]);
}

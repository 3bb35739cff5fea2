//! The library embedded in another program: registration by calls, middleware, and the cost of a panic.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use ringway::middleware::{
    BodyError, BodyTransform, Flow, LocalReply, Middleware, Pending, RequestCtx, ResponseCtx,
};
use ringway::telemetry::{Event, Observer};
use ringway::{Admin, DataSettings, DriverChoice, Gateway, Handle, Policy};

use crate::kit::*;

/// The example, with its `main`.
#[path = "../../examples/middleware.rs"]
#[allow(dead_code)]
mod middleware_example;

/// Starts a gateway in this process; it is not a `Proxy`, for there is no process of its own.
fn gateway(driver: Driver, build: impl FnOnce(ringway::Builder) -> ringway::Builder) -> Handle {
    build(builder(driver)).spawn().unwrap()
}

fn builder(driver: Driver) -> ringway::Builder {
    let driver = match driver {
        Driver::IoUring => DriverChoice::IoUring,
        Driver::Epoll => DriverChoice::Epoll,
    };
    Gateway::builder().http(vec!["127.0.0.1:0".parse().unwrap()]).driver(driver).workers(2).pin(false)
}

fn client(gateway: &Handle) -> Client {
    Client::connect(gateway.http_addresses()[0])
}

/// Stage for plugins.
struct Stamp;

impl Middleware for Stamp {
    fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        request.set("X-Stamp", b"yes").unwrap();
        Flow::Continue
    }
}

struct House;

impl Middleware for House {
    fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        match request.path() {
            "/panic" => panic!("a mistake in a middleware"),
            "/teapot" => return Flow::Reply(LocalReply::error(418)),
            "/hello" => {
                let reply = LocalReply::new(203, &b"hello"[..]);
                return Flow::Reply(reply.with_field("X-Own", b"1").unwrap());
            }
            "/wait" | "/denied" | "/stuck" => return Flow::Wait,
            _ => {}
        }
        let app = request.app();
        request.set("X-House", app.as_bytes()).unwrap();
        request.remove("Cookie");
        Flow::Continue
    }

    fn wait<'a>(&'a self, request: &'a mut RequestCtx<'_>) -> Pending<'a> {
        Box::pin(async move {
            yield_once().await;
            request.set("X-House", b"waited").unwrap();
            match request.path() {
                "/denied" => ControlFlow::Break(LocalReply::error(401)),
                "/stuck" => std::future::pending().await,
                _ => ControlFlow::Continue(()),
            }
        })
    }

    fn on_response(&self, response: &mut ResponseCtx<'_>) {
        let status = response.status().to_string();
        response.set("X-Seen", status.as_bytes()).unwrap();
        response.set("Date", b"Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
    }
}

/// Changes bodies in both directions: the request's to upper case, the response's gets a last line.
struct Bodies;

impl Middleware for Bodies {
    fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        request.transform_body(UpperCase);
        match request.path() {
            "/refused" => Flow::Reply(LocalReply::new(403, &b"no"[..])),
            _ => Flow::Continue,
        }
    }

    fn on_response(&self, response: &mut ResponseCtx<'_>) {
        response.transform_body(LastLine);
    }
}

struct UpperCase;

impl BodyTransform for UpperCase {
    fn on_data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
        if data.contains(&b'!') {
            return Err(BodyError { reason: "exclamation" });
        }
        out.extend(data.iter().map(u8::to_ascii_uppercase));
        Ok(())
    }
}

struct LastLine;

impl BodyTransform for LastLine {
    fn on_data(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
        out.extend_from_slice(data);
        Ok(())
    }

    fn on_end(&mut self, out: &mut Vec<u8>) -> Result<(), BodyError> {
        out.extend_from_slice(b" (end)");
        Ok(())
    }
}

/// Ready when it is polled for the second time.
async fn yield_once() {
    let mut is_ready = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut is_ready, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[derive(Default)]
struct Counts {
    exchanges: AtomicUsize,
    panics: AtomicUsize,
}

impl Observer for Counts {
    fn on_event(&self, event: &Event<'_>) {
        match event {
            Event::Exchange(_) => self.exchanges.fetch_add(1, Ordering::SeqCst),
            Event::Panicked(_) => self.panics.fetch_add(1, Ordering::SeqCst),
            _ => 0,
        };
    }
}

on_both_drivers! {
    fn the_example_of_a_stage_does_what_its_page_says(driver) {
        let gateway = middleware_example::start(builder(driver)).unwrap();
        let ask = |fields: &str| {
            let mut client = client(&gateway);
            client.send(format!("GET / HTTP/1.1\r\nHost: app.localhost\r\n{fields}\r\n"));
            client.response("GET")
        };
        let none = ask("");
        assert_eq!((none.status(), none.json()["error"]["code"].as_str()), (401, Some("no_key")));
        assert!(none.field("x-visit").is_none(), "the stage that replies has not let the request pass");
        assert_eq!(ask("X-Key: guess\r\n").status(), 403);
        let admitted = ask("X-Key: open sesame\r\nX-Visitor: somebody\r\n");
        assert_eq!((admitted.status(), admitted.text().as_str()), (200, "hello, ali baba\n"));
        assert_eq!(admitted.field("x-served-for"), Some("ali baba"));
        assert!(admitted.field("x-visit").is_some_and(|visit| visit.parse::<u64>().is_ok_and(|us| us > 0)));
        gateway.shutdown(Duration::from_secs(5)).unwrap();
    }

    fn a_gateway_lives_in_another_process(driver) {
        let origin = Origin::named("a");
        let gateway = gateway(driver, |builder| builder);
        gateway.register_app("app", &origin.target()).unwrap();
        gateway.register_domain("customer.test", "app", Some("tenant-123")).unwrap();
        assert_eq!(client(&gateway).get("customer.test", "/").text(), "a");
        assert_eq!(origin.one_request().field("x-tenant-id"), Some("tenant-123"));
        assert!(gateway.register_app("app", "nonsense").is_err());
        assert!(gateway.register_domain("other.test", "nobody", None).is_err());
        assert!(gateway.shutdown(Duration::from_secs(10)).unwrap(), "every connection ended by itself");
    }

    fn middleware_edits_and_answers_requests(driver) {
        let origin = Origin::named("a");
        let gateway = gateway(driver, |builder| builder.middleware(House));
        gateway.register_app("app", &origin.target()).unwrap();
        gateway.register_domain("app.test", "app", None).unwrap();
        let mut client = client(&gateway);
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\nCookie: a=b\r\nX-House: forged\r\n\r\n");
        let answer = client.response("GET");
        assert_eq!(answer.field("x-seen"), Some("200"));
        assert_eq!(answer.all("date"), ["Sun, 06 Nov 1994 08:49:37 GMT"]);
        let request = origin.one_request();
        assert_eq!(request.field("x-house"), Some("app"));
        assert!(request.all("cookie").is_empty());
        assert_eq!(client.get("app.test", "/teapot").status(), 418);
        let own = client.get("app.test", "/hello");
        assert_eq!((own.status(), own.field("x-own"), own.text()), (203, Some("1"), "hello".to_owned()));
        assert_eq!(client.get("app.test", "/denied").status(), 401);
        assert_eq!(origin.request_count(), 1);
        assert_eq!(client.get("app.test", "/wait").status(), 200);
        // Local replies pass the response stages of the rule: here a failure after the request stages.
        gateway.register_app("gone", "http://127.0.0.1:1").unwrap();
        gateway.register_domain("gone.test", "gone", None).unwrap();
        let failure = client.get("gone.test", "/");
        assert_eq!((failure.status(), failure.field("x-seen")), (502, Some("502")));
        assert_eq!(failure.all("date"), ["Sun, 06 Nov 1994 08:49:37 GMT"]);
        assert_eq!(origin.requests()[1].field("x-house"), Some("waited"));
    }

    fn a_middleware_that_never_decides_gets_its_request_a_504(driver) {
        let origin = Origin::named("a");
        let response_head_timeout = Duration::from_millis(200);
        let policy = Policy { response_head_timeout, ..Policy::default() };
        let settings = DataSettings { policy, ..DataSettings::default() };
        let gateway = gateway(driver, |builder| builder.data(settings).middleware(House));
        gateway.register_app("app", &origin.target()).unwrap();
        gateway.register_domain("app.test", "app", None).unwrap();
        let stuck = client(&gateway).get("app.test", "/stuck");
        assert_eq!(stuck.status(), 504);
        assert!(stuck.text().contains("middleware_timeout"), "{}", stuck.text());
        assert_eq!(origin.request_count(), 0);
    }

    fn a_plugin_may_be_a_stage_of_the_program(driver) {
        let origin = Origin::named("a");
        let gateway = gateway(driver, |builder| {
            let addresses = vec!["127.0.0.1:0".parse().unwrap()];
            builder.builtin("stamp", Stamp).admin(Admin { addresses, ..Admin::default() })
        });
        let api = Api::new(gateway.admin_addresses()[0]);
        let config = |name: &str| json!({ "config": {
            "plugins": [{ "id": "own", "type": "builtin", "name": name }],
            "routes": [
                { "id": "in", "host": "app.test", "path_prefix": "/in", "pool": "p", "middleware": { "type": "plugin", "ref": "own" } },
                { "id": "out", "host": "app.test", "path_prefix": "/out", "pool": "p" },
            ],
            "pools": [{ "id": "p", "endpoints": [{ "address": origin.address().to_string() }] }],
        }});
        let refused = api.post("/api/v2/config/apply", &config("stomp")).is(422).json.to_string();
        assert!(refused.contains("stomp, which this program does not have; it has structured_logger, stamp"), "{refused}");
        api.post("/api/v2/config/apply", &config("stamp")).is(200);
        let mut client = client(&gateway);
        for (path, expected) in [("/in", Some("yes")), ("/out", None)] {
            assert_eq!(client.get("app.test", path).status(), 200);
            assert_eq!(origin.requests().pop().unwrap().field("x-stamp"), expected, "{path}");
        }
    }

    fn middleware_transforms_bodies_in_both_directions(driver) {
        let origin = Origin::named("a");
        let gateway = gateway(driver, |builder| builder.middleware(Bodies));
        gateway.register_app("app", &origin.target()).unwrap();
        gateway.register_domain("app.test", "app", None).unwrap();
        let mut client = client(&gateway);
        // Pipelined: the request behind a transformed body is not lost.
        client.send(
            "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: app.test\r\n\r\n",
        );
        let response = client.response("POST");
        assert_eq!((response.text(), response.field("content-length")), ("a (end)".to_owned(), None));
        assert_eq!(client.response("GET").text(), "a (end)");
        // In parts, and in chunks with a trailer.
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        client.send("2\r\nde\r\n0\r\nDigest: x\r\n\r\n");
        assert_eq!(client.response("POST").text(), "a (end)");
        let requests = origin.requests();
        assert_eq!(requests[0].field("transfer-encoding"), Some("chunked"));
        let bodies: Vec<_> = requests.iter().map(|request| request.body.clone()).collect();
        assert_eq!(bodies, [&b"HELLO"[..], b"", b"ABCDE"]);
        // HEAD has no body to transform, and local replies pass the response stages as well.
        client.send("HEAD / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert_eq!(client.response("HEAD").status(), 200);
        assert_eq!(client.get("app.test", "/refused").text(), "no");
        // A body that is not passed on ends the exchange.
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 6\r\n\r\nhello!");
        let refused = client.response("POST");
        assert_eq!((refused.status(), refused.field("connection")), (500, Some("close")));
        // HTTP/1.0 has no chunks: the body ends with the connection.
        let mut old = self::client(&gateway);
        old.send("GET / HTTP/1.0\r\nHost: app.test\r\n\r\n");
        assert_eq!(old.response("GET").text(), "a (end)");
        assert!(gateway.shutdown(Duration::from_secs(10)).unwrap(), "every connection ended by itself");
    }

    fn a_panic_ends_its_connection_and_nothing_else(driver) {
        let origin = Origin::named("a");
        let counts = Arc::new(Counts::default());
        let observer = Arc::clone(&counts);
        let gateway = gateway(driver, |builder| builder.middleware(House).observer(observer));
        gateway.register_app("app", &origin.target()).unwrap();
        gateway.register_domain("app.test", "app", None).unwrap();
        let mut others: Vec<Client> = (0..8).map(|_| client(&gateway)).collect();
        for other in &mut others {
            assert_eq!(other.get("app.test", "/").status(), 200);
        }
        // More than once per core: what a panic leaves behind must not be in the way of the next.
        for _ in 0..8 {
            let mut client = client(&gateway);
            client.send("GET /panic HTTP/1.1\r\nHost: app.test\r\n\r\n");
            client.assert_closed();
        }
        for other in &mut others {
            assert_eq!(other.get("app.test", "/").text(), "a");
        }
        assert_eq!(counts.panics.load(Ordering::SeqCst), 8);
        // The event of an exchange follows its last byte.
        eventually("events of the others", || (counts.exchanges.load(Ordering::SeqCst) >= 16).then_some(()));
        assert!(gateway.is_alive());
    }
}

//! The library in somebody else's process: registration by calls, filters, and what a filter's panic costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringway::filter::{Edits, Filter, RequestView, ResponseView, Verdict};
use ringway::telemetry::{Exchange, Observer, Panicked};
use ringway::{DriverChoice, Gateway, Handle};

use crate::kit::*;

/// Starts a gateway in this process; it is not a `Proxy`, for there is no process of its own.
fn gateway(driver: Driver, build: impl FnOnce(ringway::Builder) -> ringway::Builder) -> Handle {
    let driver = match driver {
        Driver::IoUring => DriverChoice::IoUring,
        Driver::Epoll => DriverChoice::Epoll,
    };
    let builder =
        Gateway::builder().http(vec!["127.0.0.1:0".parse().unwrap()]).driver(driver).workers(2).pin(false);
    build(builder).spawn().unwrap()
}

fn client(gateway: &Handle) -> Client {
    Client::connect(gateway.http_addresses()[0])
}

struct House;

impl Filter for House {
    fn on_request(&self, request: &RequestView<'_>, edits: &mut Edits) -> Verdict {
        match request.path() {
            "/panic" => panic!("a filter's own mistake"),
            "/teapot" => return Verdict::Respond(418),
            _ => {}
        }
        edits.set("X-House", request.app().as_bytes()).unwrap();
        edits.remove("Cookie");
        Verdict::Continue
    }

    fn on_response(&self, response: &ResponseView<'_>, edits: &mut Edits) {
        edits.set("X-Seen", response.status().to_string().as_bytes()).unwrap();
        edits.set("Date", b"Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
    }
}

#[derive(Default)]
struct Counts {
    exchanges: AtomicUsize,
    panics: AtomicUsize,
}

impl Observer for Counts {
    fn exchange(&self, _: &Exchange<'_>) {
        self.exchanges.fetch_add(1, Ordering::SeqCst);
    }

    fn panicked(&self, _: &Panicked<'_>) {
        self.panics.fetch_add(1, Ordering::SeqCst);
    }
}

on_both_drivers! {
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

    fn filters_see_and_change_what_passes(driver) {
        let origin = Origin::named("a");
        let gateway = gateway(driver, |builder| builder.filter(House));
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
        assert_eq!(origin.request_count(), 1);
    }

    fn a_panic_ends_its_connection_and_nothing_else(driver) {
        let origin = Origin::named("a");
        let counts = Arc::new(Counts::default());
        let observer = Arc::clone(&counts);
        let gateway = gateway(driver, |builder| builder.filter(House).observer(observer));
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
        // An exchange is told after its last byte was sent.
        eventually("the others are told", || (counts.exchanges.load(Ordering::SeqCst) >= 16).then_some(()));
        assert!(gateway.is_alive());
    }
}

//! Certificates from a CA: pebble issues, refuses nonces, stops and restarts, without intervention at the
//! gateway.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::kit::pebble::{EAB_HMAC, EAB_KID, Habits, Pebble, Release, free_address};
use crate::kit::tls::presented;
use crate::kit::*;

/// Issuing takes a few round trips, and the machine may be busy.
const ISSUED: Duration = Duration::from_secs(120);

/// A CA, and a gateway that orders from it, with the challenge port that the CA uses.
struct Scene {
    pebble: Pebble,
    proxy: Proxy,
    origin: Origin,
    directory: PathBuf,
}

/// Configuration of a gateway with these CAs in order of preference.
fn gateway(driver: Driver, pebbles: &[&Pebble], http_port: u16) -> proxy::Builder {
    let builder = Proxy::on(driver).env("PROXY_HTTPS_PORT", "0");
    let bundle = builder.folder().join("ca.pem");
    let roots: String = pebbles.iter().map(|pebble| fs::read_to_string(pebble.bundle()).unwrap()).collect();
    fs::write(&bundle, roots).unwrap();
    let directory = builder.folder().join("certificates");
    let mut builder = builder
        .env("PROXY_HTTP_PORT", &http_port.to_string())
        .env("ACME_CHALLENGE_PORT", &http_port.to_string())
        .env("ACME_EMAIL", "ops@gateway.test")
        .env("ACME_DIRECTORY_URL", &pebbles[0].directory())
        .env("ACME_CA_BUNDLE", bundle.to_str().unwrap())
        .env("DNS_RESOLVER", &pebbles[0].names().dns.to_string())
        .env("PROXY_CERT_PATH", directory.to_str().unwrap());
    if let Some(second) = pebbles.get(1) {
        builder = builder.env("ACME_FALLBACK_URL", &second.directory());
    }
    builder
}

impl Scene {
    fn new(driver: Driver) -> Self {
        Self::with(driver, |habits| habits, |builder| builder)
    }

    fn with(
        driver: Driver,
        habits: impl FnOnce(Habits) -> Habits,
        build: impl FnOnce(proxy::Builder) -> proxy::Builder,
    ) -> Self {
        let http_port = free_address().port();
        let pebble = Pebble::start(habits(Habits::at(http_port)));
        let builder = build(gateway(driver, &[&pebble], http_port));
        let directory = builder.folder().join("certificates");
        let proxy = builder.start();
        let origin = Origin::named("a");
        proxy.api().register("app", "app-1", &origin.target());
        Self { pebble, proxy, origin, directory }
    }

    fn domain(&self, name: &str) {
        self.proxy.api().domain(name, "app", None);
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.directory.join("domains").join(name)
    }

    /// Waits until a domain has a certificate, and gives its fingerprint.
    fn issued(&self, name: &str) -> String {
        issued(&self.proxy, name)
    }

    /// Ends the process and starts it again on the same disk.
    fn restart(self) -> Self {
        let Self { pebble, proxy, origin, directory } = self;
        Self { pebble, proxy: proxy.stop().start(), origin, directory }
    }
}

/// Certificate of a domain in the API.
fn certificate(proxy: &Proxy, name: &str) -> Value {
    let body = json!({ "domain": name });
    proxy.api().post("/api/tenants/domains/get", &body).is(200).json["certificate"].clone()
}

fn reaches(proxy: &Proxy, name: &str, status: &str) -> Value {
    let mut last = Value::Null;
    let what = format!("{name} is {status}");
    let reached = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually_within(ISSUED, &what, || {
            last = certificate(proxy, name);
            (last["status"] == status).then(|| last.clone())
        })
    }));
    reached.unwrap_or_else(|_| panic!("{what}: it is {last:#}"))
}

fn issued(proxy: &Proxy, name: &str) -> String {
    reaches(proxy, name, "active")["fingerprint"].as_str().expect("an active one was read").to_owned()
}

/// Returns the certificate that the gateway presents to a client that trusts the CA.
#[track_caller]
fn is_served(proxy: &Proxy, pebble: &Pebble, name: &str) -> Vec<u8> {
    let stream = Tls::trusting(&pebble.root(), name).stream(proxy.https());
    presented(&stream.unwrap_or_else(|fault| panic!("no TLS for {name}: {fault:?}")))
}

/// Number of orders at the CA.
fn orders(pebble: &Pebble) -> usize {
    pebble.log().matches("Added order").count()
}

fn modes(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

on_both_drivers! {
    fn a_registered_domain_has_its_own_certificate_soon(driver) {
        let scene = Scene::new(driver);
        scene.domain("app.test");
        scene.issued("app.test");
        is_served(&scene.proxy, &scene.pebble, "app.test");
        let mut client = Tls::trusting(&scene.pebble.root(), "app.test").connect(scene.proxy.https());
        assert_eq!(client.get("app.test", "/").text(), "a");
        assert_eq!(modes(&scene.directory), 0o700);
        assert_eq!(modes(&scene.folder("app.test")), 0o700);
        for entry in fs::read_dir(scene.folder("app.test")).unwrap().flatten() {
            assert_eq!(modes(&entry.path()), 0o600, "{entry:?}");
        }
        // It survives a restart without the CA.
        let orders_before = orders(&scene.pebble);
        let scene = scene.restart();
        is_served(&scene.proxy, &scene.pebble, "app.test");
        scene.issued("app.test");
        assert_eq!(orders(&scene.pebble), orders_before);
    }

    fn refused_nonces_are_taken_in_stride(driver) {
        let scene = Scene::with(driver, |habits| Habits { bad_nonces_percent: 50, ..habits }, |builder| builder);
        scene.domain("app.test");
        scene.issued("app.test");
        is_served(&scene.proxy, &scene.pebble, "app.test");
    }

    fn an_account_is_bound_where_the_ca_demands_it(driver) {
        let bind = |builder: proxy::Builder| builder.env("ACME_EAB_KID", EAB_KID).env("ACME_EAB_HMAC", EAB_HMAC);
        let scene = Scene::with(driver, |habits| Habits { needs_eab: true, ..habits }, bind);
        scene.domain("app.test");
        scene.issued("app.test");
        assert!(!scene.proxy.log().join("\n").contains(EAB_HMAC));
    }

    fn a_ca_without_renewal_information_is_as_good(driver) {
        let scene = Scene::with(driver, |habits| Habits { release: Release::Debian12, ..habits }, |builder| builder);
        scene.domain("app.test");
        scene.issued("app.test");
        is_served(&scene.proxy, &scene.pebble, "app.test");
    }

    fn no_order_is_spent_on_a_name_that_does_not_lead_here(driver) {
        let scene = Scene::new(driver);
        scene.pebble.names().set_default(None);
        scene.domain("app.test");
        let state = reaches(&scene.proxy, "app.test", "pending_dns");
        assert!(state["reason"].as_str().unwrap_or_default().contains("app.test"), "{state:#}");
        assert_eq!(scene.proxy.get("app.test", "/").text(), "a", "plain HTTP is served meanwhile");
        assert_eq!(orders(&scene.pebble), 0);
        // Once the record is there, asking for a verification is enough.
        scene.pebble.names().set_a("app.test", &["127.0.0.1"]);
        let body = json!({ "domain": "app.test" });
        assert_eq!(scene.proxy.api().post("/api/tenants/domains/verify", &body).is(200).json["verified"], true);
        scene.issued("app.test");
    }

    fn no_order_is_spent_while_an_ipv6_address_does_not_lead_here(driver) {
        // Only IPv4 is listened on; the CA would come by IPv6 first.
        let ours = |builder: proxy::Builder| {
            builder.env("PROXY_HTTP_BIND", "127.0.0.1").env("PROXY_PUBLIC_ADDRESSES", "127.0.0.1")
        };
        let scene = Scene::with(driver, |habits| habits, ours);
        let names = scene.pebble.names();
        names.set_aaaa("app.test", &["::1"]);
        scene.domain("app.test");
        let state = reaches(&scene.proxy, "app.test", "pending_dns");
        let reason = state["reason"].as_str().unwrap();
        assert!(reason.contains("remove the AAAA record ::1"), "{state:#}");
        assert_eq!(state["dns"]["verdict"], "unreachable");
        let shown = scene.proxy.command(&["certificates", "show", "app.test"]);
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.contains("pending_dns") && shown.contains("remove the AAAA record ::1"), "{shown}");
        assert_eq!(orders(&scene.pebble), 0);
        // One of several A records that is dead is named in the same way.
        names.set_aaaa("app.test", &[]);
        names.set_a("app.test", &["127.0.0.1", "127.0.0.2"]);
        let verify = || {
            let body = json!({ "domain": "app.test" });
            scene.proxy.api().post("/api/tenants/domains/verify", &body).is(200).json
        };
        let found = verify();
        assert!(found["advice"].as_str().unwrap().contains("remove the A record 127.0.0.2"), "{found:#}");
        assert_eq!(orders(&scene.pebble), 0);
        names.set_a("app.test", &["127.0.0.1"]);
        assert_eq!(verify()["verified"], true);
        scene.issued("app.test");
    }

    fn a_listener_that_is_missing_at_an_own_address_is_named(driver) {
        let ours = |builder: proxy::Builder| {
            builder.env("PROXY_HTTP_BIND", "127.0.0.1").env("PROXY_PUBLIC_ADDRESSES", "127.0.0.1,::1")
        };
        let scene = Scene::with(driver, |habits| habits, ours);
        scene.pebble.names().set_aaaa("app.test", &["::1"]);
        scene.domain("app.test");
        let state = reaches(&scene.proxy, "app.test", "pending_dns");
        assert!(state["reason"].as_str().unwrap().contains("nothing listens there"), "{state:#}");
        assert_eq!(orders(&scene.pebble), 0);
    }

    fn a_ca_that_has_lost_accounts_and_orders_delays_no_domain(driver) {
        // Its first run has a challenge port without a listener: five orders stay pending.
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = nobody.local_addr().unwrap().port();
        let scene = Scene::with(
            driver,
            |habits| Habits { http_port: port, authz_reuse_percent: 0, ..habits },
            |builder| builder,
        );
        let Scene { mut pebble, proxy, origin: _origin, directory } = scene;
        let names: Vec<String> = (0..5).map(|n| format!("lost{n}.test")).collect();
        for name in &names {
            proxy.api().domain(name, "app", None);
        }
        eventually_within(ISSUED, "five orders are under way", || {
            let order = |name: &String| directory.join("domains").join(name).join("order.json").exists();
            names.iter().all(order).then_some(())
        });
        // As by an update of both: what is on the disk is of a CA that knows neither the account nor the
        // orders.
        pebble.habits().http_port = proxy.http().port();
        let builder = proxy.kill9();
        pebble.start_again();
        let proxy = builder.start();
        for name in &names {
            issued(&proxy, name);
            is_served(&proxy, &pebble, name);
        }
        assert_eq!(proxy.metric("ringway_certificate_orders_total", &["ca_down"]), 0.0);
        let authorities = proxy.api().get("/api/status/certificates").is(200).json["overview"]["authorities"].clone();
        assert!(authorities[0]["problem"].is_null(), "{authorities:#}");
    }

    fn a_ca_that_refuses_a_name_is_quoted_and_others_go_on(driver) {
        let scene = Scene::new(driver);
        scene.domain("shop.blocked.example");
        scene.domain("app.test");
        let state = reaches(&scene.proxy, "shop.blocked.example", "failed");
        assert!(!state["reason"].as_str().unwrap_or_default().is_empty(), "{state:#}");
        scene.issued("app.test");
    }

    fn a_ca_that_is_down_is_asked_again_when_it_is_back(driver) {
        let mut scene = Scene::new(driver);
        scene.pebble.stop();
        scene.domain("app.test");
        let waits = || {
            let state = certificate(&scene.proxy, "app.test");
            (state["status"] != "active" && state["reason"].is_string()).then_some(state)
        };
        eventually_within(ISSUED, "it says why it waits", waits);
        assert_eq!(scene.proxy.get("app.test", "/").text(), "a");
        scene.pebble.start_again();
        eventually_within(ISSUED, "it is issued after all", || {
            // A repeated manual retry after a repair.
            let body = json!({ "domain": "app.test" });
            scene.proxy.api().post("/api/tenants/domains/verify", &body);
            (certificate(&scene.proxy, "app.test")["status"] == "active").then_some(())
        });
        is_served(&scene.proxy, &scene.pebble, "app.test");
    }

    fn a_second_ca_takes_over(driver) {
        let http_port = free_address().port();
        let (mut first, second) = (Pebble::start(Habits::at(http_port)), Pebble::start(Habits::at(http_port)));
        let builder = gateway(driver, &[&first, &second], http_port);
        first.stop();
        let proxy = builder.start();
        let origin = Origin::named("a");
        proxy.serve("app", "app.test", &origin);
        issued(&proxy, "app.test");
        is_served(&proxy, &second, "app.test");
    }

    fn a_crash_in_the_middle_of_an_order_costs_nothing_but_time(driver) {
        let Scene { pebble, proxy, origin: _origin, directory } = Scene::new(driver);
        let names: Vec<String> = (0..10).map(|n| format!("crash{n}.test")).collect();
        for name in &names {
            proxy.api().domain(name, "app", None);
        }
        eventually_within(ISSUED, "an order is under way", || {
            names.iter().any(|name| certificate(&proxy, name)["status"] == "issuing").then_some(())
        });
        let proxy = proxy.kill9().start();
        for name in &names {
            issued(&proxy, name);
            is_served(&proxy, &pebble, name);
            assert!(!directory.join("domains").join(name).join("order.json").exists(), "{name}");
        }
    }

    fn a_short_life_is_renewed_before_it_ends(driver) {
        let scene = Scene::with(driver, |habits| Habits { lifetime_seconds: 40, ..habits }, |builder| builder);
        scene.domain("app.test");
        let first = scene.issued("app.test");
        let mut connected = Tls::trusting(&scene.pebble.root(), "app.test").connect(scene.proxy.https());
        assert_eq!(connected.get("app.test", "/").text(), "a");
        eventually_within(ISSUED, "it is renewed", || {
            let state = certificate(&scene.proxy, "app.test");
            (state["fingerprint"].is_string() && state["fingerprint"] != first.as_str()).then_some(())
        });
        is_served(&scene.proxy, &scene.pebble, "app.test");
        assert_eq!(connected.get("app.test", "/").text(), "a", "and a connection of before lives on");
    }

    fn renewal_information_is_obeyed(driver) {
        let scene = Scene::new(driver);
        scene.domain("app.test");
        let first = scene.issued("app.test");
        let identity = fs::read_to_string(scene.folder("app.test").join("identity.pem")).unwrap();
        let end = identity.find("-----END CERTIFICATE-----").unwrap();
        let leaf = &identity[identity.find("-----BEGIN CERTIFICATE-----").unwrap()..end];
        let leaf = format!("{leaf}-----END CERTIFICATE-----\n");
        scene.pebble.set_renewal_window(&leaf, "2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z");
        // Advance the clock beyond the CA's `Retry-After` of some hours.
        let Scene { pebble, proxy, origin, directory } = scene;
        let builder = proxy.stop();
        let path = directory.join("domains/app.test/state.json");
        let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert!(state["issued"]["ask_at"].is_u64(), "{state:#}");
        state["issued"]["ask_at"] = json!(0);
        fs::write(&path, state.to_string()).unwrap();
        let scene = Scene { pebble, proxy: builder.start(), origin, directory };
        eventually_within(ISSUED, "it is renewed at once", || {
            let state = certificate(&scene.proxy, "app.test");
            (state["fingerprint"].is_string() && state["fingerprint"] != first.as_str()).then_some(())
        });
        is_served(&scene.proxy, &scene.pebble, "app.test");
    }

    fn a_certificate_that_the_ca_does_not_let_be_replaced_is_renewed(driver) {
        // RFC 9773 §5. A CA may have forgotten it, or know it as another account's.
        let scene = Scene::new(driver);
        scene.domain("app.test");
        let first = scene.issued("app.test");
        let Scene { pebble, proxy, origin, directory } = scene;
        let builder = proxy.stop();
        let path = directory.join("domains/app.test/state.json");
        let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let issued = &mut state["issued"];
        let (key_id, _) = issued["certificate_id"].as_str().unwrap().split_once('.').unwrap();
        issued["certificate_id"] = json!(format!("{key_id}.AQ"));
        // Now, as the CA suggested, which has not to be asked again.
        issued["suggestion"] = json!({ "start": 1, "end": 2 });
        issued["ask_at"] = json!(u64::MAX / 2);
        fs::write(&path, state.to_string()).unwrap();
        let scene = Scene { pebble, proxy: builder.start(), origin, directory };
        eventually_within(ISSUED, "it is renewed all the same", || {
            let state = certificate(&scene.proxy, "app.test");
            (state["fingerprint"].is_string() && state["fingerprint"] != first.as_str()).then_some(())
        });
        is_served(&scene.proxy, &scene.pebble, "app.test");
    }

    fn a_domain_that_is_removed_leaves_nothing(driver) {
        let scene = Scene::new(driver);
        scene.domain("app.test");
        scene.domain("gone.test");
        scene.issued("app.test");
        for name in ["app.test", "gone.test"] {
            scene.proxy.api().delete("/api/tenants/domains", &json!({ "domain": name })).is(204);
        }
        eventually_within(ISSUED, "their folders are gone", || {
            (!scene.folder("app.test").exists() && !scene.folder("gone.test").exists()).then_some(())
        });
        assert!(Tls::trusting(&scene.pebble.root(), "app.test").stream(scene.proxy.https()).is_err());
    }
}

/// On one driver: the load is the CA's.
#[test]
fn two_hundred_domains_at_once_are_issued_a_few_at_a_time() {
    let scene = Scene::new(Driver::IoUring);
    let names: Vec<String> = (0..200).map(|n| format!("many{n}.test")).collect();
    for name in &names {
        scene.domain(name);
    }
    let mut most = 0;
    eventually_within(3 * ISSUED, "all have a certificate", || {
        let status = scene.proxy.api().get("/api/status/certificates").is(200).json;
        most = most.max(status["overview"]["queue"]["in_flight"].as_u64().unwrap_or(0));
        names.iter().all(|name| scene.folder(name).join("identity.pem").exists()).then_some(())
    });
    assert!(most <= 5, "{most} orders in flight at once");
    for name in names.iter().step_by(40) {
        scene.issued(name);
        is_served(&scene.proxy, &scene.pebble, name);
    }
}

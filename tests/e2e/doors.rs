//! Decisions before a request is routed: PROXY headers of load balancers, and the mode of the HTTP port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringway::model::{
    AppId, AppSpec, Change, CoreId, Desired, DomainKind, DomainSpec, HealthCheck, Hostname, InstanceId,
    InstanceSpec, Target, Timestamp,
};
use ringway::{Builder, DriverChoice, Gateway, Handle, HttpMode};
use ringway_bridge::{blocking_mailbox, mailbox, slot, wake_pair};
use ringway_telemetry::{Registry, Telemetry};
use ringway_tls::{Identity, IdentityName, Secret, SecretKey, SecretUpdate};
use ringway_traffic::compile::{Compiler, CompilerSettings};
use ringway_traffic::report::Order;
use ringway_traffic::snapshot::{CertificateVersion, Snapshot};
use ringway_worker::{ListenerConfig, SecretSource};

use crate::kit::*;

/// A gateway in this process with one app, `app`, on `app.test`.
fn gateway(driver: Driver, origin: &Origin, build: impl FnOnce(Builder) -> Builder) -> Handle {
    let driver = match driver {
        Driver::IoUring => DriverChoice::IoUring,
        Driver::Epoll => DriverChoice::Epoll,
    };
    let builder =
        Gateway::builder().http(vec!["127.0.0.1:0".parse().unwrap()]).driver(driver).workers(1).pin(false);
    let gateway = build(builder).spawn().unwrap();
    gateway.register_app("app", &origin.target()).unwrap();
    gateway.register_domain("app.test", "app", None).unwrap();
    gateway
}

fn balanced(driver: Driver, origin: &Origin) -> (Handle, SocketAddr) {
    let gateway =
        gateway(driver, origin, |builder| builder.proxy_protocol(vec!["127.0.0.1/32".parse().unwrap()]));
    let address = gateway.http_addresses()[0];
    (gateway, address)
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n";

fn binary(rest: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    header.extend((rest.len() as u16).to_be_bytes());
    header.extend(rest);
    header
}

fn metrics(gateway: &Handle) -> String {
    gateway.client().metrics().unwrap()
}

/// Worker without a control plane, with a given snapshot: for challenges of a CA, without a CA.
struct Core {
    http: SocketAddr,
    orders: ringway_bridge::MailboxSender<Order>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Core {
    fn start(driver: Driver, mode: HttpMode, snapshot: Arc<Snapshot>) -> Self {
        Self::with(driver, mode, snapshot, None)
    }

    fn with(driver: Driver, mode: HttpMode, snapshot: Arc<Snapshot>, secrets: Option<SecretSource>) -> Self {
        let listener = ringway_net::bind_reuseport("127.0.0.1:0".parse().unwrap(), 64).unwrap();
        let http = listener.local_addr().unwrap();
        let (waker, wake) = wake_pair().unwrap();
        let (_, snapshots) = slot(waker.clone());
        let (orders, orders_of_core) = mailbox(4, waker.clone());
        let (reports, _) = mailbox(16, waker);
        let parts = ringway_worker::Parts {
            id: CoreId(0),
            cpu: None,
            driver: if driver == Driver::Epoll { DriverChoice::Epoll } else { DriverChoice::IoUring },
            listeners: vec![(listener, ListenerConfig::http(mode))],
            https_port: Some(443),
            rebalancer: None,
            cache: None,
            forward: None,
            tls: None,
            secrets,
            resolves_hosts: false,
            snapshot,
            snapshots,
            orders: orders_of_core,
            wake,
            reports,
            telemetry: Telemetry::new(Registry::new().add_core(CoreId(0)), None, None),
            settings: Arc::default(),
        };
        let thread = std::thread::spawn(move || ringway_worker::run(parts, &|_| {}).unwrap());
        Self { http, orders, thread: Some(thread) }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let _ = self.orders.send(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `app.test` and `secure.test`, which has a certificate, led to `origin`; and the challenge `tok_en-1`.
fn snapshot(origin: &Origin) -> Arc<Snapshot> {
    let app = AppId::parse("app").unwrap();
    let instance = InstanceSpec {
        id: InstanceId::parse("app-1").unwrap(),
        app: app.clone(),
        target: Target::parse(&origin.target()).unwrap(),
        health_check: HealthCheck::default(),
    };
    let spec = AppSpec::new(app.clone());
    let mut changes = vec![Change::Register { app: spec, instance: Some(instance), domain: None }];
    let secure = Hostname::parse("secure.test").unwrap();
    for name in [Hostname::parse("app.test").unwrap(), secure.clone()] {
        changes.push(Change::AddDomain(DomainSpec {
            policy: None,
            name,
            app: app.clone(),
            tenant: None,
            kind: DomainKind::Custom,
            cname_target: None,
            certificate: None,
            client_auth: None,
        }));
    }
    let mut desired = Desired::default();
    for change in changes {
        desired = desired.apply(&change, Timestamp(0)).unwrap().desired;
    }
    let mut compiler = Compiler::new(CompilerSettings { cores: 4, ..CompilerSettings::default() });
    let _ = compiler.commit(compiler.compile_all(&desired)).unwrap();
    let certificates = [(secure, Some(CertificateVersion(1)))];
    let compiled = compiler.update_certificates(&certificates).unwrap();
    let _ = compiler.commit(compiled).unwrap();
    let default = compiler.update_default_certificate(Some(CertificateVersion(1))).unwrap();
    let _ = compiler.commit(default).unwrap();
    let challenge = compiler.update_challenge("tok_en-1", Some("tok_en-1.thumbprint".into())).unwrap();
    let _ = compiler.commit(challenge).unwrap();
    compiler.snapshot().clone()
}

const CHALLENGE: &str = "/.well-known/acme-challenge/tok_en-1";

on_both_drivers! {
    fn challenges_are_answered_in_every_mode_for_every_host(driver) {
        let origin = Origin::named("a");
        for mode in [HttpMode::Plain, HttpMode::Redirect, HttpMode::HttpsOnly] {
            let core = Core::start(driver, mode, snapshot(&origin));
            let mut client = Client::connect(core.http);
            for host in ["app.test", "secure.test", "unknown.test", "127.0.0.1"] {
                let answer = client.get(host, CHALLENGE);
                assert_eq!((answer.status(), &*answer.text()), (200, "tok_en-1.thumbprint"), "{host}");
            }
            client.send(format!("HEAD {CHALLENGE} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
            let head = client.response("HEAD");
            assert_eq!((head.status(), head.field("content-length")), (200, Some("19")));
            client.send(format!("GET http://app.test{CHALLENGE} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
            assert_eq!(client.response("GET").text(), "tok_en-1.thumbprint");
        }
        assert_eq!(origin.request_count(), 0);
    }

    fn what_is_no_challenge_of_ours_goes_where_it_would_go(driver) {
        let origin = Origin::named("a");
        let core = Core::start(driver, HttpMode::Redirect, snapshot(&origin));
        let mut client = Client::connect(core.http);
        // An app may have a CA of its own, whose challenges must not be redirected.
        for target in ["/.well-known/acme-challenge/other", "/.well-known/acme-challenge/TOK_EN-1"] {
            assert_eq!(client.get("secure.test", target).text(), "a", "{target}");
        }
        for target in ["/.well-known/acme-challenge/", "/.well-known/acme-challenge/tok_en-1?x", "/.well-known/x", "/"] {
            let answer = client.get("secure.test", target);
            assert_eq!(answer.status(), 301, "{target}");
            assert_eq!(answer.field("location"), Some(&*format!("https://secure.test{target}")));
        }
        client.send(format!("POST {CHALLENGE} HTTP/1.1\r\nHost: app.test\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(client.response("POST").text(), "a");
        let core = Core::start(driver, HttpMode::HttpsOnly, snapshot(&origin));
        let mut client = Client::connect(core.http);
        assert_eq!(client.get("secure.test", "/.well-known/acme-challenge/other").status(), 404);
        assert_eq!(client.get("secure.test", "/").status(), 421);
    }

    fn the_first_request_of_all_is_redirected(driver) {
        let origin = Origin::named("a");
        let pair = Authority::new("default").server(&["app.test"]);
        let identity = Identity::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes()).unwrap();
        // The loader answers no request: a core starts with the secrets that were pushed before.
        let (requests, _loader) = blocking_mailbox(4);
        let (sender, updates) = blocking_mailbox(4);
        let key = SecretKey::Identity(IdentityName::Default);
        sender.send(SecretUpdate { key, version: 1, result: Ok(Secret::Identity(identity)) }).unwrap();
        let core = Core::with(driver, HttpMode::Redirect, snapshot(&origin), Some(SecretSource { requests, updates }));
        let answer = Client::connect(core.http).get("app.test", "/");
        assert_eq!((answer.status(), answer.field("location")), (301, Some("https://app.test/")));
        assert_eq!(origin.request_count(), 0);
    }

    fn a_balancers_proxy_header_carries_the_client_address(driver) {
        let origin = Origin::named("a");
        let (_gateway, address) = balanced(driver, &origin);
        let v2 = binary(&[203, 0, 113, 9, 192, 0, 2, 1, 0xc0, 1, 0, 80]);
        let with_tlvs = binary(&[203, 0, 113, 9, 192, 0, 2, 1, 0xc0, 1, 0, 80, 4, 0, 2, 1, 2]);
        for header in [b"PROXY TCP4 203.0.113.9 192.0.2.1 49153 80\r\n".to_vec(), v2, with_tlvs] {
            let mut client = Client::connect(address);
            client.send([&header[..], REQUEST.as_bytes()].concat());
            assert_eq!(client.response("GET").text(), "a");
            // The header counts for the whole connection, and stands once.
            assert_eq!(client.get("app.test", "/").status(), 200);
        }
        for request in origin.requests() {
            assert_eq!(request.field("x-forwarded-for"), Some("203.0.113.9"));
            assert_eq!(request.field("x-real-ip"), Some("203.0.113.9"));
        }
    }

    fn a_balancers_own_connections_are_its_own(driver) {
        let origin = Origin::named("a");
        let (_gateway, address) = balanced(driver, &origin);
        let mut client = Client::connect(address);
        client.send(format!("PROXY UNKNOWN\r\n{REQUEST}"));
        assert_eq!(client.response("GET").status(), 200);
        assert_eq!(origin.one_request().field("x-forwarded-for"), Some("127.0.0.1"));
    }

    fn a_header_that_comes_byte_by_byte_is_the_same(driver) {
        let origin = Origin::named("a");
        let (_gateway, address) = balanced(driver, &origin);
        let mut client = Client::connect(address);
        for byte in format!("PROXY TCP6 2001:db8::9 ::1 49153 80\r\n{REQUEST}").as_bytes() {
            client.send([*byte]);
        }
        assert_eq!(client.response("GET").status(), 200);
        assert_eq!(origin.one_request().field("x-forwarded-for"), Some("2001:db8::9"));
    }

    fn a_balancer_without_a_good_header_is_closed_and_counted(driver) {
        let origin = Origin::named("a");
        let (gateway, address) = balanced(driver, &origin);
        let bad: [&[u8]; 5] = [
            REQUEST.as_bytes(),
            b"PROXY TCP4 203.0.113.9 192.0.2.1 49153\r\n",
            b"PROXY TCP4 203.0.113.9 192.0.2.1 49153 80\n",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        ];
        for header in bad {
            let mut client = Client::connect(address);
            let _ = client.try_send([header, REQUEST.as_bytes()].concat());
            client.assert_closed();
        }
        let metrics = metrics(&gateway);
        let counted = r#"ringway_connections_refused_total{core="0",reason="proxy_header"} 5"#;
        assert!(metrics.contains(counted), "{metrics}");
        assert_eq!(origin.request_count(), 0);
    }

    fn of_others_no_header_is_read(driver) {
        let origin = Origin::named("a");
        let (_gateway, address) = balanced(driver, &origin);
        let mut stranger = Client::connect_from([127, 0, 0, 2], address);
        stranger.send(REQUEST);
        assert_eq!(stranger.response("GET").status(), 200);
        assert_eq!(origin.one_request().field("x-forwarded-for"), Some("127.0.0.2"));
        let mut liar = Client::connect_from([127, 0, 0, 2], address);
        liar.send(format!("PROXY TCP4 203.0.113.9 192.0.2.1 49153 80\r\n{REQUEST}"));
        assert_eq!(liar.response("GET").status(), 400);
        assert_eq!(origin.request_count(), 1);
    }

    fn balancers_that_say_nothing_do_not_hold_up_the_end(driver) {
        let origin = Origin::named("a");
        let (gateway, address) = balanced(driver, &origin);
        let mut silent = Client::connect(address);
        let mut asking = Client::connect(address);
        asking.send(format!("PROXY UNKNOWN\r\n{REQUEST}"));
        assert_eq!(asking.response("GET").status(), 200);
        assert!(gateway.shutdown(Duration::from_secs(8)).unwrap(), "every connection ended by itself");
        silent.assert_closed();
    }

    fn with_https_only_nothing_but_challenges_is_served_without_tls(driver) {
        let origin = Origin::named("a");
        let gateway = gateway(driver, &origin, |builder| builder.http_mode(HttpMode::HttpsOnly));
        let mut client = Client::connect(gateway.http_addresses()[0]);
        for target in ["/", "/.well-known/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/a%2Fb"] {
            let answer = client.get("app.test", target);
            assert_eq!((answer.status(), &*answer.json()["error"]["code"].to_string()), (421, "\"https_only\""));
        }
        assert_eq!(client.get("app.test", "/.well-known/acme-challenge/unknown").status(), 404);
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(client.response("POST").status(), 421);
        assert_eq!(client.get("app.test", "/").status(), 421, "a body that was there is skipped");
        assert_eq!(origin.request_count(), 0);
    }

    fn without_certificates_no_request_is_redirected(driver) {
        let origin = Origin::named("a");
        let https = vec!["127.0.0.1:0".parse().unwrap()];
        let gateway = gateway(driver, &origin, |builder| builder.http_mode(HttpMode::Redirect).https(https));
        let mut client = Client::connect(gateway.http_addresses()[0]);
        assert_eq!(client.get("app.test", "/").text(), "a");
        assert_eq!(client.get("app.test", "/.well-known/acme-challenge/theirs").text(), "a");
        assert_eq!(origin.request_count(), 2);
    }

    fn what_only_we_may_say_of_a_clients_certificate_never_passes(driver) {
        let origin = Origin::named("a");
        let gateway = gateway(driver, &origin, |builder| builder);
        let mut client = Client::connect(gateway.http_addresses()[0]);
        client.send(
            "GET / HTTP/1.1\r\nHost: app.test\r\nX-Client-Cert-Subject: CN=root\r\nX-Client-Cert-Verified: SUCCESS\r\n\
             x-client-cert-fingerprint: 00\r\nX_Client_Cert_Verified: SUCCESS\r\nX-Client_Cert-Subject: CN=root\r\n\
             Connection: X-Client-Cert-Verified\r\n\r\n",
        );
        assert_eq!(client.response("GET").status(), 200);
        let request = origin.one_request();
        let forged: Vec<_> = request
            .fields
            .iter()
            .filter(|(name, _)| name.to_ascii_lowercase().replace('_', "-").starts_with("x-client-cert"))
            .collect();
        assert!(forged.is_empty(), "{forged:?}");
    }
}

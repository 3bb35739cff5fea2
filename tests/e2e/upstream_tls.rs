//! TLS to instances: verification of their certificates, the client certificate, and no reuse of connections
//! made with earlier TLS settings.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::kit::http::Reader;
use crate::kit::tls::{Pair, put};
use crate::kit::*;

/// TLS instance: responds to each request with its body, or with the name of the instance.
struct Secure {
    shared: Arc<Shared>,
    port: u16,
}

#[derive(Default)]
struct Shared {
    handshakes: AtomicUsize,
    health_checks: AtomicUsize,
    names: Mutex<Vec<Option<String>>>,
    /// Heads of requests at `/breaks`, each of which the instance resets without reading on.
    broken: AtomicUsize,
    ended: AtomicBool,
}

impl Secure {
    /// Asks for a certificate that `clients` vouches for, if that is given.
    fn new(pair: &Pair, clients: Option<&Authority>) -> Self {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
                builder.with_client_cert_verifier(verifier.unwrap())
            }
        };
        let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let sharing = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if sharing.ended.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, config, shared) = (stream.unwrap(), config.clone(), sharing.clone());
                std::thread::spawn(move || serve(stream, config, &shared));
            }
        });
        Self { shared, port }
    }

    fn target(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    fn handshakes(&self) -> usize {
        self.shared.handshakes.load(Ordering::SeqCst)
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the acceptor, which then ends.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(mut socket: TcpStream, config: Arc<ServerConfig>, shared: &Shared) {
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut tls = ServerConnection::new(config).unwrap();
    while tls.is_handshaking() {
        if tls.complete_io(&mut socket).is_err() {
            return;
        }
    }
    shared.handshakes.fetch_add(1, Ordering::SeqCst);
    shared.names.lock().unwrap().push(tls.server_name().map(str::to_owned));
    let mut reader = Reader::new(StreamOwned::new(tls, socket));
    while let Ok(mut request) = reader.request_head() {
        if request.target() == "/breaks" {
            shared.broken.fetch_add(1, Ordering::SeqCst);
            socket2::SockRef::from(&reader.stream().sock).set_linger(Some(Duration::ZERO)).unwrap();
            return;
        }
        if reader.body(&mut request).is_err() {
            return;
        }
        if request.target() == "/health" {
            shared.health_checks.fetch_add(1, Ordering::SeqCst);
        }
        let body = if request.body.is_empty() { b"secure".to_vec() } else { request.body.clone() };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let stream = reader.stream();
        if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).is_err() {
            return;
        }
    }
}

fn start(driver: Driver) -> Proxy {
    Proxy::on(driver).start()
}

/// Registers the instance again with these TLS settings.
fn register(proxy: &Proxy, instance: &Secure, upstream_tls: Value) {
    let body = json!({
        "app_id": "app",
        "upstream_tls": upstream_tls,
        "instance": { "instance_id": "app-1", "target": instance.target() },
    });
    let answer = proxy.api().post("/api/apps/register", &body);
    if answer.status != 200 {
        answer.is(201);
    }
}

fn written(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    put(&path, text);
    path.to_str().unwrap().to_owned()
}

/// The status of one request on a connection of its own, and the word of what went wrong.
fn ask(proxy: &Proxy) -> (u16, String) {
    let answer = Client::connect(proxy.http()).get("app.test", "/");
    let word = match answer.status() {
        200 => String::new(),
        _ => answer.json()["error"]["code"]
            .as_str()
            .or(answer.json()["error"].as_str())
            .unwrap_or("?")
            .to_owned(),
    };
    (answer.status(), word)
}

on_both_drivers! {
    fn an_instance_is_verified_by_its_ca_and_name(driver) {
        let authority = Authority::new("the apps' CA");
        let instance = Secure::new(&authority.server(&["app.internal"]), None);
        let proxy = start(driver);
        let folder = tempfile::tempdir().unwrap();
        let ca = written(folder.path(), "ca.pem", &authority.pem());
        let stranger = written(folder.path(), "stranger.pem", &Authority::new("a stranger").pem());
        register(&proxy, &instance, Value::Null);
        proxy.api().domain("app.test", "app", None);
        for (tls, expected) in [
            // The system does not know the apps' CA.
            (Value::Null, (502, "upstream_tls_failed")),
            (json!({ "ca_file": stranger, "server_name": "app.internal" }), (502, "upstream_tls_failed")),
            // The certificate is not for the address.
            (json!({ "ca_file": ca }), (502, "upstream_tls_failed")),
            (json!({ "ca_file": ca, "server_name": "other.internal" }), (502, "upstream_tls_failed")),
            (json!({ "ca_file": ca, "server_name": "app.internal" }), (200, "")),
            (json!({ "insecure": true }), (200, "")),
        ] {
            register(&proxy, &instance, tls.clone());
            assert_eq!(ask(&proxy), (expected.0, expected.1.to_owned()), "{tls}");
        }
        let names = instance.shared.names.lock().unwrap();
        assert!(names.contains(&Some("app.internal".to_owned())) && names.contains(&None), "{names:?}");
    }

    fn a_certificate_file_must_be_valid_at_first_and_later_errors_are_reported(driver) {
        let authority = Authority::new("the apps' CA");
        let instance = Secure::new(&authority.server(&["app.internal"]), None);
        let proxy = start(driver);
        let folder = tempfile::tempdir().unwrap();
        let ca = written(folder.path(), "ca.pem", &authority.pem());
        let broken = written(folder.path(), "broken.pem", "-----BEGIN CERTIFICATE-----");
        register(&proxy, &instance, json!({ "ca_file": ca, "server_name": "app.internal" }));
        proxy.api().domain("app.test", "app", None);
        let unusable = |count: u32| {
            let line = format!("ringway_named_files_unusable {count}");
            let text = proxy.api().get("/metrics").message.text();
            assert!(text.lines().any(|one| one == line), "{line} in {text}");
        };
        let refused = |answer: crate::kit::api::Answer, field: &str, path: &str| {
            let answer = answer.is(422).json;
            assert_eq!((&answer["code"], &answer["errors"][0]["field"]), (&json!("invalid_request"), &json!(field)));
            let message = answer["errors"][0]["message"].as_str().unwrap();
            assert!(message.contains(path), "{message}");
        };
        for path in ["/nonexistent/ca.pem", &broken] {
            let body = json!({ "app_id": "app", "upstream_tls": { "ca_file": path } });
            refused(proxy.api().post("/api/apps/register", &body), "upstream_tls", path);
            let body = json!({ "domain": "bank.test", "app_id": "app", "client_auth": { "ca_file": path } });
            refused(proxy.api().post("/api/tenants/domains", &body), "client_auth.ca_file", path);
            let body = json!({ "client_auth": { "ca_file": path } });
            refused(proxy.api().put("/api/tenants/domains/app.test", &body), "client_auth.ca_file", path);
        }
        // Nothing of it was taken.
        assert_eq!(ask(&proxy), (200, String::new()));
        assert_eq!(proxy.api().app("app")["upstream_tls"]["ca_file"], json!(ca));
        assert_eq!(proxy.api().post("/api/tenants/domains/get", &json!({ "domain": "bank.test" })).status, 404);
        assert_eq!(proxy.api().get("/api/status").is(200).json["status"], "ready");

        // It goes away: what was there stays in force, and the instance may register again.
        std::fs::remove_file(&ca).unwrap();
        let told = eventually_within(3 * SOON, "the status says it", || {
            let status = proxy.api().get("/api/status").is(200).json;
            (status["status"] == "degraded").then(|| status["warnings"].to_string())
        });
        assert!(told.contains(&ca) && told.contains("app app"), "{told}");
        unusable(1);
        register(&proxy, &instance, json!({ "ca_file": ca, "server_name": "app.internal" }));
        assert_eq!(ask(&proxy), (200, String::new()));
        // It is unchanged.
        written(folder.path(), "ca.pem", &authority.pem());
        eventually_within(3 * SOON, "all is well again", || {
            (proxy.api().get("/api/status").is(200).json["status"] == "ready").then_some(())
        });
        unusable(0);
    }

    fn pooled_connections_are_reused_until_the_tls_settings_change(driver) {
        let authority = Authority::new("the apps' CA");
        let instance = Secure::new(&authority.server(&["app.internal"]), None);
        // One worker, so that there is one pool.
        let proxy = Proxy::on(driver).env("PROXY_WORKERS", "1").start();
        register(&proxy, &instance, json!({ "insecure": true }));
        proxy.api().domain("app.test", "app", None);
        let mut client = Client::connect(proxy.http());
        for _ in 0..3 {
            assert_eq!(client.get("app.test", "/").body, b"secure");
        }
        assert_eq!(instance.handshakes(), 1);
        // A pooled connection to the old peer exists, and must not be used.
        let body = json!({ "app_id": "app", "upstream_tls": null });
        proxy.api().post("/api/apps/register", &body);
        assert_eq!(client.get("app.test", "/").status(), 502);
    }

    fn a_post_of_which_a_pooled_connection_took_a_part_is_never_sent_twice(driver) {
        let authority = Authority::new("the apps' CA");
        let instance = Secure::new(&authority.server(&["app.internal"]), None);
        let proxy = Proxy::on(driver).env("PROXY_WORKERS", "1").start();
        register(&proxy, &instance, json!({ "insecure": true }));
        proxy.api().domain("app.test", "app", None);
        // Bodies that go out with the head, behind it, and in many pieces.
        for (at, bytes) in [5, 30_000, 4_000_000].into_iter().enumerate() {
            let mut client = Client::connect(proxy.http());
            assert_eq!(client.get("app.test", "/").body, b"secure");
            let head = format!("POST /breaks HTTP/1.1\r\nHost: app.test\r\nContent-Length: {bytes}\r\n\r\n");
            // The answer may come before all of the body has gone.
            let _ = client.try_send([head.into_bytes(), vec![b'x'; bytes]].concat());
            match client.try_response("POST") {
                Ok(answer) => assert_eq!(answer.status(), 502, "{bytes}"),
                Err(Fault::Reset | Fault::Closed) if bytes > 30_000 => {}
                Err(fault) => panic!("{bytes}: {fault:?}"),
            }
            assert_eq!(instance.shared.broken.load(Ordering::SeqCst), at + 1, "{bytes}");
        }
    }

    fn bodies_pass_in_both_directions(driver) {
        let authority = Authority::new("the apps' CA");
        let instance = Secure::new(&authority.server(&["app.internal"]), None);
        let proxy = start(driver);
        register(&proxy, &instance, json!({ "insecure": true }));
        proxy.api().domain("app.test", "app", None);
        let body: Vec<u8> = (0..3_000_000_u32).map(|byte| (byte ^ byte >> 8) as u8).collect();
        let mut client = Client::connect(proxy.http());
        client.send(format!("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n", body.len()));
        client.send(&body);
        let answer = client.response("POST");
        assert_eq!(answer.status(), 200);
        assert!(answer.body == body, "what came back differs");
    }

    fn we_show_our_certificate_where_one_is_demanded(driver) {
        let (authority, clients) = (Authority::new("the apps' CA"), Authority::new("the gateways' CA"));
        let instance = Secure::new(&authority.server(&["app.internal"]), Some(&clients));
        let proxy = start(driver);
        let folder = tempfile::tempdir().unwrap();
        let ca = written(folder.path(), "ca.pem", &authority.pem());
        let (certificate, key) = clients.client("gateway").write(folder.path(), "gateway");
        let with = |client_certificate: Value| {
            json!({ "ca_file": ca, "server_name": "app.internal", "client_certificate": client_certificate })
        };
        register(&proxy, &instance, with(Value::Null));
        proxy.api().domain("app.test", "app", None);
        assert_eq!(ask(&proxy).0, 502);
        register(&proxy, &instance, with(json!({ "certificate": certificate, "key": key })));
        assert_eq!(ask(&proxy), (200, String::new()));
        let shown = &proxy.api().app("app")["upstream_tls"];
        assert_eq!(shown["client_certificate"]["key"], json!(key));
        assert_eq!((&shown["insecure"], &shown["server_name"]), (&json!(false), &json!("app.internal")));
    }

    fn health_is_asked_over_tls_with_the_same_trust(driver) {
        let authority = Authority::new("the apps' CA");
        let instance = Secure::new(&authority.server(&["app.internal"]), None);
        let proxy = start(driver);
        let folder = tempfile::tempdir().unwrap();
        let ca = written(folder.path(), "ca.pem", &authority.pem());
        let check = |tls: Value| {
            let body = json!({
                "app_id": "app",
                "upstream_tls": tls,
                "instance": { "instance_id": "app-1", "target": instance.target(), "health_check": "/health" },
            });
            let answer = proxy.api().post("/api/apps/register", &body);
            assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        };
        check(json!({ "ca_file": ca, "server_name": "app.internal" }));
        eventually("healthy", || (proxy.api().instance("app", "app-1")["health"] == "healthy").then_some(()));
        assert!(instance.shared.health_checks.load(Ordering::SeqCst) > 0);
        check(json!({ "ca_file": ca, "server_name": "other.internal" }));
        let reason = eventually("unhealthy", || {
            let instance = proxy.api().instance("app", "app-1");
            (instance["health"] == "unhealthy").then(|| instance["health_reason"].to_string())
        });
        assert!(reason.contains("TLS"), "{reason}");
    }
}

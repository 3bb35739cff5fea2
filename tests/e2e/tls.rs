//! TLS with clients: choice of certificates, refusals, fields for the app, and the cost of floods.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use ringway::certs::CertificateSettings;
use ringway::model::{
    AppId, CertificateFiles, Change, ClientAuth, ClientAuthNeed, DomainKind, DomainSpec, FilePath, Hostname,
    TenantId,
};
use ringway::{Builder, DriverChoice, Gateway, Handle, Submission, TlsSettings};
use rustls::ProtocolVersion;

use crate::kit::tls::{HANDSHAKE_LIMIT, is_resumed, junk_hello, presented, put};
use crate::kit::*;

/// A gateway in this process with certificates of its own, and an app on some domains.
struct Scene {
    gateway: Handle,
    authority: Authority,
    origin: Origin,
    folder: tempfile::TempDir,
}

fn path(path: &Path) -> FilePath {
    FilePath::parse(path.to_str().unwrap()).unwrap()
}

impl Scene {
    /// `app.test` has a certificate of its own.
    fn new(driver: Driver) -> Self {
        Self::with(driver, &["app.test"], None, |builder| builder)
    }

    /// A certificate for each of `names`, and one for `default` names that have none.
    fn with(
        driver: Driver,
        names: &[&str],
        default: Option<&[&str]>,
        build: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let authority = Authority::new("the tests' own");
        let folder = tempfile::tempdir().unwrap();
        let mut settings = CertificateSettings::new(folder.path().join("certificates"));
        for name in names {
            let place = folder.path().join("certificates/domains").join(name);
            std::fs::create_dir_all(&place).unwrap();
            let pair = authority.server(&[name]);
            put(&place.join("certificate.pem"), &pair.certificate);
            put(&place.join("key.pem"), &pair.key);
        }
        if let Some(default) = default {
            let (certificate, key) = authority.server(default).write(folder.path(), "default");
            settings.default_files =
                Some(CertificateFiles { certificate: path(&certificate), key: path(&key) });
        }
        let driver = match driver {
            Driver::IoUring => DriverChoice::IoUring,
            Driver::Epoll => DriverChoice::Epoll,
        };
        let any_port: Vec<SocketAddr> = vec!["127.0.0.1:0".parse().unwrap()];
        let builder = Gateway::builder()
            .http(any_port.clone())
            .https(any_port)
            .certificates(settings)
            .driver(driver)
            .workers(2)
            .pin(false);
        let gateway = build(builder).spawn().unwrap();
        let origin = Origin::named("a");
        gateway.register_app("app", &origin.target()).unwrap();
        let scene = Self { gateway, authority, origin, folder };
        for name in names {
            scene.domain(name, None, None);
        }
        for name in names {
            scene.wait_for(name);
        }
        scene
    }

    /// Registers a domain of `app`, for a tenant and with demands if there are any.
    fn domain(&self, name: &str, tenant: Option<&str>, client_auth: Option<ClientAuth>) {
        let change = Change::AddDomain(DomainSpec {
            policy: None,
            name: Hostname::parse(name).unwrap(),
            app: AppId::parse("app").unwrap(),
            tenant: tenant.map(|tenant| TenantId::parse(tenant).unwrap()),
            kind: DomainKind::Custom,
            cname_target: None,
            certificate: None,
            client_auth,
        });
        self.gateway.client().submit(Submission::of(change)).unwrap();
    }

    fn https(&self) -> SocketAddr {
        self.gateway.https_addresses()[0]
    }

    fn http(&self) -> Client {
        Client::connect(self.gateway.http_addresses()[0])
    }

    fn tls(&self, name: &str) -> Tls {
        Tls::new(&self.authority, name)
    }

    fn client(&self, name: &str) -> Client {
        self.tls(name).connect(self.https())
    }

    /// Until a certificate that was put into the folder is served: it is looked for once its domain is known.
    fn wait_for(&self, name: &str) {
        eventually("a certificate is served", || self.tls(name).stream(self.https()).ok());
    }

    fn metrics(&self) -> String {
        self.gateway.client().metrics().unwrap()
    }

    /// Waits for this number of handshakes refused for a reason. They are counted when the connection is
    /// closed, perhaps only after the client has closed.
    fn assert_refused(&self, reason: &str, count: u64) {
        let expected = format!("ringway_tls_handshakes_refused_total{{reason=\"{reason}\"}} {count}");
        eventually(&expected, || self.metrics().lines().any(|line| line == expected).then_some(()));
    }

    /// CAs for clients, and their domains.
    fn client_auth(&self, clients: &Authority, need: ClientAuthNeed) -> ClientAuth {
        let file = self.folder.path().join("clients.pem");
        put(&file, &clients.pem());
        ClientAuth { ca_file: path(&file), need }
    }
}

const UNRECOGNIZED_NAME: u8 = 112;
/// The type of a record that belongs to a handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// Where a balancer connects from: another address than the clients of most scenes.
const BALANCER: [u8; 4] = [127, 0, 0, 9];
/// Fields about a client.
const LINE: &[u8] = b"PROXY TCP4 203.0.113.9 192.0.2.1 49153 443\r\n";

fn balanced(builder: Builder) -> Builder {
    builder.proxy_protocol(vec![IpAddr::from(BALANCER).to_string().parse().unwrap()])
}

/// Names of the default certificate in most tests. (Clients accept no wildcard for a top-level domain.)
const NAMES: &[&str] =
    &["a1.test", "a2.test", "b.test", "none.test", "echo.test", "open.test", "bank.test", "club.test"];

on_both_drivers! {
    fn a_request_over_tls_reaches_the_app_as_https(driver) {
        let scene = Scene::new(driver);
        let mut client = scene.client("app.test");
        assert_eq!(client.get("app.test", "/x?y").text(), "a");
        assert_eq!(client.get("app.test", "/again").text(), "a");
        for request in scene.origin.requests() {
            assert_eq!(request.field("x-forwarded-proto"), Some("https"));
            assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
        }
        assert!(scene.metrics().contains("ringway_tls_handshakes_total{protocol=\"TLSv1.3\",resumed=\"false\"}"));
    }

    fn bodies_pass_in_both_directions(driver) {
        let scene = Scene::new(driver);
        let echo = Origin::echo();
        scene.gateway.register_app("echo", &echo.target()).unwrap();
        scene.gateway.register_domain("echo.test", "echo", None).unwrap();
        // No tenant, like `app.test`, but another app: a separate connection is needed.
        let mut client = scene.client("app.test");
        assert_eq!(client.get("echo.test", "/").status(), 421);
        let mut body = pattern(300_000);
        let scene = Scene::with(driver, &[], Some(NAMES), |builder| builder);
        scene.gateway.register_app("echo", &echo.target()).unwrap();
        scene.gateway.register_domain("echo.test", "echo", None).unwrap();
        scene.wait_for("echo.test");
        let mut client = scene.client("echo.test");
        for _ in 0..3 {
            client.send(format!("POST / HTTP/1.1\r\nHost: echo.test\r\nContent-Length: {}\r\n\r\n", body.len()));
            client.send(&body);
            assert_eq!(client.response("POST").body, body);
            client.send("POST / HTTP/1.1\r\nHost: echo.test\r\nTransfer-Encoding: chunked\r\n\r\n");
            client.send(chunked(&body, 7_000));
            assert_eq!(client.response("POST").body, body);
            body.truncate(body.len() / 100);
        }
    }

    fn an_unknown_server_name_is_refused_with_an_alert(driver) {
        let scene = Scene::new(driver);
        for name in ["stranger.test", "www.app.test", "xapp.test"] {
            assert_eq!(scene.tls(name).refusal(scene.https()).alert(), Some(UNRECOGNIZED_NAME), "{name}");
        }
        scene.domain("pending.test", None, None);
        assert_eq!(scene.tls("pending.test").refusal(scene.https()).alert(), Some(UNRECOGNIZED_NAME));
        assert_eq!(scene.tls("app.test").without_name().refusal(scene.https()).alert(), Some(UNRECOGNIZED_NAME));
        scene.assert_refused("unknown_name", 3);
        scene.assert_refused("no_certificate", 1);
        scene.assert_refused("no_name", 1);
        assert_eq!(scene.client("app.test").get("app.test", "/").status(), 200);
        assert_eq!(scene.client("app.test").get("stranger.test", "/").status(), 404);
    }

    fn the_default_certificate_is_for_names_that_it_covers(driver) {
        let scene = Scene::with(driver, &["own.test"], Some(&["*.shop.test", "own.test", "127.0.0.1"]), |builder| builder);
        scene.domain("a.shop.test", None, None);
        scene.domain("other.test", None, None);
        assert_eq!(scene.client("a.shop.test").get("a.shop.test", "/").status(), 200);
        let own = presented(&scene.tls("own.test").stream(scene.https()).unwrap());
        let shop = presented(&scene.tls("a.shop.test").stream(scene.https()).unwrap());
        assert_ne!(own, shop, "a domain's own certificate comes first");
        assert_eq!(scene.tls("other.test").refusal(scene.https()).alert(), Some(UNRECOGNIZED_NAME));
        // A covered name that is not registered: 404 over TLS.
        assert_eq!(scene.client("b.shop.test").get("b.shop.test", "/").status(), 404);
        // Without a name, the default one.
        let mut nameless = scene.tls("127.0.0.1").without_name().connect(scene.https());
        assert_eq!(nameless.get("a.shop.test", "/").status(), 200);
    }

    fn a_connection_serves_one_tenant(driver) {
        let scene = Scene::with(driver, &[], Some(NAMES), |builder| builder);
        for (name, tenant) in [("a1.test", Some("a")), ("a2.test", Some("a")), ("b.test", Some("b")), ("none.test", None)] {
            scene.domain(name, tenant, None);
        }
        scene.wait_for("a1.test");
        let mut client = scene.client("a1.test");
        assert_eq!(client.get("a1.test", "/").status(), 200);
        assert_eq!(client.get("a2.test", "/").status(), 200, "of the same tenant");
        for other in ["b.test", "none.test"] {
            let answer = client.get(other, "/");
            assert_eq!((answer.status(), &answer.json()["error"]["code"]), (421, &json!("misdirected")), "{other}");
        }
        assert_eq!(client.get("A1.TEST.", "/").status(), 200, "and the connection serves on");
        assert_eq!(scene.client("b.test").get("b.test", "/").status(), 200);
    }

    fn hosts_with_a_certificate_are_redirected_to_it(driver) {
        let scene = Scene::new(driver);
        scene.domain("plain.test", None, None);
        let port = scene.https().port();
        let mut client = scene.http();
        let answer = client.get("APP.test:80", "/a%2Fb/?q=1&&r=%41");
        assert_eq!(answer.status(), 301);
        assert_eq!(answer.field("location"), Some(&*format!("https://app.test:{port}/a%2Fb/?q=1&&r=%41")));
        client.send("HEAD / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert_eq!(client.response("HEAD").status(), 301);
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            client.send(format!("{method} /form HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello"));
            let answer = client.response(method);
            assert_eq!(answer.status(), 308);
            assert_eq!(answer.field("location"), Some(&*format!("https://app.test:{port}/form")));
        }
        assert_eq!(scene.origin.request_count(), 0);
        assert_eq!(client.get("plain.test", "/").text(), "a", "a host that has none is served");
        assert_eq!(client.get("app.test", "/.well-known/acme-challenge/app-s_own").text(), "a", "some apps have a CA of their own");
        assert_eq!(client.get("nobody.test", "/").status(), 404);
    }

    fn the_public_health_path_is_answered_before_redirects_and_over_tls(driver) {
        for mode in [ringway::HttpMode::Redirect, ringway::HttpMode::HttpsOnly, ringway::HttpMode::Plain] {
            let scene = Scene::with(driver, &["app.test"], None, |builder| {
                let public_health = ringway::PublicHealth::parse("/healthz@*").ok();
                builder.http_mode(mode).data(ringway::DataSettings { public_health, ..ringway::DataSettings::default() })
            });
            let mut client = scene.http();
            for host in ["app.test", "203.0.113.7", "nobody.test"] {
                let answer = client.get(host, "/healthz");
                assert_eq!((answer.status(), answer.text()), (200, "ok".into()), "{mode:?} {host}");
            }
            assert_eq!(scene.client("app.test").get("127.0.0.1", "/healthz").text(), "ok", "{mode:?}");
            assert_eq!(scene.origin.request_count(), 0, "{mode:?}");
        }
    }

    fn hosts_that_the_default_certificate_covers_are_redirected_too(driver) {
        let scene = Scene::with(driver, &[], Some(&["*.shop.test"]), |builder| builder.https_public_port(443));
        scene.domain("a.shop.test", None, None);
        scene.domain("other.test", None, None);
        let redirected = eventually("the cores have the default certificate", || {
            let answer = scene.http().get("a.shop.test", "/x");
            (answer.status() == 301).then_some(answer)
        });
        assert_eq!(redirected.field("location"), Some("https://a.shop.test/x"));
        assert_eq!(scene.http().get("other.test", "/").status(), 200);
    }

    fn a_trusted_proxy_that_ended_the_clients_tls_is_not_redirected(driver) {
        let scene = Scene::with(driver, &["app.test"], None, |builder| {
            let trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
            builder.data(ringway::DataSettings { trusted_proxies, ..ringway::DataSettings::default() })
        });
        let mut client = scene.http();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-Proto: https\r\n\r\n");
        assert_eq!(client.response("GET").status(), 200);
        assert_eq!(client.get("app.test", "/").status(), 301);
        // Fields that it lacks are from our own connection.
        assert_eq!(scene.client("app.test").get("app.test", "/").status(), 200);
        assert_eq!(scene.origin.requests()[1].field("x-forwarded-proto"), Some("https"));
    }

    fn plain_http_on_the_tls_port_gets_a_hint(driver) {
        let scene = Scene::new(driver);
        let mut client = Client::connect(scene.https());
        let answer = client.get("app.test", "/");
        assert_eq!((answer.status(), &answer.json()["error"]["code"]), (400, &json!("plain_http")));
        assert!(answer.text().contains("https://"), "{}", answer.text());
        client.assert_closed();
        scene.assert_refused("plain_http", 1);
    }

    fn the_modern_setting_takes_tls_1_3_only(driver) {
        static OLD: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
        let scene = Scene::new(driver);
        let mut client = scene.tls("app.test").versions(OLD).connect(scene.https());
        assert_eq!(client.get("app.test", "/").status(), 200);
        assert_eq!(client.tls().protocol_version(), Some(ProtocolVersion::TLSv1_2));
        let modern = Scene::with(driver, &["app.test"], None, |builder| builder.tls(TlsSettings { modern: true }));
        let refused = modern.tls("app.test").versions(OLD).refusal(modern.https());
        assert_eq!(refused.alert(), Some(70), "protocol_version");
        modern.assert_refused("incompatible", 1);
    }

    fn a_client_that_comes_back_is_recognised_on_any_core(driver) {
        let scene = Scene::new(driver);
        let tls = scene.tls("app.test").resuming();
        let mut first = tls.connect(scene.https());
        assert_eq!(first.get("app.test", "/").status(), 200);
        let mut resumed = 0;
        // The kernel spreads them over both cores.
        for _ in 0..16 {
            let stream = tls.stream(scene.https()).unwrap();
            resumed += usize::from(is_resumed(&stream));
            let mut client = Client::over_tls(stream);
            assert_eq!(client.get("app.test", "/").status(), 200);
        }
        assert_eq!(resumed, 16);
    }

    fn a_client_that_closes_its_direction_during_the_answer_gets_all_of_it(driver) {
        let scene = Scene::with(driver, &["app.test"], Some(&["large.test"]), |builder| builder);
        let body = pattern(1_000_000);
        let large = {
            let body = body.clone();
            Origin::http(move |_, connection| {
                connection.reply(200, &body);
                After::Keep
            })
        };
        scene.gateway.register_app("large", &large.target()).unwrap();
        scene.gateway.register_domain("large.test", "large", None).unwrap();
        for _ in 0..8 {
            let mut client = scene.client("large.test");
            client.send("GET / HTTP/1.1\r\nHost: large.test\r\nConnection: close\r\n\r\n");
            let mut answer = client.response_head("GET");
            client.finish();
            client.body(&mut answer).unwrap();
            assert!(answer.body == body, "{} bytes", answer.body.len());
        }
    }

    fn a_certificate_is_swapped_while_connections_live(driver) {
        let scene = Scene::with(driver, &[], Some(&["app.test"]), |builder| builder);
        scene.domain("app.test", None, None);
        scene.wait_for("app.test");
        let mut old = scene.client("app.test");
        assert_eq!(old.get("app.test", "/").status(), 200);
        let next = scene.authority.server(&["app.test"]);
        next.write(scene.folder.path(), "default");
        // Both cores: a dozen connections in a row.
        eventually("the new certificate is served everywhere", || {
            (0..12)
                .all(|_| presented(&scene.tls("app.test").stream(scene.https()).unwrap()) == next.der())
                .then_some(())
        });
        assert_eq!(old.get("app.test", "/").status(), 200, "what was there goes on");
        // A broken one changes nothing.
        put(&scene.folder.path().join("default.pem"), "no certificate");
        let third = scene.authority.server(&["app.test"]);
        for _ in 0..20 {
            assert_eq!(presented(&scene.tls("app.test").stream(scene.https()).unwrap()), next.der());
        }
        third.write(scene.folder.path(), "default");
        eventually("a good one is taken up again", || {
            (presented(&scene.tls("app.test").stream(scene.https()).unwrap()) == third.der()).then_some(())
        });
    }

    fn required_client_certificates_refuse_clients_without_one(driver) {
        let scene = Scene::with(driver, &[], Some(NAMES), |builder| builder);
        let clients = Authority::new("the clients' own");
        let strangers = Authority::new("somebody else's");
        scene.domain("bank.test", None, Some(scene.client_auth(&clients, ClientAuthNeed::Required)));
        scene.domain("open.test", None, None);
        scene.wait_for("open.test");
        let alice = clients.client("alice");
        let mut client = scene.tls("bank.test").certificate(&alice).connect(scene.https());
        client.send(
            "GET / HTTP/1.1\r\nHost: bank.test\r\nX-Client-Cert-Subject: CN=root\r\nX_Client_Cert_Verified: SUCCESS\r\n\r\n",
        );
        assert_eq!(client.response("GET").status(), 200);
        let request = scene.origin.one_request();
        assert_eq!(request.field("x-client-cert-verified"), Some("SUCCESS"));
        assert_eq!(request.field("x-client-cert-subject"), Some("CN=alice"));
        assert_eq!(request.field("x-client-cert-fingerprint").map(str::len), Some(64));
        assert!(request.all("x_client_cert_verified").is_empty());

        let none = scene.tls("bank.test").refusal(scene.https());
        assert_eq!(none.alert(), Some(116), "certificate_required: {none:?}");
        let strange = scene.tls("bank.test").certificate(&strangers.client("alice")).refusal(scene.https());
        assert_eq!(strange.alert(), Some(48), "unknown_ca: {strange:?}");
        scene.assert_refused("client_certificate_missing", 1);
        scene.assert_refused("client_certificate_invalid", 1);

        // Neither over a connection that demanded nothing, nor without TLS.
        assert_eq!(scene.client("open.test").get("bank.test", "/").status(), 421);
        let mut nobody = scene.http();
        let answer = nobody.get("bank.test", "/");
        assert!(answer.status() == 301 || answer.status() == 421, "{}", answer.first_line);
        // A domain without client authentication is served, and its app gets no fields about certificates.
        assert_eq!(client.get("open.test", "/").status(), 200);
        let request = scene.origin.requests().pop().unwrap();
        assert!(request.all("x-client-cert-verified").is_empty(), "{request:?}");
    }

    fn optional_client_certificates_are_reported_to_the_app(driver) {
        let scene = Scene::with(driver, &[], Some(NAMES), |builder| builder);
        let clients = Authority::new("the clients' own");
        scene.domain("club.test", None, Some(scene.client_auth(&clients, ClientAuthNeed::Optional)));
        assert_eq!(scene.client("club.test").get("club.test", "/").status(), 200);
        assert_eq!(scene.origin.one_request().field("x-client-cert-verified"), Some("NONE"));
        let mut member = scene.tls("club.test").certificate(&clients.client("bob")).connect(scene.https());
        assert_eq!(member.get("club.test", "/").status(), 200);
        let request = scene.origin.requests().pop().unwrap();
        assert_eq!(request.field("x-client-cert-verified"), Some("SUCCESS"));
        assert_eq!(request.field("x-client-cert-subject"), Some("CN=bob"));
        let strangers = Authority::new("somebody else's");
        let strange = scene.tls("club.test").certificate(&strangers.client("bob")).refusal(scene.https());
        assert_eq!(strange.alert(), Some(48), "a bad one is refused: {strange:?}");
    }

    fn clients_are_refused_while_their_ca_cannot_be_loaded(driver) {
        let scene = Scene::with(driver, &[], Some(NAMES), |builder| builder);
        let missing = path(&scene.folder.path().join("missing.pem"));
        let clients = Authority::new("the clients' own");
        scene.domain("bank.test", None, Some(ClientAuth { ca_file: missing, need: ClientAuthNeed::Required }));
        let refused = scene.tls("bank.test").certificate(&clients.client("alice")).refusal(scene.https());
        assert_eq!(refused.alert(), Some(80), "internal_error: {refused:?}");
        scene.assert_refused("no_client_ca", 1);
        assert_eq!(scene.origin.request_count(), 0);
    }

    fn a_balancer_names_the_client_before_tls_begins(driver) {
        let scene = Scene::with(driver, &["app.test"], None, balanced);
        let balancer = || Client::connect_from(BALANCER, scene.https());
        let mut socket = balancer().into_socket();
        std::io::Write::write_all(&mut socket, LINE).unwrap();
        let mut client = Client::over_tls(scene.tls("app.test").stream_over(socket).unwrap());
        assert_eq!(client.get("app.test", "/").status(), 200);
        assert_eq!(scene.origin.one_request().field("x-forwarded-for"), Some("203.0.113.9"));
        let without = scene.tls("app.test").stream_over(balancer().into_socket());
        assert!(matches!(without, Err(TlsFault::Closed)), "{without:?}");
    }

    /// A line is at most 107 bytes long, and a binary header 4,112 here.
    fn a_header_that_is_no_good_ends_its_connection_before_tls(driver) {
        let scene = Scene::with(driver, &["app.test"], None, balanced);
        let hello = scene.tls("app.test").hello();
        let binary = |version, kind, length: u16| {
            [b"\r\n\r\n\0\r\nQUIT\n", &[version, kind][..], &length.to_be_bytes()].concat()
        };
        let unknown = |bytes: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(bytes - 16)).into_bytes();
        let bad = [
            // None at all, behind the hello, and twice.
            Vec::new(),
            [&hello[..], LINE].concat(),
            [LINE, LINE].concat(),
            // Cut.
            b"PROXY TCP4 203.0.113.9 192.0.2.1 49153\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.9 192.0.2.1 49153 443\n".to_vec(),
            b"PROXY TCP4 203.0.113.9".to_vec(),
            binary(0x21, 0x11, 11),
            // Too large.
            unknown(108),
            b"PROXY UNKNOWN".iter().copied().chain([b' '; 5000]).collect(),
            binary(0x21, 0x11, 4097),
            binary(0x21, 0x11, 0xffff),
            // Unknown version, command, family or address.
            binary(0x31, 0x11, 12),
            binary(0x22, 0x11, 12),
            binary(0x21, 0x12, 12),
            b"PROXY TCP4 203.0.113.999 192.0.2.1 49153 443\r\n".to_vec(),
            b"PROXY TCP4 ::1 ::1 49153 443\r\n".to_vec(),
        ];
        for header in bad {
            let mut client = Client::connect_from(BALANCER, scene.https());
            let _ = client.try_send([&header[..], &hello].concat());
            let answer = client.try_rest().unwrap_or_default();
            assert_ne!(answer.first(), Some(&HANDSHAKE), "served after {}", header.escape_ascii());
        }
        let good = [
            unknown(107),
            binary(0x20, 0, 0),
            [&binary(0x21, 0x11, 4096)[..], &[203, 0, 113, 9, 192, 0, 2, 1, 0xc0, 1, 1, 0xbb], &[0; 4084]].concat(),
        ];
        for header in good {
            let mut client = Client::connect_from(BALANCER, scene.https());
            client.send([&header[..], &hello].concat());
            assert_eq!(client.exactly(1), [HANDSHAKE], "refused after {}", header.escape_ascii());
        }
        assert_eq!(scene.origin.request_count(), 0);
    }

    /// From the first byte of the header to the end of the handshake there is one time for all, however it is
    /// spent.
    fn a_header_that_comes_slowly_takes_the_handshakes_time(driver) {
        let scene = Scene::with(driver, &["app.test"], None, balanced);
        let beginnings: [&[u8]; 4] = [b"", b"P", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x0f\xff", LINE];
        let mut slow: Vec<Client> = beginnings
            .iter()
            .map(|beginning| {
                let mut client = Client::connect_from(BALANCER, scene.https());
                client.send(beginning);
                client
            })
            .collect();
        let mut socket = Client::connect_from(BALANCER, scene.https()).into_socket();
        std::io::Write::write_all(&mut socket, LINE).unwrap();
        let mut other = Client::over_tls(scene.tls("app.test").stream_over(socket).unwrap());
        assert_eq!(other.get("app.test", "/").status(), 200, "another is served meanwhile");
        for client in &mut slow {
            assert!(client.rest_within(HANDSHAKE_LIMIT).is_empty());
        }
        other.assert_open("app.test");
    }

    /// From untrusted peers it is neither a header nor TLS.
    fn proxy_headers_of_untrusted_peers_are_refused_before_tls(driver) {
        let scene = Scene::with(driver, &["app.test"], None, balanced);
        let hello = scene.tls("app.test").hello();
        for header in [LINE, b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0"] {
            let mut liar = Client::connect(scene.https());
            liar.send([header, &hello].concat());
            assert_eq!(liar.response("GET").status(), 400);
            liar.assert_closed();
        }
        scene.assert_refused("plain_http", 2);
        assert_eq!(scene.client("app.test").get("app.test", "/").status(), 200, "without one it is served");
        assert_eq!(scene.origin.one_request().field("x-forwarded-for"), Some("127.0.0.1"));
    }

    /// The bound of one client is for those behind a balancer each, and not for all of them together.
    fn clients_behind_a_balancer_have_handshakes_of_their_own(driver) {
        let scene = Scene::with(driver, &["app.test"], None, |builder| {
            let data = ringway::DataSettings { handshakes_per_client_max: 4, ..ringway::DataSettings::default() };
            balanced(builder.data(data).workers(1))
        });
        let begin = |client: &str| {
            let mut connection = Client::connect_from(BALANCER, scene.https());
            connection.send(format!("PROXY TCP4 {client} 192.0.2.1 49153 443\r\n"));
            connection
        };
        // The excess one is not determined: their headers are read concurrently.
        let _silent: Vec<Client> = (0..5).map(|_| begin("203.0.113.9")).collect();
        scene.assert_refused("client_full", 1);
        let mut other = Client::over_tls(scene.tls("app.test").stream_over(begin("203.0.113.10").into_socket()).unwrap());
        assert_eq!(other.get("app.test", "/").status(), 200);
    }

    fn a_flood_of_junk_leaves_others_served(driver) {
        let scene = Scene::new(driver);
        let mut established = scene.client("app.test");
        assert_eq!(established.get("app.test", "/").status(), 200);
        let mut junk: Vec<Client> = Vec::new();
        for round in 0..300 {
            let mut client = Client::connect(scene.https());
            let bytes = match round % 3 {
                0 => junk_hello(),
                // The beginning of a record that never ends.
                1 => junk_hello()[..200].to_vec(),
                _ => pattern(1000),
            };
            let _ = client.try_send(bytes);
            junk.push(client);
            if round % 20 == 0 {
                assert_eq!(established.get("app.test", "/").status(), 200);
                assert_eq!(scene.client("app.test").get("app.test", "/").status(), 200);
            }
        }
        drop(junk);
        assert_eq!(scene.client("app.test").get("app.test", "/").status(), 200);
    }

    fn a_client_has_so_many_handshakes_and_no_more(driver) {
        let scene = Scene::with(driver, &["app.test"], None, |builder| {
            let data = ringway::DataSettings { handshakes_per_client_max: 4, ..ringway::DataSettings::default() };
            builder.data(data).workers(1)
        });
        let silent: Vec<Client> =
            (0..4).map(|_| Client::connect_from([127, 0, 0, 8], scene.https())).collect();
        if let Ok(mut fifth) = Client::try_connect_from([127, 0, 0, 8], scene.https()) {
            fifth.assert_closed();
        }
        scene.assert_refused("client_full", 1);
        assert_eq!(scene.client("app.test").get("app.test", "/").status(), 200, "another client has its own");
        drop(silent);
        eventually("there is room again", || {
            let client = Client::try_connect_from([127, 0, 0, 8], scene.https()).ok()?;
            scene.tls("app.test").stream_over(client.into_socket()).ok()
        });
    }

    fn a_handshake_that_stands_still_costs_a_bounded_time(driver) {
        let scene = Scene::new(driver);
        let mut silent = Client::connect(scene.https());
        let mut half = Client::connect(scene.https());
        half.send(&junk_hello()[..200]);
        assert!(half.rest_within(HANDSHAKE_LIMIT).len() < 100);
        assert!(silent.rest_within(HANDSHAKE_LIMIT).is_empty());
        scene.assert_refused("timeout", 2);
    }

    fn the_drain_lets_requests_over_tls_finish_and_ends_the_rest(driver) {
        let scene = Scene::new(driver);
        let mut idle = scene.client("app.test");
        assert_eq!(idle.get("app.test", "/").status(), 200);
        let mut silent = Client::connect(scene.https());
        let mut half = scene.client("app.test");
        half.send("GET / HTTP/1.1\r\nHost: app.test\r\n");
        let gate = std::thread::spawn(move || {
            // The rest of a request in flight.
            half.send("\r\n");
            half.response("GET").status()
        });
        assert!(scene.gateway.shutdown(Duration::from_secs(20)).unwrap(), "every connection ended by itself");
        assert_eq!(gate.join().unwrap(), 200);
        idle.assert_closed();
        silent.assert_closed();
    }
}

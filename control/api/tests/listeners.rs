//! Access: listeners, tokens, Unix sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use ringway_net::{DriverChoice, RuntimeOptions};

use super::fake::{FakePlane, State};
use super::{Api, Client, PATIENCE, access};
use crate::{AccessSettings, AdminTls, Listeners, Settings, TokensFile, bind_unix, serve};

const TOKEN: &str = "a-token-of-the-tests";

fn with_token() -> Settings {
    Settings { access: access(Some(TOKEN)), ..Settings::default() }
}

fn connect(path: &std::path::Path) -> Client<UnixStream> {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Client { stream, pending: Vec::new() }
}

#[test]
fn an_open_listener_without_a_token_is_not_served() {
    let attempt = |settings: Settings| {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let plane = FakePlane(Arc::new(Mutex::new(State::default())));
        ringway_net::run(RuntimeOptions::default(), |_| async move {
            let listeners = Listeners { tcp: vec![listener], ..Listeners::default() };
            serve(listeners, Rc::new(plane), settings, std::future::ready(())).await
        })
        .unwrap()
    };
    let error = attempt(Settings::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("without a token"));
    attempt(with_token()).unwrap();
}

#[test]
fn the_token_is_asked_for_and_two_are_none() {
    let api = Api::with(with_token(), DriverChoice::Auto, Listeners::default());
    let right = format!("Bearer {TOKEN}");
    let ask = |fields: &[(&str, &str)]| api.connect().ask("GET", "/api/apps", fields, "").status;
    assert_eq!(ask(&[("Authorization", &right)]), 200);
    assert_eq!(ask(&[]), 401);
    assert_eq!(ask(&[("Authorization", &right), ("Authorization", &right)]), 401);
    assert_eq!(api.ask("GET", "/healthz", "").status, 200);
    assert_eq!(api.ask("GET", "/metrics", "").status, 401);
    assert_eq!(api.ask("GET", "/nowhere", "").status, 404);
}

#[test]
fn a_unix_socket_is_for_owner_and_group_and_asks_for_no_token() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let listeners = Listeners { unix: vec![bind_unix(&path).unwrap()], ..Listeners::default() };
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let mut api = Api::with(with_token(), DriverChoice::Auto, listeners);
    let mut client = connect(&path);
    assert_eq!(client.ask("POST", "/api/apps/register", &[], r#"{"app_id":"a"}"#).status, 201);
    assert_eq!(client.ask("GET", "/api/apps", &[("Host", "anything.example")], "").status, 200);
    drop(client);
    api.finish().unwrap();
    assert!(!path.exists(), "the socket file goes with the socket");
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    drop(UnixListener::bind(&path).unwrap());
    let ours = bind_unix(&path).unwrap();
    assert_eq!(bind_unix(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
    assert!(path.exists());
    drop(ours);
    assert!(!path.exists());

    std::fs::write(&path, "a file of somebody else").unwrap();
    assert_eq!(bind_unix(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a file of somebody else");
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "no draft is left behind");
}

#[test]
fn a_socket_file_that_was_replaced_meanwhile_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let ours = bind_unix(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "another").unwrap();
    drop(ours);
    assert!(path.exists());
}

/// Files of a CA, of the API's certificate, and of a client's.
struct Certificates {
    folder: tempfile::TempDir,
    ca: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Certificates {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
        let made = Self { folder: tempfile::tempdir().unwrap(), ca };
        made.write("ca.pem", &made.ca.pem());
        let (chain, key) = made.issue("ringway.internal");
        made.write("cert.pem", &chain);
        made.write("key.pem", &key);
        made
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate of the CA and its key.
    fn issue(&self, name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        (params.signed_by(&key, &self.ca).unwrap().pem(), key.serialize_pem())
    }

    fn open(&self, client_ca: Option<&str>) -> AdminTls {
        let ca = client_ca.map(|name| self.path(name));
        AdminTls::open(&self.path("cert.pem"), &self.path("key.pem"), ca.as_deref()).unwrap()
    }

    /// A TLS connection, with a certificate of this CA if `client` is one.
    fn connect(&self, address: std::net::SocketAddr, client: Option<&Self>) -> TlsClient {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.ca.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.unwrap().with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let (chain, key) = authority.issue("ops");
                let chain = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![chain], key).unwrap()
            }
        };
        let name = "ringway.internal".try_into().unwrap();
        let tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream: rustls::StreamOwned::new(tls, stream), pending: Vec::new() }
    }
}

type TlsClient = Client<rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream>>;

/// An API with a TLS listener, and that listener's address.
fn with_tls(tls: AdminTls, token: Option<&str>) -> (Api, std::net::SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let settings = AccessSettings { tls: Some(tls), ..access(token) };
    let settings = Settings { access: settings, ..Settings::default() };
    let listeners = Listeners { tls: vec![listener], ..Listeners::default() };
    (Api::with(settings, DriverChoice::Auto, listeners), address)
}

#[test]
fn a_tls_listener_takes_clients_of_its_ca_with_a_token() {
    let (ours, others) = (Certificates::new(), Certificates::new());
    let (_api, address) = with_tls(ours.open(Some("ca.pem")), Some(TOKEN));
    let bearer = format!("Bearer {TOKEN}");
    let fields = [("Host", "ringway.internal"), ("Authorization", bearer.as_str())];
    let mut client = ours.connect(address, Some(&ours));
    assert_eq!(client.ask("GET", "/api/apps", &fields, "").status, 200);
    assert_eq!(client.ask("GET", "/api/apps", &fields[..1], "").code(), "unauthorized");
    assert_eq!(client.ask("GET", "/api/apps", &[("Host", "other.internal"), fields[1]], "").status, 421);
    for wrong in [None, Some(&others)] {
        let mut client = ours.connect(address, wrong);
        let request =
            format!("GET /healthz HTTP/1.1\r\nHost: ringway.internal\r\nAuthorization: {bearer}\r\n\r\n");
        let _ = client.stream.write_all(request.as_bytes());
        let mut reply = Vec::new();
        assert!(client.stream.read_to_end(&mut reply).is_err() && reply.is_empty(), "no probe either");
    }
}

#[test]
fn a_client_certificate_alone_is_enough_where_no_token_is_set() {
    let ours = Certificates::new();
    let (api, address) = with_tls(ours.open(Some("ca.pem")), None);
    let mut client = ours.connect(address, Some(&ours));
    assert_eq!(client.ask("POST", "/api/apps/register", &[], r#"{"app_id":"app1"}"#).status, 201);
    assert_eq!(api.ask("GET", "/api/apps", "").status, 200, "loopback without TLS stays as it was");
    let mut plain = Client { stream: std::net::TcpStream::connect(address).unwrap(), pending: Vec::new() };
    let reply = plain.ask("GET", "/healthz", &[], "");
    assert!(reply.status == 400 && reply.json()["detail"].as_str().unwrap().contains("https"), "{reply:?}");
}

#[test]
fn changed_files_of_certificates_and_tokens_are_read_again() {
    let ours = Certificates::new();
    let line = |name: &str| format!("{name} read {}\n", crate::TokenDigest::of(name.as_bytes()));
    let tokens = ours.path("tokens");
    std::fs::write(&tokens, line("first-secret-of-tests")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let access = AccessSettings {
        tokens: Some(TokensFile::open(&tokens).unwrap()),
        tls: Some(ours.open(None)),
        ..AccessSettings::default()
    };
    let settings = Settings { access, ..Settings::default() };
    let listeners = Listeners { tls: vec![listener], ..Listeners::default() };
    let api = Api::with(settings, DriverChoice::Auto, listeners);
    let ask = |secret: &str| {
        let bearer = format!("Bearer {secret}");
        api.connect().ask("GET", "/api/apps", &[("Authorization", &bearer)], "").status
    };
    assert_eq!((ask("first-secret-of-tests"), ask("second-secret-of-tests")), (200, 401));
    let server = |address| {
        let mut client = ours.connect(address, None);
        client.ask("GET", "/healthz", &[], "");
        client.stream.conn.peer_certificates().unwrap()[0].to_vec()
    };
    let before = server(address);
    std::fs::write(&tokens, line("second-secret-of-tests")).unwrap();
    let (chain, key) = ours.issue("ringway.internal");
    ours.write("cert.pem", &chain);
    ours.write("key.pem", &key);
    let end = std::time::Instant::now() + PATIENCE;
    while ask("second-secret-of-tests") != 200 || server(address) == before {
        assert!(std::time::Instant::now() < end, "the files are not read again");
    }
    assert_eq!(ask("first-secret-of-tests"), 401);
    // A broken file changes nothing.
    std::fs::write(&tokens, "nonsense").unwrap();
    let status =
        || api.connect().ask("GET", "/api/status", &[("Authorization", "Bearer second-secret-of-tests")], "");
    while !status().json()["warnings"].to_string().contains("keeps the tokens") {
        assert!(std::time::Instant::now() < end, "the broken file is not reported");
    }
    assert_eq!(status().json()["status"], "degraded");
}

#[test]
fn a_metrics_listener_has_probes_and_metrics_and_nothing_else() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let listeners = Listeners { metrics: vec![listener], ..Listeners::default() };
    let mut api = Api::with(with_token(), DriverChoice::Auto, listeners);
    let ask = |method: &str, path: &str| {
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream, pending: Vec::new() }.ask(method, path, &[], "")
    };
    for path in ["/metrics", "/healthz", "/ready", "/health/liveness", "/health/readiness", "/health/startup"]
    {
        assert_eq!(ask("GET", path).status, 200, "{path}");
        assert_eq!(ask("HEAD", path).status, 200, "{path}");
        assert_eq!(ask("POST", path).status, 405, "{path}");
    }
    for path in ["/api/apps", "/api/status", "/admin/health", "/api/openapi.json", "/", "/nowhere"] {
        assert_eq!(ask("GET", path).code(), "no_such_path", "{path}");
        assert_eq!(ask("OPTIONS", path).code(), "no_such_path", "{path}");
    }
    for (method, path) in
        [("POST", "/api/apps/register"), ("DELETE", "/api/apps/app1"), ("PUT", "/api/tenants/domains")]
    {
        assert_eq!(ask(method, path).code(), "no_such_path", "{method} {path}");
    }
    assert_eq!(ask("OPTIONS", "/metrics").field("allow"), Some("GET, HEAD, OPTIONS"));
    api.finish().unwrap();
    assert!(std::net::TcpStream::connect(address).is_err());
}

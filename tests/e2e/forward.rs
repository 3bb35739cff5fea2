//! The forward proxy: tunnels, `http://` requests, refusals and their reasons, names that flip, reload,
//! drain.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::kit::*;

/// Name server that answers questions about A records; other types have no records.
struct Names {
    address: SocketAddr,
    questions: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Names {
    /// `answer` gets the name and the number of its question.
    fn new(answer: impl Fn(&str, usize) -> Option<Ipv4Addr> + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (questions, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (asked, ended) = (questions.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            let mut buf = [0; 1500];
            while let Ok((count, from)) = socket.recv_from(&mut buf) {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let query = &buf[..count];
                let (name, end) = question(query);
                let is_a = query[end..end + 2] == [0, 1];
                let number = if is_a { asked.fetch_add(1, Ordering::SeqCst) } else { 0 };
                let address = answer(&name, number);
                // Header, question; without the additional section of the query.
                let mut response = query[..end + 4].to_vec();
                response[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
                match address {
                    Some(address) if is_a => {
                        response[7] = 1;
                        response.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
                        response.extend_from_slice(&address.octets());
                    }
                    Some(_) => {}
                    None => response[3] |= 3,
                }
                socket.send_to(&response, from).unwrap();
            }
        });
        Self { address, questions, over, thread: Some(thread) }
    }

    /// Every name below `test` is this machine.
    fn local() -> Self {
        Self::new(|name, _| name.ends_with(".test").then_some(Ipv4Addr::LOCALHOST))
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"end", self.address).unwrap();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

/// Name of the question, and the position behind it.
fn question(query: &[u8]) -> (String, usize) {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] != 0 {
        let len = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..at + 1 + len]).into_owned());
        at += len + 1;
    }
    (labels.join("."), at + 1)
}

/// A proxy with the section `forward` of these lines, and the ports of these origins.
fn proxy(driver: Driver, names: &Names, origin: &Origin, lines: &str) -> Proxy {
    let builder = Proxy::on(driver);
    let path = builder.folder().join("forward.yaml");
    std::fs::write(&path, section(origin, lines)).unwrap();
    builder
        .arg("--config")
        .arg(path.to_str().unwrap())
        .env("ACCESS_LOG", "stdout")
        .env("DNS_RESOLVER", &names.address.to_string())
        .start()
}

fn section(origin: &Origin, lines: &str) -> String {
    let port = origin.address().port();
    format!(
        "forward:\n  listen: 127.0.0.1:0\n  allow_clients: 127.0.0.0/16\n  connect_ports: [{port}]\n  \
         http_ports: [{port}]\n  allow_private: [{{domain: .test, networks: 127.0.0.0/8}}]\n{lines}"
    )
}

/// The line of the access log about this host.
fn line(proxy: &Proxy, host: &str) -> Value {
    eventually("the line is written", || {
        let of_host = |line: &String| {
            let value: Value = serde_json::from_str(line).ok()?;
            (value["host"] == host && value.get("status").is_some()).then_some(value)
        };
        proxy.log().iter().find_map(of_host)
    })
}

fn connect(client: &mut Client, target: &str) -> Message {
    client.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"));
    client.response_head("CONNECT")
}

on_both_drivers! {
    fn a_tunnel_carries_bytes_both_ways_and_each_side_may_end_first(driver) {
        let origin = Origin::script(|connection| {
            let Ok(bytes) = connection.exactly(5) else { return };
            connection.send(bytes);
            // The client ends first; the answer to its end still arrives.
            let rest = connection.until_closed();
            connection.send([&b"end:"[..], &rest].concat());
        });
        let names = Names::local();
        let proxy = proxy(driver, &names, &origin, "");
        let mut client = Client::connect(proxy.forward());
        let target = format!("a.test:{}", origin.address().port());
        // Bytes behind the head wait for the tunnel.
        client.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\nearly"));
        let answer = client.response_head("CONNECT");
        assert_eq!(answer.status(), 200);
        assert_eq!((answer.field("content-length"), answer.field("transfer-encoding")), (None, None));
        assert_eq!(client.exactly(5), b"early");
        client.send("more");
        client.finish();
        assert_eq!(client.rest(), b"end:more");
        let line = line(&proxy, "a.test");
        assert_eq!((&line["method"], &line["status"]), (&Value::from("CONNECT"), &Value::from(200)));
        assert_eq!(line["bytes_in"], 9);
        assert_eq!(line["bytes_out"], 13);
        assert_eq!(line["instance"], origin.address().to_string());
    }

    fn a_tunnel_carries_megabytes(driver) {
        let origin = Origin::forgetful(|connection| {
            let _ = connection.exactly(1);
            connection.send(vec![7; 8 * 1024 * 1024]);
        });
        let names = Names::local();
        let proxy = proxy(driver, &names, &origin, "");
        let mut client = Client::connect(proxy.forward());
        assert_eq!(connect(&mut client, &format!("a.test:{}", origin.address().port())).status(), 200);
        client.send("x");
        let bytes = client.rest();
        assert_eq!(bytes.len(), 8 * 1024 * 1024);
        assert!(bytes.iter().all(|byte| *byte == 7));
        assert!(proxy.metric("ringway_upgrades_total", &["kind=\"connect\""]) >= 1.0);
    }

    fn http_requests_are_forwarded_without_the_fields_of_the_proxy(driver) {
        let (origin, names) = (Origin::named("a"), Names::local());
        let proxy = proxy(driver, &names, &origin, "");
        let authority = format!("A.test:{}", origin.address().port());
        let mut client = Client::connect(proxy.forward());
        for _ in 0..2 {
            client.send(format!(
                "GET http://{authority}/path?a=1 HTTP/1.1\r\nHost: other.test\r\nProxy-Connection: keep-alive\r\n\
                 Proxy-Authorization: Basic eDp5\r\nX-Forwarded-For: 9.9.9.9\r\nX-Kept: 1\r\n\r\n"
            ));
            let answer = client.response("GET");
            assert_eq!((answer.status(), answer.text().as_str()), (200, "a"));
        }
        assert_eq!(origin.connections().len(), 1, "the connection is reused");
        let request = origin.requests().remove(0);
        assert_eq!(request.target(), "/path?a=1");
        assert_eq!(request.field("host"), Some(authority.to_lowercase().as_str()));
        assert_eq!(request.field("x-kept"), Some("1"));
        for gone in ["proxy-connection", "proxy-authorization", "x-forwarded-for", "x-real-ip", "x-request-id"] {
            assert_eq!(request.field(gone), None, "{gone}");
        }
        assert!(request.field("via").unwrap().starts_with("1.1 "));
        assert!(request.field("x-proxy-id").is_some());
    }

    fn refusals_name_their_reason(driver) {
        let (origin, names) = (Origin::named("a"), Names::local());
        let lists = "  lists: [{name: own, domains: [.bad.test]}]\n  blocked_answer: {status: 451, body: not here}\n";
        let proxy = proxy(driver, &names, &origin, lists);
        let port = origin.address().port();
        for (target, status, error) in [
            (format!("x.bad.test:{port}"), 451, Some("http_request_denied")),
            ("a.test:25".to_owned(), 403, Some("http_request_denied")),
            (format!("gone.example:{port}"), 502, Some("dns_error")),
            (format!("127.0.0.1:{port}"), 403, Some("destination_ip_prohibited")),
            (format!("[::ffff:127.0.0.1]:{port}"), 403, Some("destination_ip_prohibited")),
            (format!("[::1]:{port}"), 403, Some("destination_ip_prohibited")),
            (format!("localhost:{port}"), 403, Some("destination_ip_prohibited")),
            (format!("2130706433:{port}"), 400, Some("http_request_error")),
            (format!("127.1:{port}"), 400, Some("http_request_error")),
            (format!("0x7f.1:{port}"), 400, Some("http_request_error")),
            (format!("user@a.test:{port}"), 400, None),
            ("a.test".to_owned(), 400, None),
        ] {
            let mut client = Client::connect(proxy.forward());
            let answer = connect(&mut client, &target);
            assert_eq!(answer.status(), status, "{target}");
            let given = answer.field("proxy-status").and_then(|value| value.split_once("error=")).map(|(_, e)| e);
            assert_eq!(given, error, "{target}");
        }
        let line = line(&proxy, "x.bad.test");
        assert_eq!(line["failure"], "proxy_domain_blocked");
        assert!(line.to_string().contains("the list own blocks bad.test"), "{line}");
        assert_eq!(origin.request_count(), 0);

        // Nothing but requests to a proxy; one that was forwarded before has come back.
        let mut client = Client::connect(proxy.forward());
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(client.response("GET").status(), 400);
        let mut client = Client::connect(proxy.forward());
        client.send(format!("GET http://x.bad.test:{port}/ HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = client.response("GET");
        assert_eq!(answer.status(), 451);
        assert!(answer.text().contains("not here"));
        client.send(format!("GET https://a.test:{port}/ HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.response("GET").status(), 403, "the connection goes on, but not in clear to https");
    }

    fn a_request_that_comes_back_is_a_loop(driver) {
        let (origin, names) = (Origin::named("a"), Names::local());
        let proxy = proxy(driver, &names, &origin, "");
        let url = format!("http://a.test:{}/", origin.address().port());
        let mut client = Client::connect(proxy.forward());
        client.send(format!("GET {url} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        assert_eq!(client.response("GET").status(), 200);
        let via = origin.one_request().field("via").unwrap().to_owned();
        client.send(format!("GET {url} HTTP/1.1\r\nHost: a.test\r\nVia: {via}\r\n\r\n"));
        let answer = client.response("GET");
        assert_eq!(answer.status(), 508);
        assert!(answer.field("proxy-status").unwrap().contains("proxy_loop_detected"));
    }

    fn a_name_that_flips_into_the_machine_reaches_nothing(driver) {
        let origin = Origin::named("a");
        // Public at first, as long as it is looked at; then this machine.
        let names = Names::new(|name, number| {
            (name == "flip.example").then(|| if number == 0 { [192, 0, 2, 1].into() } else { Ipv4Addr::LOCALHOST })
        });
        let proxy = proxy(driver, &names, &origin, "");
        for _ in 0..4 {
            let mut client = Client::connect(proxy.forward());
            let answer = connect(&mut client, &format!("flip.example:{}", origin.address().port()));
            assert_eq!(answer.status(), 403);
        }
        assert_eq!(origin.connections().len(), 0);
        assert!(names.questions.load(Ordering::SeqCst) >= 1);
    }

    fn credentials_are_asked_for_on_the_same_connection(driver) {
        let (origin, names) = (Origin::named("a"), Names::local());
        let users = tempfile::NamedTempFile::new().unwrap();
        // Password: secret.
        std::fs::write(users.path(), format!("alice:{HASH}\n")).unwrap();
        let auth = format!("  auth: {{kind: basic, realm: office, users_file: {}}}\n", users.path().display());
        let proxy = proxy(driver, &names, &origin, &auth);
        let url = format!("http://a.test:{}/", origin.address().port());
        let mut client = Client::connect(proxy.forward());
        let mut get = |credentials: &str| {
            client.send(format!("GET {url} HTTP/1.1\r\nHost: a.test\r\n{credentials}\r\n"));
            client.response("GET")
        };
        let answer = get("");
        assert_eq!(answer.status(), 407);
        assert!(answer.field("proxy-authenticate").unwrap().starts_with("Basic realm=\"office\""));
        assert_eq!(get("Proxy-Authorization: Basic YWxpY2U6d3Jvbmc=\r\n").status(), 407);
        assert_eq!(get("Proxy-Authorization: Basic Ym9iOnNlY3JldA==\r\n").status(), 407, "another name");
        assert_eq!(get("Proxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\n").status(), 200);
        assert_eq!(origin.request_count(), 1);
        assert!(proxy.log().iter().all(|line| !line.contains("YWxpY2U6c2VjcmV0") && !line.contains("secret")));
    }

    fn blocked_media_types_do_not_reach_the_client(driver) {
        let origin = Origin::http(|request, connection| {
            let kind = if request.target() == "/x" { "application/x-msdownload" } else { "text/plain" };
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: 4\r\n\r\nbody"));
            After::Keep
        });
        let names = Names::local();
        let types = "  content_types: {block: [application/x-msdownload]}\n";
        let proxy = proxy(driver, &names, &origin, types);
        let mut client = Client::connect(proxy.forward());
        let mut get = |path: &str| {
            let port = origin.address().port();
            client.send(format!("GET http://a.test:{port}{path} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
            client.response("GET")
        };
        assert_eq!(get("/a").text(), "body");
        let blocked = get("/x");
        assert_eq!(blocked.status(), 403);
        assert!(!blocked.text().contains("body") || blocked.text().contains("proxy_type_blocked"));
        assert_eq!(get("/a").text(), "body", "the connection goes on");
    }

    fn rules_are_reloaded_without_an_end_of_tunnels(driver) {
        let (origin, names) = (Origin::script(|connection| while let Ok(bytes) = connection.exactly(1) {
            connection.send(bytes);
        }), Names::local());
        let proxy = proxy(driver, &names, &origin, "");
        let target = format!("a.test:{}", origin.address().port());
        let mut tunnel = Client::connect(proxy.forward());
        assert_eq!(connect(&mut tunnel, &target).status(), 200);
        let path = proxy.ready()["config"].as_str().map(str::to_owned).unwrap_or_else(|| {
            proxy.store().parent().unwrap().join("forward.yaml").to_str().unwrap().to_owned()
        });
        std::fs::write(&path, section(&origin, "  lists: [{name: own, domains: [a.test]}]\n")).unwrap();
        proxy.signal(1);
        eventually("the new rules are in force", || {
            let mut client = Client::connect(proxy.forward());
            (connect(&mut client, &target).status() == 403).then_some(())
        });
        tunnel.send("x");
        assert_eq!(tunnel.exactly(1), b"x");
    }

    fn strangers_get_no_answer(driver) {
        let (origin, names) = (Origin::named("a"), Names::local());
        let proxy = proxy(driver, &names, &origin, "");
        let mut stranger = Client::connect_from([127, 1, 0, 1], proxy.forward());
        let _ = stranger.try_send(format!("GET http://a.test:{}/ HTTP/1.1\r\nHost: a\r\n\r\n", origin.address().port()));
        stranger.assert_closed();
        assert_eq!(proxy.metric("ringway_connections_refused_total", &["reason=\"client\""]), 1.0);
        assert_eq!(origin.request_count(), 0);
    }

    fn requests_beyond_the_rate_are_refused(driver) {
        let (origin, names) = (Origin::named("a"), Names::local());
        let proxy = proxy(driver, &names, &origin, "  rate: {per_client: 1, burst: 2}\n");
        let url = format!("http://a.test:{}/", origin.address().port());
        let mut client = Client::connect(proxy.forward());
        let mut get = || {
            client.send(format!("GET {url} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
            client.response("GET")
        };
        assert_eq!((get().status(), get().status()), (200, 200));
        let limited = get();
        assert_eq!(limited.status(), 429);
        assert!(limited.field("retry-after").is_some());
    }

    fn a_drain_lets_tunnels_finish(driver) {
        let (origin, names) = (Origin::script(|connection| while let Ok(bytes) = connection.exactly(1) {
            connection.send(bytes);
        }), Names::local());
        let mut proxy = proxy(driver, &names, &origin, "");
        let mut client = Client::connect(proxy.forward());
        let target = format!("a.test:{}", origin.address().port());
        assert_eq!(connect(&mut client, &target).status(), 200);
        proxy.sigterm();
        proxy.await_drain();
        client.send("x");
        assert_eq!(client.exactly(1), b"x");
        client.finish();
        client.assert_closed();
        assert!(proxy.wait_exit().success());
    }
}

/// Hash of `secret`.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

#[test]
fn the_command_serves_without_a_file() {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["forward", "--listen", "127.0.0.1:0", "--log-requests", "--workers", "1"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    std::io::BufRead::read_line(&mut out, &mut first).unwrap();
    let address =
        first.split("http://").nth(1).unwrap().split(';').next().unwrap().parse::<SocketAddr>().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert!(line.contains("localhost") && line.contains("proxy_address_denied"), "{line}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn curl_uses_it() {
    let Ok(version) = std::process::Command::new("curl").arg("--version").output() else { return };
    assert!(version.status.success());
    let (origin, names) = (Origin::named("a"), Names::local());
    let proxy = proxy(Driver::Epoll, &names, &origin, "");
    let url = format!("http://a.test:{}/", origin.address().port());
    let forward = format!("http://{}", proxy.forward());
    for tunnel in [&[][..], &["--proxytunnel"]] {
        let curl = std::process::Command::new("curl")
            .args(["-sS", "--noproxy", "", "--max-time", "20", "-x", &forward, &url])
            .args(tunnel)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&curl.stdout), "a", "{}", String::from_utf8_lossy(&curl.stderr));
    }
    assert_eq!(origin.request_count(), 2);
}

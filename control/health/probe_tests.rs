//! Probes of scripted instances on real sockets, on each driver that the machine has.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener};
use std::sync::mpsc;
use std::thread::JoinHandle;

use ringway_net::{DriverChoice, RuntimeOptions, bind_reuseport, run};

use super::*;

/// Timeout that a response never reaches.
const PATIENT: Duration = Duration::from_secs(20);
/// Timeout where no response comes.
const HASTY: Duration = Duration::from_millis(150);

/// Runs a probe on both drivers, each time against a new instance.
fn check(probe: &Probe, timeout: Duration, origin: impl Fn() -> Origin, expected: ProbeResult) {
    for driver in [DriverChoice::Auto, DriverChoice::Epoll] {
        let origin = origin();
        let target = Target::parse(&format!("http://127.0.0.1:{}", origin.port)).unwrap();
        let options = RuntimeOptions { name: "probe".into(), driver, ..RuntimeOptions::default() };
        let result =
            run(options, |_| async { NetProber::new().probe(&plan(&target, probe, timeout)).await }).unwrap();
        assert_eq!(result, expected, "{driver:?}");
        origin.end();
    }
}

fn plan(target: &Target, probe: &Probe, timeout: Duration) -> Plan {
    let (target, probe) = (target.clone(), probe.clone());
    Plan { target, port: None, app: None, probe, interval: ringway_model::limits::HEALTH_INTERVAL, timeout }
}

fn health() -> Probe {
    Probe::http("/health?full=1").unwrap()
}

/// Instance that accepts one connection, reads one request, sends bytes, and closes or waits for the prober
/// to close.
struct Origin {
    port: u16,
    thread: Option<JoinHandle<()>>,
    request: mpsc::Receiver<String>,
}

#[derive(Clone, Copy)]
enum Then {
    Closes,
    Waits,
}

impl Origin {
    fn sends(response: impl Into<Vec<u8>>, then: Then) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, request) = mpsc::channel();
        let response = response.into();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                head.extend_from_slice(&byte);
            }
            sender.send(String::from_utf8(head).unwrap()).unwrap();
            // The prober may close before all is sent.
            let _ = stream.write_all(&response);
            match then {
                Then::Closes => drop(stream.shutdown(Shutdown::Both)),
                Then::Waits => drop(stream.read_to_end(&mut Vec::new())),
            }
        });
        Self { port, thread: Some(thread), request }
    }

    fn end(self) -> Option<String> {
        if let Some(thread) = self.thread {
            thread.join().unwrap();
        }
        self.request.try_recv().ok()
    }
}

fn expect_result(response: &str, expected: ProbeResult) {
    check(&health(), PATIENT, || Origin::sends(response, Then::Closes), expected);
}

#[test]
fn sends_one_get_with_a_user_agent() {
    let origin = Origin::sends("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", Then::Closes);
    let target = Target::parse(&format!("http://127.0.0.1:{}", origin.port)).unwrap();
    let result = run(RuntimeOptions::default(), |_| async {
        NetProber::new().probe(&plan(&target, &health(), PATIENT)).await
    });
    assert_eq!(result.unwrap(), ProbeResult::Healthy);
    let port = origin.port;
    let request = origin.end().unwrap();
    assert!(request.starts_with("GET /health?full=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("\r\nHost: 127.0.0.1:{port}\r\n")), "{request}");
    assert!(request.contains("\r\nUser-Agent: ringway-health/0."), "{request}");
    assert!(request.contains("\r\nConnection: close\r\n"), "{request}");
}

/// Request that an instance gets from a probe, the result, and the port.
fn request_of(probe: HttpProbe, response: &str) -> (String, ProbeResult, u16) {
    let origin = Origin::sends(response, Then::Closes);
    let target = Target::parse(&format!("http://127.0.0.1:{}", origin.port)).unwrap();
    let probe = Probe::Http(probe.into());
    let result = run(RuntimeOptions::default(), |_| async {
        NetProber::new().probe(&plan(&target, &probe, PATIENT)).await
    });
    let port = origin.port;
    (origin.end().unwrap(), result.unwrap(), port)
}

#[test]
fn sends_the_method_host_and_headers_of_the_probe() {
    let headers = [("X-Forwarded-Proto", "https"), ("user-agent", "mine/1"), ("Authorization", "Bearer x")];
    let probe = HttpProbe {
        method: ProbeMethod::Head,
        host: Some(ringway_model::ProbeHost::parse("App.example:8443").unwrap()),
        headers: ringway_model::ProbeHeaders::new(headers).unwrap(),
        ..HttpProbe::new("/up").unwrap()
    };
    let (request, result, _) = request_of(probe, "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
    assert_eq!(result, ProbeResult::Healthy, "the response to HEAD has no body");
    assert_eq!(
        request,
        "HEAD /up HTTP/1.1\r\nHost: app.example:8443\r\nAccept: */*\r\nX-Forwarded-Proto: https\r\n\
         user-agent: mine/1\r\nAuthorization: Bearer x\r\nConnection: close\r\n\r\n"
    );
    let options = HttpProbe { method: ProbeMethod::Options, ..HttpProbe::new("/").unwrap() };
    let (request, ..) = request_of(options, "HTTP/1.1 204 No Content\r\n\r\n");
    assert!(request.starts_with("OPTIONS / HTTP/1.1\r\n"), "{request}");
}

#[test]
fn another_port_is_probed_instead_of_the_targets() {
    let origin = Origin::sends("HTTP/1.1 200 OK\r\n\r\n", Then::Closes);
    let port = std::num::NonZeroU16::new(origin.port);
    // The target's port has no listener. The health port of a target with HTTP/2 without TLS speaks HTTP/1.1.
    let target = Target::parse("h2c://127.0.0.1:1").unwrap();
    let plan = Plan { port, ..plan(&target, &health(), PATIENT) };
    let result = run(RuntimeOptions::default(), |_| async { NetProber::new().probe(&plan).await });
    assert_eq!(result.unwrap(), ProbeResult::Healthy);
    let request = origin.end().unwrap();
    assert!(request.contains(&format!("\r\nHost: 127.0.0.1:{}\r\n", port.unwrap())), "{request}");
}

#[test]
fn only_expected_statuses_pass() {
    let probe = |statuses| HttpProbe {
        statuses: ringway_model::StatusRanges::parse(statuses).unwrap(),
        ..HttpProbe::new("/").unwrap()
    };
    for (statuses, status, expected) in [
        ("200", 200, ProbeResult::Healthy),
        ("200", 302, ProbeResult::Failed(Failure::Status(302))),
        ("401,503", 503, ProbeResult::Healthy),
        ("401,503", 200, ProbeResult::Failed(Failure::Status(200))),
    ] {
        let (_, result, _) = request_of(probe(statuses), &format!("HTTP/1.1 {status} X\r\n\r\n"));
        assert_eq!(result, expected, "{status} of {statuses}");
    }
}

fn looking_for(text: &str) -> Probe {
    let body = Some(BodyText::parse(text).unwrap());
    Probe::Http(HttpProbe { body, ..HttpProbe::new("/").unwrap() }.into())
}

#[test]
fn the_body_must_contain_the_expected_text() {
    let missing = ProbeResult::Failed(Failure::TextMissing);
    for (response, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall is ok", ProbeResult::Healthy),
        ("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nall is ok", missing),
        ("HTTP/1.1 200 OK\r\n\r\nall is ok", ProbeResult::Healthy),
        ("HTTP/1.1 200 OK\r\n\r\nall is o", missing),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
            ProbeResult::Healthy,
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\nX: ok\r\n\r\n", missing),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nok\r\n",
            ProbeResult::Failed(Failure::MalformedBody),
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nall is o", ProbeResult::Failed(Failure::ClosedEarly)),
        ("HTTP/1.1 204 No Content\r\n\r\n", missing),
        ("HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nok", ProbeResult::Failed(Failure::Status(503))),
    ] {
        check(&looking_for("ok"), PATIENT, || Origin::sends(response, Then::Closes), expected);
    }
    // Found before the end of the body: the probe ends. Not found: it waits for the rest until its timeout.
    let begins = "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok";
    check(&looking_for("ok"), PATIENT, || Origin::sends(begins, Then::Waits), ProbeResult::Healthy);
    let timeout = ProbeResult::Failed(Failure::ResponseTimeout);
    check(&looking_for("okay"), HASTY, || Origin::sends(begins, Then::Waits), timeout);
}

#[test]
fn a_body_is_searched_up_to_its_limit() {
    let max = crate::limits::HEALTH_BODY_BYTES_MAX;
    for (before, expected) in
        [(max - 2, ProbeResult::Healthy), (max - 1, ProbeResult::Failed(Failure::TextMissing))]
    {
        let body = format!("{}ok{}", "x".repeat(before), "x".repeat(4 * max));
        let response = format!("HTTP/1.1 200 OK\r\n\r\n{body}");
        check(&looking_for("ok"), PATIENT, || Origin::sends(response.as_str(), Then::Closes), expected);
    }
}

#[test]
fn a_text_is_found_in_any_split_of_the_body() {
    let chunked = b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n";
    for (framing, body) in [
        (Framing::Length(7), &b"abcdefg"[..]),
        (Framing::UntilClose, b"abcdefg"),
        (Framing::Chunked, chunked),
    ] {
        for cut in 1..=body.len() {
            let mut search = BodySearch::new(framing, b"cdef");
            let mut buf = Vec::new();
            let found = body.chunks(cut).any(|piece| {
                buf.extend_from_slice(piece);
                search.feed(&mut buf).unwrap() == Searched::Found
            });
            assert!(found, "{framing:?} in pieces of {cut}");
        }
    }
}

#[test]
fn statuses_from_200_to_399_pass_and_their_neighbours_fail() {
    for (status, expected) in [
        (200, ProbeResult::Healthy),
        (204, ProbeResult::Healthy),
        (302, ProbeResult::Healthy),
        (399, ProbeResult::Healthy),
        (400, ProbeResult::Failed(Failure::Status(400))),
        (503, ProbeResult::Failed(Failure::Status(503))),
    ] {
        expect_result(&format!("HTTP/1.1 {status} X\r\n\r\n"), expected);
    }
    expect_result("HTTP/1.0 200 OK\r\n\r\nold but healthy", ProbeResult::Healthy);
}

#[test]
fn interim_responses_are_skipped() {
    expect_result(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ProbeResult::Healthy,
    );
    expect_result("HTTP/1.1 103 Early Hints\r\n\r\n", ProbeResult::Failed(Failure::ClosedEarly));
    expect_result(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        ProbeResult::Failed(Failure::Status(101)),
    );
}

#[test]
fn bytes_that_are_no_response_are_malformed() {
    let malformed = |error| ProbeResult::Failed(Failure::Malformed(error));
    expect_result("SSH-2.0-OpenSSH_9.6\r\n\r\n", malformed(ResponseError::BadStatusLine));
    expect_result("HTTP/2.0 200 OK\r\n\r\n", malformed(ResponseError::UnsupportedVersion));
}

#[test]
fn an_endless_response_is_read_up_to_a_limit() {
    let too_large = ProbeResult::Failed(Failure::Malformed(ResponseError::Head(HeadFault::HeadTooLarge)));
    let endless_field =
        format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(10 * crate::limits::HEALTH_RESPONSE_BYTES_MAX));
    expect_result(&endless_field, too_large);
    expect_result(
        &"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(crate::limits::HEALTH_RESPONSE_BYTES_MAX),
        too_large,
    );
    let long_body =
        format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(50 * crate::limits::HEALTH_RESPONSE_BYTES_MAX));
    expect_result(&long_body, ProbeResult::Healthy);
}

#[test]
fn an_early_close_differs_from_silence() {
    expect_result("", ProbeResult::Failed(Failure::ClosedEarly));
    expect_result("HTTP/1.1 200 OK\r\nContent-", ProbeResult::Failed(Failure::ClosedEarly));
    for partial in ["", "HTTP/1.1 200 OK\r\nContent-"] {
        let origin = || Origin::sends(partial, Then::Waits);
        check(&health(), HASTY, origin, ProbeResult::Failed(Failure::ResponseTimeout));
    }
}

#[test]
fn a_healthy_instance_may_keep_the_connection_open() {
    let origin = || Origin::sends("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Then::Waits);
    check(&health(), PATIENT, origin, ProbeResult::Healthy);
}

#[test]
fn a_tcp_probe_needs_a_connection_only() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let origin =
        || Origin { port: listener.local_addr().unwrap().port(), thread: None, request: mpsc::channel().1 };
    check(&Probe::Tcp, PATIENT, origin, ProbeResult::Healthy);
}

#[test]
fn a_port_without_listener_refuses() {
    // Bound but not listening: no other process can take the port meanwhile.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    for probe in [Probe::Tcp, health()] {
        let origin = || Origin { port, thread: None, request: mpsc::channel().1 };
        check(&probe, PATIENT, origin, ProbeResult::Failed(Failure::Refused));
    }
}

#[test]
fn a_full_listener_times_out_connecting() {
    let listener = bind_reuseport((Ipv4Addr::LOCALHOST, 0).into(), 1).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&addr, HASTY) {
        waiting.push(stream);
        assert!(waiting.len() < 100, "a queue of one takes more than 100 connections");
    }
    let origin = || Origin { port: addr.port(), thread: None, request: mpsc::channel().1 };
    check(&Probe::Tcp, HASTY, origin, ProbeResult::Failed(Failure::ConnectTimeout));
}

#[test]
fn names_are_resolved_and_each_address_is_tried() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = Target::parse(&format!("http://localhost:{port}")).unwrap();
    let options = RuntimeOptions { blocking_threads: 1, ..RuntimeOptions::default() };
    let results = run(options, |_| async {
        let prober = NetProber::new();
        let first = prober.probe(&plan(&target, &Probe::Tcp, PATIENT)).await;
        // An address that refuses comes before the good one.
        let name = Hostname::parse("localhost").unwrap();
        let refusing = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 1, 2, 3)), port);
        prober.remember(&name, &[refusing, SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)]);
        (first, prober.probe(&plan(&target, &Probe::Tcp, PATIENT)).await)
    });
    assert_eq!(results.unwrap(), (ProbeResult::Healthy, ProbeResult::Healthy));
}

#[test]
fn without_dns_known_addresses_are_used_and_unknown_names_fail() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = Target::parse(&format!("http://instance.internal:{port}")).unwrap();
    // Without blocking threads every lookup fails; earlier results are stale at once.
    let results = run(RuntimeOptions::default(), |_| async {
        let prober = NetProber::new();
        let unknown = prober.probe(&plan(&target, &Probe::Tcp, PATIENT)).await;
        let addresses = vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1)];
        let name = Hostname::parse("instance.internal").unwrap();
        prober.names.borrow_mut().insert(name, Resolved { addresses, fresh_until: Tick(0) });
        (unknown, prober.probe(&plan(&target, &Probe::Tcp, PATIENT)).await)
    });
    assert_eq!(results.unwrap(), (ProbeResult::Failed(Failure::NameNotResolved), ProbeResult::Healthy));
}

#[test]
fn local_shortages_are_not_failures_of_the_instance() {
    const EMFILE: i32 = 24;
    const EADDRNOTAVAIL: i32 = 99;
    const ENOBUFS: i32 = 105;
    for code in [EMFILE, EADDRNOTAVAIL, ENOBUFS] {
        let error = io::Error::from_raw_os_error(code);
        assert_eq!(classify_connect(&error), ProbeResult::NotProbed(LocalFault::NoResources), "{error}");
    }
    const EHOSTUNREACH: i32 = 113;
    let error = io::Error::from_raw_os_error(EHOSTUNREACH);
    assert_eq!(classify_connect(&error), ProbeResult::Failed(Failure::Unreachable));
}

//! Attacks and their measured cost: memory while they last, their outcome, and the service of other clients
//! meanwhile.
//!
//! There is one core, and between any two steps of an attack another client is served by it. What the attack
//! makes the process hold is looked at when it was most, and has a bound. How long the other client waited,
//! and what the attack cost in CPU time, no test may judge that shares its machine: `loadtest/attacks` does,
//! and writes `loadtest/report/attacks.md`.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::attack_http2;
use crate::attack_records;
use crate::kit::h2::*;
use crate::kit::records::Records;
use crate::kit::*;

/// One attack.
struct Attack {
    name: String,
    comes_to: ComesTo,
    /// Bytes that the process may hold at any moment beyond what it holds at rest, and has [left](LEFT) of
    /// earlier ones.
    memory_max: usize,
    /// Sends the n-th part of it.
    step: Box<dyn FnMut(usize) -> Step>,
}

/// Result of a step of an attack.
enum Step {
    /// Number of pieces and bytes sent.
    Sent(usize, usize),
    /// The proxy has ended it, with this reason.
    Ended(String),
    /// All of it is there.
    Made,
}

/// Expected outcome of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ComesTo {
    /// The proxy ends it.
    Ended,
    /// Many permitted operations: the proxy serves them.
    Borne,
}

/// Cost of an attack.
struct Cost {
    pieces: usize,
    bytes: usize,
    end: String,
    memory: usize,
    cpu: Duration,
    wall: Duration,
    /// Responses to the other client.
    slowest: Duration,
}

/// Steps of an attack that is not stopped.
const STEPS_MAX: usize = 2_000;
/// Frames and records of a step.
const PIECES: usize = 200;

const MB: usize = 1 << 20;
/// Memory of earlier attacks that the allocator may keep.
const LEFT: usize = 16 * MB;
/// Limit of the memory that one connection may take.
const ONE: usize = 8 * MB;
/// Limit of the memory per connection of a crowd: two buffers for a head, and their overhead.
const EACH: usize = 48 << 10;

/// Raises the descriptor limit of this process to the hard limit.
fn want_descriptors() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: two plain system calls on a local structure.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
}

/// A line of the process's status, in bytes.
fn status(pid: u32, name: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// CPU time of all threads of the process.
fn cpu(pid: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let files = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok());
    files.map(|text| Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())).sum()
}

/// Waits until the process holds little more than at rest: a core that has fallen quiet gives back what it
/// took.
fn give_back(pid: u32, at_rest: usize) {
    eventually("memory is given back", || (status(pid, "VmRSS:") <= at_rest + LEFT).then_some(()));
}

fn play(pid: u32, at_rest: usize, other: &mut Client, attack: &mut Attack) -> Cost {
    let name = &attack.name;
    give_back(pid, at_rest);
    // Resets the kernel's peak of memory.
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    let (cpu_before, begun) = (cpu(pid), Instant::now());
    let (mut pieces, mut bytes, mut slowest) = (0, 0, Duration::ZERO);
    let mut at = 0;
    let end = loop {
        assert!(at < STEPS_MAX, "{name}: nobody stops it");
        let step = (attack.step)(at);
        // Nothing is read yet: the core has both in its queue.
        let asked = Instant::now();
        let answer = other.get("app.test", "/other");
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, "short"),
            "{name}: others after step {at}"
        );
        slowest = slowest.max(asked.elapsed());
        match step {
            Step::Sent(more, length) => {
                pieces += more;
                bytes += length;
            }
            Step::Ended(end) => break Some(end),
            Step::Made => break None,
        }
        at += 1;
    };
    let comes_to = if end.is_some() { ComesTo::Ended } else { ComesTo::Borne };
    assert_eq!(comes_to, attack.comes_to, "{name}: {end:?}");
    let memory = status(pid, "VmHWM:").saturating_sub(at_rest);
    let most = attack.memory_max + LEFT;
    assert!(memory <= most, "{name}: {memory} bytes more than at rest, at most {most}");
    let (cpu, wall) = (cpu(pid) - cpu_before, begun.elapsed());
    Cost { pieces, bytes, end: end.unwrap_or_else(|| "borne".to_owned()), memory, cpu, wall, slowest }
}

/// Origin for the requests of the other client and the attackers.
fn origin() -> Origin {
    Origin::forgetful(|connection| {
        while let Ok(mut head) = connection.request_head() {
            match head.target() {
                "/long" => {
                    connection.reply(200, &[b'x'; 8 * MB]);
                    continue;
                }
                "/interim" => while connection.send("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n") {},
                "/head" => {
                    connection.send("HTTP/1.1 200 OK\r\n");
                    while connection
                        .send("X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n")
                    {
                    }
                }
                _ => {}
            }
            if connection.body(&mut head).is_err() {
                return;
            }
            connection.reply(200, b"short");
        }
    })
}

/// An origin that opens every WebSocket and leaves it alone, all of them on one thread.
fn lobby(opened: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let (mut head, mut piece) = (Vec::new(), [0; 2048]);
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read(&mut piece) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => head.extend_from_slice(&piece[..count]),
                }
            }
            let is_upgrade = head.starts_with(b"GET /socket ");
            let answer = if is_upgrade {
                ws::accepted()
            } else {
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned()
            };
            if stream.write_all(answer.as_bytes()).is_ok() && is_upgrade {
                opened.fetch_add(1, Ordering::SeqCst);
                open.push(stream);
            }
        }
    });
    address
}

/// A flood of frames on one connection.
fn frames(
    proxy: &Secure,
    name: &str,
    settings: &[(u16, u32)],
    mut piece: impl FnMut(&mut H2, usize) -> Vec<u8> + 'static,
) -> Attack {
    let mut client = H2::with(proxy, settings);
    let step = move |at: usize| {
        let bytes: Vec<u8> = (0..PIECES).flat_map(|more| piece(&mut client, at * PIECES + more)).collect();
        if client.within(SOON).try_send(&bytes) {
            return Step::Sent(PIECES, bytes.len());
        }
        client.within(SOON).until_ended();
        // A connection that is closed over unread bytes may lose its last words.
        Step::Ended(client.goaway.last().map_or("closed".to_owned(), |(_, code)| match *code {
            PROTOCOL_ERROR => "GOAWAY, PROTOCOL_ERROR".to_owned(),
            ENHANCE_YOUR_CALM => "GOAWAY, ENHANCE_YOUR_CALM".to_owned(),
            code => format!("GOAWAY, {code}"),
        }))
    };
    Attack { name: name.to_owned(), comes_to: ComesTo::Ended, memory_max: ONE, step: Box::new(step) }
}

/// A flood of records on one connection over TLS, in the middle of a request's body.
fn records(proxy: &Secure, name: &str, piece: attack_records::Flood) -> Attack {
    let tls = Tls::trusting(&proxy.authority(), "app.test").versions(&attack_records::MODERN);
    let (mut records, mut reader) = Records::open(&tls, proxy.https()).unwrap();
    let begin = records.data(b"POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 100\r\n\r\nx");
    records.send(&begin).unwrap();
    let step = move |at: usize| {
        let bytes: Vec<u8> = (0..PIECES).flat_map(|more| piece(&mut records, at * PIECES + more)).collect();
        if records.send(&bytes).is_ok() {
            return Step::Sent(PIECES, bytes.len());
        }
        reader.take();
        Step::Ended("an alert, closed".to_owned())
    };
    Attack { name: format!("TLS: {name}"), comes_to: ComesTo::Ended, memory_max: ONE, step: Box::new(step) }
}

/// Opens connections in steps; `connect` makes one and returns its state.
fn crowd<C: 'static>(
    name: &str,
    (count, steps): (usize, usize),
    each: usize,
    mut connect: impl FnMut(usize) -> (C, usize) + 'static,
) -> Attack {
    let mut crowd = Vec::new();
    let step = move |_: usize| {
        if crowd.len() == count {
            return Step::Made;
        }
        let mut bytes = 0;
        for _ in 0..count / steps {
            let (one, sent) = connect(crowd.len());
            crowd.push(one);
            bytes += sent;
        }
        Step::Sent(count / steps, bytes)
    };
    let memory_max = ONE + count * each;
    Attack { name: name.to_owned(), comes_to: ComesTo::Borne, memory_max, step: Box::new(step) }
}

/// Rejected requests, each on its own connection.
fn refused(name: &str, address: SocketAddr, bytes: Vec<u8>, status: u16) -> Attack {
    const STEP: usize = 20;
    let step = move |at: usize| {
        if at == 10 {
            return Step::Made;
        }
        for _ in 0..STEP {
            let mut client = Client::connect(address);
            // The response is sent before all of the request was read.
            let _ = client.try_send(&bytes);
            match client.try_response("GET") {
                Ok(answer) => assert_eq!(answer.status(), status),
                Err(fault) => assert!(matches!(fault, Fault::Reset | Fault::Closed), "{fault:?}"),
            }
        }
        Step::Sent(STEP, STEP * bytes.len())
    };
    Attack { name: name.to_owned(), comes_to: ComesTo::Borne, memory_max: ONE, step: Box::new(step) }
}

/// One connection, and what it sends at each step.
fn alone(
    name: &str,
    comes_to: ComesTo,
    address: SocketAddr,
    mut step: impl FnMut(&mut Client, usize) -> Step + 'static,
) -> Attack {
    let mut client = None;
    let step = move |at: usize| step(client.get_or_insert_with(|| Client::connect(address)), at);
    Attack { name: name.to_owned(), comes_to, memory_max: ONE, step: Box::new(step) }
}

/// On connections of HTTP/1.
fn over_http1(proxy: &Secure, origin: &Origin, run: &mut dyn FnMut(Attack)) {
    const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let http = proxy.http();
    run(crowd("connections that come and go", (2_000, 40), 0, move |_| {
        drop(TcpStream::connect(http));
        ((), 0)
    }));
    run(alone("2,000 requests at once on one connection", ComesTo::Borne, http, |client, at| {
        let requests = "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n".repeat(200);
        if at < 10 {
            client.send(&requests);
            return Step::Sent(200, requests.len());
        }
        for _ in 0..200 {
            assert_eq!(client.response("GET").text(), "short");
        }
        if at < 19 { Step::Sent(0, 0) } else { Step::Made }
    }));
    run(alone("chunk extensions", ComesTo::Ended, http, |client, at| {
        if at == 0 {
            client.send(CHUNKED);
        }
        let bytes = format!("1;{}\r\nx\r\n", "e".repeat(200)).repeat(10);
        if client.try_send(&bytes).is_ok() && at < 100 {
            return Step::Sent(10, bytes.len());
        }
        Step::Ended(
            client.try_response("POST").map_or("closed".to_owned(), |answer| answer.status().to_string()),
        )
    }));
    run(alone("chunks of a byte", ComesTo::Borne, http, |client, at| {
        let bytes = format!("{}{}", if at == 0 { CHUNKED } else { "" }, "1\r\nx\r\n".repeat(2_000));
        if at == 20 {
            return Step::Made;
        }
        client.send(&bytes);
        Step::Sent(2_000, bytes.len())
    }));
    let long = format!("GET / HTTP/1.1\r\nHost: app.test\r\nX: {}", "x".repeat(200_000));
    run(refused("heads of 200 kB", http, long.into_bytes(), 431));
    let many = format!("GET / HTTP/1.1\r\nHost: app.test\r\n{}\r\n", "a:\r\n".repeat(3_000));
    run(refused("heads of 3,000 fields", http, many.into_bytes(), 431));
    // An app of its own: its breaker opens.
    proxy.serve("bad", "bad.test", origin);
    for (name, path) in
        [("an origin's interim answers without end", "/interim"), ("an origin's head without end", "/head")]
    {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: bad.test\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        run(refused(name, http, request.into_bytes(), 502));
    }
    run(crowd("long answers that nobody reads", (50, 25), 10 * EACH, move |_| {
        let mut client = Client::connect(http);
        client.send("GET /long HTTP/1.1\r\nHost: app.test\r\n\r\n");
        (client, 0)
    }));
    run(crowd("bodies that come by the byte", (300, 10), 2 * EACH, {
        let mut drips: Vec<Client> = Vec::new();
        move |_| {
            for client in &mut drips {
                // One that has been slow for long enough is given up.
                let _ = client.try_send("x");
            }
            let mut client = Client::connect(http);
            client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000000\r\n\r\nx");
            drips.push(client);
            ((), 80 + drips.len())
        }
    }));
    let half = format!("GET / HTTP/1.1\r\nHost: app.test\r\nX: {}", "x".repeat(15_000));
    run(crowd("heads that do not end (slowloris)", (1_000, 20), EACH, move |_| {
        let mut client = Client::connect(http);
        client.send(&half);
        (client, half.len())
    }));
    run(crowd("connections that say nothing", (2_000, 40), EACH, move |_| (TcpStream::connect(http), 0)));
}

/// Iterates over addresses of the loopback network: handshakes are limited per client.
fn source(number: usize) -> [u8; 4] {
    [127, 0, 1, 1 + (number / 100) as u8]
}

fn handshakes(proxy: &Secure, run: &mut dyn FnMut(Attack)) {
    let https = proxy.https();
    let send = move |number: usize, bytes: Vec<u8>| {
        let mut client = Client::connect_from(source(number), https);
        // An unknown name is refused at once.
        let _ = client.try_send(&bytes);
        (client, bytes.len())
    };
    let honest = Tls::trusting(&proxy.authority(), "app.test");
    let half = honest.hello()[..200].to_vec();
    let nobody = Tls::trusting(&proxy.authority(), "nobody.test");
    run(crowd("handshakes for names that nobody has", (500, 10), EACH, move |at| send(at, nobody.hello())));
    let name = "handshakes that are given up when they have cost a signature";
    run(crowd(name, (500, 20), EACH, move |at| send(2_000 + at, honest.hello())));
    run(crowd("handshakes that stand still", (1_000, 20), EACH, move |at| send(4_000 + at, half.clone())));
}

fn upgrades(proxy: &Secure, run: &mut dyn FnMut(Attack)) {
    let opened: Arc<AtomicUsize> = Arc::default();
    let sockets = lobby(Arc::clone(&opened));
    proxy.api().register("sockets", "sockets-1", &format!("http://{sockets}"));
    proxy.api().domain("sockets.test", "sockets", None);
    let (http, upgrade) = (proxy.http(), ws::upgrade("sockets.test", "/socket"));
    run(crowd("upgrades, thousands of them", (UPGRADES, 40), EACH, move |at| {
        let mut client = Client::connect(http);
        client.send(&upgrade);
        if (at + 1).is_multiple_of(UPGRADES / 40) {
            // No more at one time than wait to be accepted.
            eventually("all are open", || (opened.load(Ordering::SeqCst) == at + 1).then_some(()));
        }
        (client, upgrade.len())
    }));
}

const UPGRADES: usize = 2_000;

fn over_http2(proxy: &Secure, run: &mut dyn FnMut(Attack)) {
    for (name, flood) in attack_http2::FLOODS {
        run(frames(proxy, &format!("HTTP/2: {name}"), &[], *flood));
    }
    // Every answer is there, and its client takes a byte of it at a time.
    const STREAMS: u32 = 100;
    let mut client = H2::with(proxy, &[(INITIAL_WINDOW_SIZE, 0)]);
    client.stingy();
    let step = move |at: usize| {
        if at == 0 {
            for _ in 0..STREAMS {
                client.get("app.test", "/long");
            }
            client.within(3 * SOON).until("all heads", |client| {
                (0..STREAMS).all(|number| client.answer(2 * number + 1).status() == 200).then_some(())
            });
        }
        let bytes: Vec<u8> = (0..STREAMS)
            .flat_map(|number| frame(WINDOW_UPDATE, 0, 2 * number + 1, &1u32.to_be_bytes()))
            .collect();
        match at {
            10 => Step::Made,
            _ => {
                client.send(&bytes);
                client.within(SOON).until("a byte of each", |client| {
                    (0..STREAMS).all(|number| client.answer(2 * number + 1).body.len() > at).then_some(())
                });
                Step::Sent(STREAMS as usize, bytes.len())
            }
        }
    };
    let name = "HTTP/2: windows that are opened by a byte".to_owned();
    // A response in work is a buffer on our side, as one of HTTP/1 is: 64 KiB, and some for the request.
    let memory_max = ONE + STREAMS as usize * (160 << 10);
    run(Attack { name, comes_to: ComesTo::Borne, memory_max, step: Box::new(step) });
}

fn all(driver: Driver) -> Vec<(String, Cost)> {
    want_descriptors();
    let origin = origin();
    let proxy = serving_as(Proxy::on(driver).env("PROXY_WORKERS", "1").env("LOG_LEVEL", "error"), &origin);
    let mut other = proxy.client();
    assert_eq!(other.get("app.test", "/other").text(), "short");
    let pid = proxy.pid();
    let at_rest = status(pid, "VmRSS:");
    let mut costs = Vec::new();
    let mut run = |mut attack: Attack| {
        let cost = play(pid, at_rest, &mut other, &mut attack);
        costs.push((std::mem::take(&mut attack.name), cost));
    };
    over_http2(&proxy, &mut run);
    for (name, piece) in attack_records::FLOODS {
        run(records(&proxy, name, *piece));
    }
    over_http1(&proxy, &origin, &mut run);
    handshakes(&proxy, &mut run);
    upgrades(&proxy, &mut run);
    give_back(pid, at_rest);
    let metrics = proxy.api().get("/metrics").is(200).message.text();
    let mut panics = metrics.lines().filter(|line| line.starts_with("ringway_panics_total"));
    assert!(panics.all(|line| line.ends_with(" 0")), "{metrics}");
    costs
}

fn table(costs: &[(String, Cost)]) -> String {
    let mut table = "| attack | pieces | bytes sent | comes to | memory at most | CPU time | in | slowest other answer |\n\
        |---|---:|---:|---|---:|---:|---:|---:|\n"
        .to_owned();
    for (name, cost) in costs {
        let Cost { pieces, bytes, end, memory, cpu, wall, slowest } = cost;
        let (memory, cpu, wall) = (*memory as f64 / MB as f64, cpu.as_millis(), wall.as_millis());
        let slowest = slowest.as_secs_f64() * 1e3;
        writeln!(table, "| {name} | {pieces} | {bytes} | {end} | {memory:.1} MB | {cpu} ms | {wall} ms | {slowest:.1} ms |").unwrap();
    }
    table
}

on_both_drivers! {
    fn each_attack_is_bounded_and_others_are_served_meanwhile(driver) {
        let costs = all(driver);
        eprintln!("{}", table(&costs));
    }

    /// A byte now and then is no progress: bodies that are sent and responses that are read this way time
    /// out.
    fn what_comes_or_is_taken_by_the_byte_is_given_up(driver) {
        let origin = origin();
        let proxy = serving(driver, &origin);
        let mut taking = H2::with(&proxy, &[(INITIAL_WINDOW_SIZE, 0)]);
        taking.stingy();
        let long = taking.get("app.test", "/long");
        taking.until("the head", |client| (client.answer(long).status() == 200).then_some(()));
        let mut sending = H2::connect(&proxy);
        let fields = sending.fields("POST", "app.test", "/", &[]);
        let upload = sending.begin(&fields, false);
        // A short body, one that is long enough to be spliced, and one of chunks.
        let framings = ["Content-Length: 1000", "Content-Length: 1000000", "Transfer-Encoding: chunked"];
        let tls = Tls::trusting(&proxy.authority(), "app.test");
        let mut drips: Vec<(&str, Client)> = Vec::new();
        for framing in framings {
            for mut client in [proxy.client(), tls.connect(proxy.https())] {
                client.send(format!("POST / HTTP/1.1\r\nHost: app.test\r\n{framing}\r\n\r\n"));
                drips.push((framing, client));
            }
        }
        let begun = Instant::now();
        taking.within(4 * SOON);
        sending.within(4 * SOON);
        let mut ended = Vec::new();
        while ended.len() < drips.len() || !taking.answer(long).is_over() || !sending.answer(upload).is_over() {
            assert!(begun.elapsed() < 3 * SOON, "still under way: all but {ended:?}");
            for (at, (framing, client)) in drips.iter_mut().enumerate() {
                let byte = if framing.starts_with("Transfer") { "1\r\nx\r\n" } else { "x" };
                if !ended.contains(&at) && client.try_send(byte).is_err() {
                    ended.push(at);
                }
            }
            if !taking.answer(long).is_over() {
                taking.window(long, 1);
                let taken = taking.answer(long).body.len();
                taking.until("a byte more, or the end", |client| {
                    let answer = client.answer(long);
                    (answer.is_over() || answer.body.len() > taken).then_some(())
                });
            }
            if !sending.answer(upload).is_over() {
                sending.data(upload, b"x", false);
                let pongs = sending.pongs;
                sending.frame(PING, 0, 0, b"and now?");
                sending.until("an answer to a ping", |client| (client.pongs > pongs).then_some(()));
            }
            // The pace of a drip: far below the least rate.
            pace(Duration::from_millis(200));
        }
        for (framing, mut client) in drips {
            match client.try_response("POST") {
                Ok(answer) => assert_eq!(answer.status(), 408, "{framing}"),
                Err(fault) => assert!(matches!(fault, Fault::Reset | Fault::Closed), "{framing}: {fault:?}"),
            }
        }
        let answer = taking.answer(long);
        assert!(answer.reset.is_some() && !answer.is_ended, "{answer:?}");
        let answer = sending.answer(upload);
        assert!(answer.status() == 408 || answer.reset.is_some(), "{answer:?}");
        // The connections themselves did nothing wrong.
        taking.frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]);
        for client in [&mut taking, &mut sending] {
            let stream = client.get("app.test", "/");
            assert_eq!(client.within(SOON).response(stream).text(), "short");
        }
    }
}

/// By hand, on a machine that is left alone: `loadtest/attacks`.
#[test]
#[ignore = "judges time: run by loadtest/attacks on a machine of its own"]
fn the_report() {
    let costs = all(Driver::IoUring);
    let path = std::env::var("ATTACKS_REPORT").expect("where to write the table");
    std::fs::write(path, table(&costs)).unwrap();
    let slow: Vec<&str> = costs
        .iter()
        .filter(|(_, cost)| cost.slowest > Duration::from_millis(100))
        .map(|(name, _)| name.as_str())
        .collect();
    assert!(slow.is_empty(), "others waited for more than 100 ms: {slow:?}");
}

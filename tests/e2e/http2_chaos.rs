//! Randomised HTTP/2 on both sides: clients that send concurrent requests, reset them, stop reading,
//! disconnect; endpoints that delay, refuse and disconnect. A complete response belongs to its request, and
//! in the end no stream or connection is left.
//!
//! The simulation of a core has no HTTP/2, whose connections wait through `net` itself; here the seed decides
//! what is done, and the machine in which order it comes. `H2_CHAOS_ROUNDS` asks for more connections than
//! the usual ones, `H2_CHAOS_SEED` for others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::kit::h2::*;
use crate::kit::h2_script::Scripted;
use crate::kit::load::Dice;
use crate::kit::*;

/// Clients at one time.
const CLIENTS: u64 = 4;
/// Connections of each, one after the other.
const ROUNDS: u64 = 40;

/// One request and its expected outcome.
struct Request {
    stream: u32,
    path: String,
    expected: Vec<u8>,
    /// Bytes of the body still to be sent.
    rest: Vec<u8>,
    /// It was reset, or truncated.
    is_spoilt: bool,
}

/// Meaning of a path: a body, or one that ends with an error.
fn body_of(path: &str, sent: &[u8]) -> Vec<u8> {
    let mut parts = path.split('/').skip(1);
    match (parts.next(), parts.next().and_then(|count| count.parse().ok()), parts.next()) {
        (Some("bytes"), Some(count), Some(token)) => token.bytes().cycle().take(count).collect(),
        (Some("sum"), _, Some(token)) => {
            let sum = sent.iter().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
            format!("{token}: {} bytes, {sum}", sent.len()).into_bytes()
        }
        _ => path.as_bytes().to_vec(),
    }
}

/// A moment, now and then: what comes meanwhile meets a request under way.
fn dawdle(path: &str) {
    let sum: u64 = path.bytes().map(u64::from).sum();
    if sum.is_multiple_of(3) {
        pace(Duration::from_millis(sum % 20));
    }
}

/// An endpoint of HTTP/1.
fn plain() -> Origin {
    Origin::forgetful(|connection| {
        while let Ok(mut request) = connection.request_head() {
            let path = request.target().to_owned();
            if path.starts_with("/early/") {
                connection.reply(200, &body_of(&path, b""));
            }
            if connection.body(&mut request).is_err() {
                return;
            }
            dawdle(&path);
            match path.split('/').nth(1) {
                Some("early") => {}
                Some("cut") => {
                    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\npart");
                    return;
                }
                Some("reset") => return connection.reset(),
                _ => {
                    let body = body_of(&path, &request.body);
                    if path.len().is_multiple_of(2) {
                        connection.reply(200, &body);
                    } else {
                        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                        connection.send(chunked(&body, 3_000));
                    }
                }
            }
        }
    })
}

/// An endpoint of HTTP/2.
fn modern() -> Scripted {
    const INTERNAL_ERROR: u32 = 2;
    const REFUSED_STREAM: u32 = 7;
    Scripted::script(|line| {
        let mut answered = 0;
        while let Some(head) = line.head() {
            let (stream, path) = (head.stream, head.path().to_owned());
            // The bodies of several requests come mixed: one that is given up ends none of the others.
            let Some(asked) = line.until(|line| {
                let asked = line.seen(stream);
                (asked.is_ended || asked.reset.is_some()).then(|| asked.clone())
            }) else {
                return;
            };
            if asked.reset.is_some() {
                continue;
            }
            dawdle(&path);
            answered += 1;
            match path.split('/').nth(1) {
                Some("cut") => {
                    line.headers(stream, &[(":status", "200")], false);
                    line.data(stream, b"part", false);
                    line.reset(stream, INTERNAL_ERROR);
                }
                Some("reset") if answered % 2 == 0 => line.reset(stream, REFUSED_STREAM),
                Some("reset") => return,
                _ => line.reply(stream, &body_of(&path, &asked.body)),
            }
            if answered == 50 {
                // Accepted requests get a response, further ones are not accepted: the head of the next one
                // may be in flight.
                line.goaway(stream, 0);
            }
        }
    })
}

/// Asks for something; what is sent of it at once.
fn ask(client: &mut H2, dice: &mut Dice) -> Request {
    let (path, sent) = wish(dice);
    let is_post = is_post(&path);
    let length = sent.len().to_string();
    let has_length = dice.below(2) == 0;
    let more: &[(&str, &str)] = if has_length && is_post { &[("content-length", &length)] } else { &[] };
    let fields = client.fields(if is_post { "POST" } else { "GET" }, "app.test", &path, more);
    let stream = client.next_stream();
    let flags = END_HEADERS | if sent.is_empty() { END_STREAM } else { 0 };
    client.try_send(&frame(HEADERS, flags, stream, &block(&fields)));
    let expected = expected(&path, &sent);
    Request { stream, path, expected, rest: sent, is_spoilt: false }
}

fn is_post(path: &str) -> bool {
    path.starts_with("/sum") || path.starts_with("/early")
}

fn is_broken(path: &str) -> bool {
    path.starts_with("/cut") || path.starts_with("/reset")
}

fn expected(path: &str, sent: &[u8]) -> Vec<u8> {
    body_of(path, if path.starts_with("/early") { b"" } else { sent })
}

/// Returns a path and its body.
fn wish(dice: &mut Dice) -> (String, Vec<u8>) {
    let token = format!("{:016x}", dice.roll());
    let count = [0, 1, 500, 20_000, 100_000, 300_000][dice.below(6) as usize];
    let path = match dice.below(12) {
        0..4 => format!("/echo/0/{token}"),
        4..7 => format!("/bytes/{count}/{token}"),
        7..10 => format!("/sum/0/{token}"),
        10 => format!("/early/0/{token}"),
        _ => format!("/{}/0/{token}", ["cut", "reset"][dice.below(2) as usize]),
    };
    let sent = match is_post(&path) {
        true => pattern([0, 1, 700, 9_000][dice.below(4) as usize]),
        false => Vec::new(),
    };
    (path, sent)
}

/// Runs one connection; returns the numbers of complete and of expected responses.
fn converse(proxy: &Secure, dice: &mut Dice) -> (usize, usize) {
    let window = [0, 1, 1_000, 65_535, 1_000_000][dice.below(5) as usize];
    let mut client = H2::with(proxy, &[(INITIAL_WINDOW_SIZE, window)]);
    if dice.below(2) == 0 || window < 1_000 {
        client.stingy();
    }
    let mut requests: Vec<Request> = (0..1 + dice.below(20)).map(|_| ask(&mut client, dice)).collect();
    // Pieces of all bodies, mixed; and changes of mind.
    while let Some(at) = requests.iter().position(|request| !request.rest.is_empty()) {
        let at = at + dice.below((requests.len() - at) as u64) as usize;
        let request = &mut requests[at];
        if request.rest.is_empty() {
            continue;
        }
        let count = 1 + dice.below(request.rest.len() as u64) as usize;
        let piece: Vec<u8> = request.rest.drain(..count).collect();
        let end = if request.rest.is_empty() { END_STREAM } else { 0 };
        client.try_send(&frame(DATA, end, request.stream, &piece));
        if dice.below(15) == 0 {
            client.try_send(&frame(RST_STREAM, 0, request.stream, &CANCEL.to_be_bytes()));
            request.rest.clear();
            request.is_spoilt = true;
        }
    }
    for request in &mut requests {
        if dice.below(8) == 0 {
            client.try_send(&frame(RST_STREAM, 0, request.stream, &CANCEL.to_be_bytes()));
            request.is_spoilt = true;
        }
    }
    if dice.below(6) == 0 {
        // Without a GOAWAY, with requests in flight.
        return (0, 0);
    }
    // Those that take nothing at first take all of it in the end.
    client.try_send(&frame(SETTINGS, 0, 0, &[[0, 4].as_slice(), &2_000_000u32.to_be_bytes()].concat()));
    client.try_send(&frame(WINDOW_UPDATE, 0, 0, &100_000_000u32.to_be_bytes()));
    client.stingy();
    let mut whole = 0;
    let (mut awaited, all) = (0, requests.len());
    for request in requests.iter().filter(|request| !request.is_spoilt) {
        if dice.below(20) == 0 {
            break;
        }
        awaited += 1;
        while !client.answer(request.stream).is_over() {
            let is_going = client.ended.is_none() && client.within(3 * SOON).turn();
            assert!(
                is_going,
                "{}: {:?}, {:?}, {:?}",
                request.path,
                client.answer(request.stream),
                client.ended,
                client.goaway
            );
        }
        let answer = client.answer(request.stream);
        let is_broken = is_broken(&request.path);
        match (answer.is_whole(), answer.status()) {
            (true, 200) => {
                assert!(!is_broken, "{} is whole: {answer:?}", request.path);
                assert!(
                    answer.body == request.expected,
                    "{} of {all} got {} bytes: {:.300}",
                    request.path,
                    answer.body.len(),
                    answer.text()
                );
                whole += 1;
            }
            // An endpoint that has failed others is given a pause.
            (true, status) => assert!([502, 503, 504].contains(&status), "{}: {answer:?}", request.path),
            (false, _) => assert!(is_broken || answer.reset.is_some(), "{}: {answer:?}", request.path),
        }
    }
    (whole, awaited)
}

/// The same over HTTP/1.1, for endpoints of both kinds.
fn converse_http1(proxy: &Secure, dice: &mut Dice) -> (usize, usize) {
    let mut client = proxy.client();
    let wishes: Vec<(String, Vec<u8>)> = (0..1 + dice.below(6)).map(|_| wish(dice)).collect();
    let mut bytes = Vec::new();
    for (path, sent) in &wishes {
        let (method, framing, body) = match (is_post(path), dice.below(2)) {
            (false, _) => ("GET", String::new(), Vec::new()),
            (true, 0) => ("POST", "Transfer-Encoding: chunked\r\n".to_owned(), chunked(sent, 1_000)),
            (true, _) => ("POST", format!("Content-Length: {}\r\n", sent.len()), sent.clone()),
        };
        bytes.extend(format!("{method} {path} HTTP/1.1\r\nHost: app.test\r\n{framing}\r\n").bytes());
        bytes.extend(body);
    }
    if dice.below(6) == 0 {
        // It is truncated at a random offset.
        let _ = client.try_send(&bytes[..dice.below(bytes.len() as u64) as usize]);
        return (0, 0);
    }
    // An early answer, or one that is cut, may end the connection before everything was taken.
    let _ = client.try_send(&bytes);
    let mut counts = (0, 0);
    for (path, sent) in &wishes {
        counts.1 += 1;
        match client.try_response("GET") {
            Ok(answer) if answer.status() == 200 => {
                assert!(!is_broken(path), "{path} is whole: {answer:?}");
                assert!(answer.body == expected(path, sent), "{path} got {:.300}", answer.text());
                counts.0 += 1;
                if answer.closes() {
                    return counts;
                }
            }
            Ok(answer) => {
                assert!([502, 503, 504].contains(&answer.status()), "{path}: {answer:?}");
                if answer.closes() {
                    return counts;
                }
            }
            Err(fault) => {
                let is_end = matches!(fault, Fault::Cut(_) | Fault::CutHead | Fault::Reset | Fault::Closed);
                assert!(is_end, "{path}: {fault:?}");
                return counts;
            }
        }
    }
    counts
}

fn metric(proxy: &Proxy, name: &str) -> u64 {
    let text = proxy.api().get("/metrics").is(200).message.text();
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

on_both_drivers! {
    fn whatever_clients_and_endpoints_do_answers_are_their_own_and_nothing_is_left(driver) {
        let (rounds, seed) = (number("H2_CHAOS_ROUNDS", ROUNDS), number("H2_CHAOS_SEED", 1));
        eprintln!("seed {seed}");
        let (origin, endpoint) = (plain(), modern());
        let mut proxy = serving_as(Proxy::on(driver).env("PROXY_HANDSHAKE_RATE", "0").env("PROXY_DRAIN_TIMEOUT", "300s").env("LOG_LEVEL", "error"), &origin);
        proxy.api().add("app", "app-2", &endpoint.target());
        let at_rest = metric(&proxy, "ringway_connections_open");
        let (mut whole, mut awaited) = (0, 0);
        std::thread::scope(|scope| {
            let proxy = &proxy;
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    scope.spawn(move || {
                        let mut counts = (0, 0);
                        for round in 0..rounds {
                            let mut dice = Dice::new(seed.wrapping_mul(1_000_000) + client * 100_000 + round);
                            let outcome = catch_unwind(AssertUnwindSafe(|| match round % 4 {
                                0 => converse_http1(proxy, &mut dice),
                                _ => converse(proxy, &mut dice),
                            }));
                            let (whole, awaited) = outcome.unwrap_or_else(|_| panic!("seed {seed}, client {client}, round {round}"));
                            counts = (counts.0 + whole, counts.1 + awaited);
                        }
                        counts
                    })
                })
                .collect();
            for client in clients {
                let counts: (usize, usize) = client.join().unwrap();
                whole += counts.0;
                awaited += counts.1;
            }
        });
        // One in which nothing is served finds nothing.
        assert!(whole * 3 > awaited, "{whole} of {awaited} answers came whole");
        eprintln!("{whole} of {awaited} answers came whole");
        eventually("no client is left", || (metric(&proxy, "ringway_connections_open") <= at_rest).then_some(()));
        assert_eq!(metric(&proxy, "ringway_panics_total"), 0);
        // No task is left that the drain would wait for.
        proxy.sigterm();
        assert!(proxy.wait_exit().success());
    }
}

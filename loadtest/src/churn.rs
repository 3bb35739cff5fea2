//! Changes at a steady rate while WebSockets stay open and requests run: counts every failure.
//!
//! Prints one JSON line at the end. Every thread follows a schedule, which shows a slow response as lateness
//! instead of hiding it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::{Client, idle, quantile};

/// Load and duration of a run.
pub(crate) struct Plan {
    pub(crate) http: SocketAddr,
    pub(crate) api: SocketAddr,
    /// Target of the origin, as registered.
    pub(crate) target: String,
    pub(crate) seconds: u64,
    pub(crate) changes_per_second: u64,
    pub(crate) websockets: usize,
    pub(crate) requests_per_second: u64,
}

/// Connections for the changes.
const WRITERS: u64 = 8;
/// Connections for the requests.
const READERS: u64 = 8;

#[derive(Default)]
struct Tally {
    done: AtomicUsize,
    failed: AtomicUsize,
}

pub(crate) fn run(plan: &Plan) -> Result<(), String> {
    // Raises the limit of open files for the sockets below.
    drop(idle(plan.http, 0)?);
    let mut api = Client::connect(plan.api)?;
    for app in ["steady", "sockets"] {
        let target = &plan.target;
        let body =
            format!(r#"{{"app_id":"{app}","instance":{{"instance_id":"{app}-1","target":"{target}"}}}}"#);
        expect(&mut api, plan.api, "POST", "/api/apps/register", &body)?;
        let body = format!(r#"{{"domain":"{app}.test","app_id":"{app}","type":"subdomain"}}"#);
        expect(&mut api, plan.api, "POST", "/api/tenants/domains", &body)?;
    }
    let mut sockets = Vec::with_capacity(plan.websockets);
    for number in 0..plan.websockets {
        let mut socket = Client::connect(plan.http)?;
        socket.send(
            b"GET / HTTP/1.1\r\nHost: sockets.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )?;
        let status = socket.response()?.status;
        if status != 101 {
            return Err(format!("WebSocket {number}: {status}"));
        }
        sockets.push(socket);
    }
    eprintln!("{} WebSockets are open", sockets.len());

    let begin = Instant::now();
    let end = begin + Duration::from_secs(plan.seconds);
    let (changes, requests, pings) =
        (Arc::<Tally>::default(), Arc::<Tally>::default(), Arc::<Tally>::default());
    let mut writers: Vec<JoinHandle<Vec<Duration>>> = Vec::new();
    for writer in 0..WRITERS {
        let (api, target, tally) = (plan.api, plan.target.clone(), Arc::clone(&changes));
        let pace = Duration::from_secs(1) * WRITERS as u32 / plan.changes_per_second.max(1) as u32;
        writers.push(std::thread::spawn(move || write(writer, api, &target, pace, begin, end, &tally)));
    }
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let (http, tally) = (plan.http, Arc::clone(&requests));
        let pace = Duration::from_secs(1) * READERS as u32 / plan.requests_per_second.max(1) as u32;
        readers.push(std::thread::spawn(move || read(http, pace, begin, end, &tally)));
    }
    let pinger = {
        let tally = Arc::clone(&pings);
        std::thread::spawn(move || ping(sockets, begin, end, &tally))
    };
    let mut change_times: Vec<Duration> = join(writers);
    let mut request_times: Vec<Duration> = join(readers);
    let open = pinger.join().map_err(|_| "the WebSocket thread failed".to_owned())?;
    let seconds = begin.elapsed().as_secs_f64();
    change_times.sort_unstable();
    request_times.sort_unstable();
    let count = |tally: &Tally| (tally.done.load(Ordering::SeqCst), tally.failed.load(Ordering::SeqCst));
    let ((changed, changes_failed), (asked, requests_failed), (pinged, pings_failed)) =
        (count(&changes), count(&requests), count(&pings));
    let ms = |times: &[Duration], share| quantile(times, share).as_secs_f64() * 1e3;
    println!(
        concat!(
            r#"{{"seconds":{:.1},"changes":{},"changes_per_second":{:.0},"changes_failed":{},"#,
            r#""change_ms_p50":{:.3},"change_ms_p99":{:.3},"change_ms_max":{:.3},"#,
            r#""requests":{},"requests_failed":{},"request_ms_p50":{:.3},"request_ms_p99":{:.3},"request_ms_max":{:.3},"#,
            r#""websockets":{},"websockets_open":{},"pings":{},"pings_failed":{}}}"#
        ),
        seconds,
        changed,
        changed as f64 / seconds,
        changes_failed,
        ms(&change_times, 0.5),
        ms(&change_times, 0.99),
        ms(&change_times, 1.0),
        asked,
        requests_failed,
        ms(&request_times, 0.5),
        ms(&request_times, 0.99),
        ms(&request_times, 1.0),
        plan.websockets,
        open,
        pinged,
        pings_failed,
    );
    if changes_failed + requests_failed + pings_failed > 0 || open < plan.websockets {
        return Err("something was disturbed".to_owned());
    }
    Ok(())
}

fn expect(api: &mut Client, address: SocketAddr, method: &str, path: &str, body: &str) -> Result<(), String> {
    let answer = api.call(address, method, path, body)?;
    match answer.status {
        200..=201 | 204 => Ok(()),
        status => Err(format!("{method} {path}: {status} {}", String::from_utf8_lossy(&answer.body))),
    }
}

/// Adds and removes domains and instances, also an instance of the app that the requests go to.
fn write(
    writer: u64,
    address: SocketAddr,
    target: &str,
    pace: Duration,
    begin: Instant,
    end: Instant,
    tally: &Tally,
) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut api = Client::connect(address);
    for number in 0u64.. {
        let due = begin + pace * u32::try_from(number).unwrap_or(u32::MAX);
        if due >= end {
            break;
        }
        wait_until(due);
        let name = format!("w{writer}-{}", (number / 4) % 500);
        let (method, path, body) = match number % 4 {
            0 => (
                "POST",
                "/api/tenants/domains",
                format!(r#"{{"domain":"{name}.test","app_id":"steady","type":"subdomain"}}"#),
            ),
            1 => (
                "POST",
                "/api/apps/instances",
                format!(r#"{{"app_id":"steady","instance_id":"{name}","target":"{target}"}}"#),
            ),
            2 => ("DELETE", "/api/apps/instances", format!(r#"{{"instance_id":"{name}"}}"#)),
            _ => ("DELETE", "/api/tenants/domains", format!(r#"{{"domain":"{name}.test"}}"#)),
        };
        let sent = Instant::now();
        let result = match &mut api {
            Ok(api) => expect(api, address, method, path, &body),
            Err(reason) => Err(reason.clone()),
        };
        times.push(sent.elapsed());
        if note(tally, "change", result) {
            api = Client::connect(address);
        }
    }
    times
}

fn read(address: SocketAddr, pace: Duration, begin: Instant, end: Instant, tally: &Tally) -> Vec<Duration> {
    let mut times = Vec::new();
    let mut client = Client::connect(address);
    for number in 0u32.. {
        let due = begin + pace * number;
        if due >= end {
            break;
        }
        wait_until(due);
        let sent = Instant::now();
        let result = client
            .as_mut()
            .map_err(|reason| reason.clone())
            .and_then(|client| client.get("steady.test", "/1024"));
        times.push(sent.elapsed());
        let result = result.and_then(|answer| match (answer.status, answer.body.len()) {
            (200, 1024) => Ok(()),
            (status, bytes) => Err(format!("{status} with {bytes} bytes")),
        });
        if note(tally, "request", result) {
            client = Client::connect(address);
        }
    }
    times
}

/// Pings every socket in turn. Returns the number of open ones at the end.
fn ping(mut sockets: Vec<Client>, begin: Instant, end: Instant, tally: &Tally) -> usize {
    let pace = Duration::from_micros(1_000);
    let mut number = 0u32;
    let mut round_is_last = false;
    while !sockets.is_empty() {
        let mut at = 0;
        while at < sockets.len() {
            if !round_is_last {
                wait_until(begin + pace * number);
            }
            number += 1;
            let text = number.to_be_bytes();
            // A masked text frame of four bytes, mask zero; it returns unchanged.
            let frame =
                [0x81, 0x84, 0, 0, 0, 0, text[0] & 0x7f, text[1] & 0x7f, text[2] & 0x7f, text[3] & 0x7f];
            let socket = &mut sockets[at];
            let result = socket.send(&frame).and_then(|()| socket.exactly(frame.len())).and_then(|back| {
                match back == frame {
                    true => Ok(()),
                    false => Err("another frame came back".to_owned()),
                }
            });
            if note(tally, "WebSocket", result) {
                sockets.swap_remove(at);
            } else {
                at += 1;
            }
        }
        if round_is_last {
            break;
        }
        // One more round over every socket after all changes.
        round_is_last = Instant::now() >= end;
    }
    sockets.len()
}

/// Counts a result. Returns whether it is a failure.
fn note(tally: &Tally, what: &str, result: Result<(), String>) -> bool {
    match result {
        Ok(()) => {
            tally.done.fetch_add(1, Ordering::SeqCst);
            false
        }
        Err(reason) => {
            if tally.failed.fetch_add(1, Ordering::SeqCst) < 10 {
                eprintln!("{what}: {reason}");
            }
            true
        }
    }
}

fn join(threads: Vec<JoinHandle<Vec<Duration>>>) -> Vec<Duration> {
    threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
}

#[expect(clippy::disallowed_methods, reason = "a load of a given rate is a schedule of instants")]
fn wait_until(due: Instant) {
    std::thread::sleep(due.saturating_duration_since(Instant::now()));
}

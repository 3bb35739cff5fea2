//! Backend of limited capacity, and a load that does not wait for it.
//!
//! The backend has some workers and an unbounded queue in order of arrival; it goes on with a request whose
//! client has left, as servers without cancellation do. The load is open: requests are due at random times,
//! whatever became of those before, and each client gives up after its patience.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Serves with so many workers that take so long for each request. `GET /count` returns the number of the
/// requests so far, without a worker. A request with `/fail` in its target, or any while the file at `outage`
/// exists, gets 503 at once.
pub(crate) fn serve(workers: usize, service: Duration, outage: Option<String>) -> Result<(), String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    println!("{}", listener.local_addr().map_err(|error| error.to_string())?.port());
    let (jobs, waiting) = channel::<Sender<()>>();
    let waiting: Arc<Mutex<Receiver<Sender<()>>>> = Arc::new(Mutex::new(waiting));
    for _ in 0..workers {
        let waiting = waiting.clone();
        small_thread(move || {
            loop {
                let job = waiting.lock().ok().and_then(|waiting| waiting.recv().ok());
                let Some(done) = job else { return };
                pause(service);
                let _ = done.send(());
            }
        });
    }
    let requests = Arc::new(AtomicU64::new(0));
    for stream in listener.incoming().flatten() {
        let (jobs, requests, outage) = (jobs.clone(), requests.clone(), outage.clone());
        small_thread(move || {
            let _ = connection(stream, &jobs, &requests, outage.as_deref());
        });
    }
    Ok(())
}

fn connection(
    mut stream: TcpStream,
    jobs: &Sender<Sender<()>>,
    requests: &AtomicU64,
    outage: Option<&str>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut buf) = (Vec::new(), [0; 4096]);
    loop {
        let Some(end) = input.windows(4).position(|part| part == b"\r\n\r\n") else {
            match stream.read(&mut buf)? {
                0 => return Ok(()),
                count => input.extend_from_slice(&buf[..count]),
            }
            continue;
        };
        let head = String::from_utf8_lossy(&input[..end]).into_owned();
        input.drain(..end + 4);
        let target = head.split(' ').nth(1).unwrap_or_default();
        let (status, body) = if target == "/count" {
            ("200 OK", requests.load(Ordering::Relaxed).to_string())
        } else {
            requests.fetch_add(1, Ordering::Relaxed);
            if outage.is_some_and(|file| std::path::Path::new(file).exists()) {
                ("503 Service Unavailable", String::new())
            } else {
                let (done, wait) = channel();
                let _ = jobs.send(done);
                let _ = wait.recv();
                ("200 OK", "ok".to_owned())
            }
        };
        stream.write_all(
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes(),
        )?;
    }
}

/// Sends requests at random times and prints what became of them, by the second in which each was due.
pub(crate) fn open_load(
    address: SocketAddr,
    host: &str,
    per_second: f64,
    patience: Duration,
    seconds: u64,
) -> Result<(), String> {
    let results = Arc::new(Mutex::new(Vec::<(u64, Outcome, f64)>::new()));
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let mut state = 0x5EED_u64;
    let mut unit = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 11) as f64 + 1.0) / (1u64 << 53) as f64
    };
    let begin = Instant::now();
    let (mut due, mut clients) = (0.0, Vec::new());
    loop {
        due += -unit().ln() / per_second;
        if due >= seconds as f64 {
            break;
        }
        let at = begin + Duration::from_secs_f64(due);
        pause(at.saturating_duration_since(Instant::now()));
        let (results, request) = (results.clone(), request.clone());
        clients.push(small_thread(move || {
            let outcome = ask(address, &request, at + patience);
            let took = at.elapsed().as_secs_f64();
            if let Ok(mut results) = results.lock() {
                results.push((due as u64, outcome, took));
            }
        }));
    }
    for client in clients {
        client.join().map_err(|_| "a client panicked".to_owned())?;
    }
    let results = results.lock().map_err(|_| "a client panicked".to_owned())?;
    print(&results, seconds);
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Good,
    Refused,
    GaveUp,
}

fn ask(address: SocketAddr, request: &str, give_up: Instant) -> Outcome {
    let left = || give_up.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let response = TcpStream::connect_timeout(&address, left()).and_then(|mut stream| {
        stream.write_all(request.as_bytes())?;
        let mut response = Vec::new();
        let mut buf = [0; 1024];
        while response.len() < 12 {
            stream.set_read_timeout(Some(left()))?;
            match stream.read(&mut buf)? {
                0 => break,
                count => response.extend_from_slice(&buf[..count]),
            }
        }
        Ok(response)
    });
    match response.as_ref().map(|response| response.get(9..12)) {
        Ok(Some(b"200")) if Instant::now() <= give_up => Outcome::Good,
        Ok(Some(b"200")) | Err(_) => Outcome::GaveUp,
        Ok(_) => Outcome::Refused,
    }
}

fn print(results: &[(u64, Outcome, f64)], seconds: u64) {
    let count = |second: Option<u64>, outcome: Outcome| {
        let is_counted = |&&(due, of, _): &&(u64, Outcome, f64)| {
            of == outcome && second.is_none_or(|second| second == due)
        };
        results.iter().filter(is_counted).count()
    };
    let mut took: Vec<f64> =
        results.iter().filter(|result| result.1 == Outcome::Good).map(|result| result.2).collect();
    took.sort_by(f64::total_cmp);
    let at = |share: usize| took.get(took.len() * share / 100).map_or(0.0, |took| took * 1e3);
    let by_second: Vec<String> =
        (0..seconds).map(|second| count(Some(second), Outcome::Good).to_string()).collect();
    println!(
        "{{\"requests\":{},\"good\":{},\"refused\":{},\"gave_up\":{},\"p50\":{:.1},\"p99\":{:.1},\"good_by_second\":[{}]}}",
        results.len(),
        count(None, Outcome::Good),
        count(None, Outcome::Refused),
        count(None, Outcome::GaveUp),
        at(50),
        at(99),
        by_second.join(",")
    );
}

/// A thread for one connection or client: there are thousands.
fn small_thread(run: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    let builder = thread::Builder::new().stack_size(128 * 1024);
    builder.spawn(run).unwrap_or_else(|error| panic!("no thread for a connection: {error}"))
}

#[expect(clippy::disallowed_methods, reason = "work and arrivals of a given time are a schedule of instants")]
fn pause(time: Duration) {
    thread::sleep(time);
}

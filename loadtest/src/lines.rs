//! Many connections on one thread and one epoll: WebSocket ping-pong, and requests at a fixed rate.
//!
//! At a fixed rate each request has a due time, and its latency counts from there (no coordinated omission):
//! a stall of the proxy counts for every request that had to wait meanwhile, not only for the stalled one.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use crate::client::{Client, quantile};

/// Message that every connection repeats.
enum Payload {
    /// Request; its response has a length.
    Request(Vec<u8>),
    /// WebSocket message, which is echoed.
    Message(Vec<u8>),
}

struct Line {
    stream: TcpStream,
    input: Vec<u8>,
    /// Due time of the last message sent.
    due: Option<Instant>,
    /// Due times of messages that wait for the previous response.
    waiting: VecDeque<Instant>,
}

#[derive(Default)]
struct Tally {
    latencies: Vec<Duration>,
    errors: usize,
}

/// Runs WebSockets that each send a message, wait for its echo, and send the next.
pub(crate) fn ping_pong(
    address: SocketAddr,
    host: &str,
    connections: usize,
    bytes: usize,
    seconds: u64,
) -> Result<(), String> {
    let upgrade = format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    let mut streams = Vec::with_capacity(connections);
    for number in 0..connections {
        let mut client = Client::connect(address)?;
        client.send(upgrade.as_bytes())?;
        let status = client.response()?.status;
        if status != 101 {
            return Err(format!("WebSocket {number}: {status}"));
        }
        streams.push(client.into_stream());
    }
    run(streams, &Payload::Message(message(bytes)), None, seconds)
}

/// Sends requests at a fixed rate over keep-alive connections.
pub(crate) fn steady(
    address: SocketAddr,
    host: &str,
    rate: u64,
    connections: usize,
    seconds: u64,
) -> Result<(), String> {
    let request = format!("GET /1024 HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut streams = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut client = Client::connect(address)?;
        client.get(host, "/1024")?;
        streams.push(client.into_stream());
    }
    let pace = Duration::from_secs(1) / u32::try_from(rate.max(1)).map_err(|error| error.to_string())?;
    run(streams, &Payload::Request(request.into_bytes()), Some(pace), seconds)
}

fn run(
    streams: Vec<TcpStream>,
    payload: &Payload,
    pace: Option<Duration>,
    seconds: u64,
) -> Result<(), String> {
    let tally = drive(streams, payload, pace, seconds).map_err(|error| error.to_string())?;
    let mut latencies = tally.latencies;
    latencies.sort_unstable();
    let ms = |share| quantile(&latencies, share).as_secs_f64() * 1e3;
    println!(
        r#"{{"requests":{},"errors":{},"p50":{:.4},"p99":{:.4},"p999":{:.4}}}"#,
        latencies.len(),
        tally.errors,
        ms(0.5),
        ms(0.99),
        ms(0.999)
    );
    Ok(())
}

fn drive(
    streams: Vec<TcpStream>,
    payload: &Payload,
    pace: Option<Duration>,
    seconds: u64,
) -> io::Result<Tally> {
    // SAFETY: a plain system call.
    let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    let mut lines = Vec::with_capacity(streams.len());
    for (at, stream) in streams.into_iter().enumerate() {
        stream.set_nonblocking(true)?;
        watch(&epoll, stream.as_raw_fd(), at as u64)?;
        lines.push(Line { stream, input: Vec::new(), due: None, waiting: VecDeque::new() });
    }
    let begin = Instant::now();
    let end = begin + Duration::from_secs(seconds);
    let timer = match pace {
        Some(pace) => Some(timer(&epoll, pace)?),
        None => None,
    };
    let mut tally = Tally::default();
    let mut next = begin;
    let mut turn = 0;
    if pace.is_none() {
        for line in &mut lines {
            line.send(payload, begin, &mut tally)?;
        }
    }
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; 256];
    loop {
        let now = Instant::now();
        if now >= end {
            return Ok(tally);
        }
        if let Some(pace) = pace {
            while next <= now {
                let count = lines.len();
                lines[turn % count].send(payload, next, &mut tally)?;
                turn += 1;
                next += pace;
            }
        }
        // SAFETY: the buffer is ours and has the length that is passed.
        let count = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), 256, 100) };
        for event in &events[..usize::try_from(count).unwrap_or(0)] {
            let at = event.u64;
            if at == TIMER {
                if let Some(timer) = &timer {
                    let mut expired = [0_u8; 8];
                    // SAFETY: eight bytes that are ours. The number of expirations does not matter.
                    unsafe { libc::read(timer.as_raw_fd(), expired.as_mut_ptr().cast(), expired.len()) };
                }
                continue;
            }
            let line = &mut lines[at as usize];
            let is_over = line.receive(payload, &mut tally)?;
            if is_over && pace.is_none() {
                line.send(payload, Instant::now(), &mut tally)?;
            }
        }
    }
}

/// Token of the timer.
const TIMER: u64 = u64::MAX;

impl Line {
    /// Sends, or queues behind the previous response.
    fn send(&mut self, payload: &Payload, due: Instant, tally: &mut Tally) -> io::Result<()> {
        if self.due.is_some() {
            self.waiting.push_back(due);
            return Ok(());
        }
        self.due = Some(due);
        let (Payload::Request(bytes) | Payload::Message(bytes)) = payload;
        match (&self.stream).write(bytes) {
            Ok(count) if count == bytes.len() => Ok(()),
            // An empty socket buffer takes this much at once.
            Ok(_) | Err(_) => {
                tally.errors += 1;
                Err(io::Error::other("the socket buffer is full"))
            }
        }
    }

    /// Reads; returns whether a response is complete. Then sends the next queued message.
    fn receive(&mut self, payload: &Payload, tally: &mut Tally) -> io::Result<bool> {
        let mut piece = [0; 16 * 1024];
        loop {
            match (&self.stream).read(&mut piece) {
                Ok(0) => return Err(io::Error::other("the proxy closed a connection")),
                Ok(count) => self.input.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let whole = match payload {
            Payload::Request(_) => response_bytes(&self.input, tally),
            Payload::Message(bytes) => (self.input.len() >= bytes.len()).then_some(bytes.len()),
        };
        let Some(whole) = whole else { return Ok(false) };
        if let Payload::Message(bytes) = payload
            && self.input[..whole] != bytes[..]
        {
            tally.errors += 1;
        }
        self.input.drain(..whole);
        if let Some(due) = self.due.take() {
            tally.latencies.push(due.elapsed());
        }
        if let Some(due) = self.waiting.pop_front() {
            self.send(payload, due, tally)?;
        }
        Ok(true)
    }
}

/// Length of the response at the beginning of `input`, once it is complete.
fn response_bytes(input: &[u8], tally: &mut Tally) -> Option<usize> {
    let head = input.windows(4).position(|part| part == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&input[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    if input.len() < head + length {
        return None;
    }
    if !text.starts_with("http/1.1 200") {
        tally.errors += 1;
    }
    Some(head + length)
}

/// Builds a masked binary message (RFC 6455 §5.2) with a mask of zeros.
fn message(bytes: usize) -> Vec<u8> {
    let length = u16::try_from(bytes).unwrap_or(u16::MAX).max(126);
    let mut frame = vec![0x82, 0x80 | 126];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend((0..length).map(|at| (at % 251) as u8));
    frame
}

/// Creates a timer with this interval; missed expirations are merged.
fn timer(epoll: &OwnedFd, pace: Duration) -> io::Result<OwnedFd> {
    // SAFETY: a plain system call.
    let timer = owned(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK) })?;
    let every = libc::timespec {
        tv_sec: pace.as_secs() as libc::time_t,
        tv_nsec: libc::c_long::from(pace.subsec_nanos() as i32).max(1),
    };
    let times = libc::itimerspec { it_interval: every, it_value: every };
    // SAFETY: the descriptor is open and the times outlive the call.
    if unsafe { libc::timerfd_settime(timer.as_raw_fd(), 0, &raw const times, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    watch(epoll, timer.as_raw_fd(), TIMER)?;
    Ok(timer)
}

fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a call has just returned it; it has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn watch(epoll: &OwnedFd, fd: RawFd, word: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: word };
    // SAFETY: both descriptors are open, and the event outlives the call.
    match unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

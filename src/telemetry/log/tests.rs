//! Tests of the access log from an exchange to the bytes in a sink that blocks and fails on demand.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::sync::Mutex;

use crossbeam_channel::unbounded;
use ringway_model::Timestamp;

use super::*;
use crate::event::{Exchange, Protocol};

const LONG: Duration = Duration::from_secs(30);

/// Sink that waits for a result from the test before each write: `Ok(n)` takes up to n bytes.
struct ScriptedSink {
    written: Arc<Mutex<Vec<u8>>>,
    results: Receiver<io::Result<usize>>,
    writes: Sender<()>,
}

impl Write for ScriptedSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.writes.send(());
        // Without a sender all writes succeed.
        let count = self.results.recv().unwrap_or(Ok(usize::MAX))?.min(bytes.len());
        self.written.lock().unwrap().extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Scenario {
    handle: LogHandle,
    written: Arc<Mutex<Vec<u8>>>,
    results: Sender<io::Result<usize>>,
    write_started: Receiver<()>,
}

impl Scenario {
    fn new() -> Self {
        let (results, receiver) = unbounded();
        let (writes, write_started) = unbounded();
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = ScriptedSink { written: written.clone(), results: receiver, writes };
        let handle = LogHandle::start(LogSink::Writer(Box::new(sink)), LogFormat::Json).unwrap();
        Self { handle, written, results, write_started }
    }

    /// Lets all further writes succeed, ends the log and returns the written text and the counts.
    fn finish(self) -> (String, LogReading) {
        drop(self.results);
        let counts = self.handle.written.clone();
        let mut reading = self.handle.reading();
        assert!(self.handle.finish(LONG));
        reading.lines_lost = counts.lines_lost.read();
        reading.write_errors = counts.errors.read();
        (String::from_utf8(self.written.lock().unwrap().clone()).unwrap(), reading)
    }
}

fn exchange(request_id: &str) -> Exchange<'_> {
    Exchange {
        time: Timestamp(0),
        request_id,
        client_ip: std::net::Ipv4Addr::LOCALHOST.into(),
        method: b"GET",
        host: b"shop.example",
        path: b"/",
        protocol: Protocol::Http11,
        status: 200,
        bytes_in: 0,
        bytes_out: 0,
        duration_us: 1,
        upstream_us: None,
        route: 0,
        pool: 0,
        endpoint: 0,
        route_id: None,
        app: None,
        tenant: None,
        instance: None,
        attempts: 0,
        failure: None,
        upstream_error: None,
        request_error: None,
        referer: None,
        query: None,
        user_agent: None,
        upgrade: None,
        tls: None,
        variant: None,
        queue_us: None,
        stages_us: 0,
        limited_by: None,
        retry: None,
        hedge: None,
        breaker: None,
        middleware: None,
        filter_failure: None,
        compression: None,
        cache: None,
        is_logged: true,
    }
}

fn ids(lines: &str) -> Vec<&str> {
    lines
        .lines()
        .map(|line| line.split("\"request_id\":\"").nth(1).unwrap().split('"').next().unwrap())
        .collect()
}

#[test]
fn lines_are_written_whole_and_in_order() {
    let mut scenario = Scenario::new();
    let log = scenario.handle.add_core(CoreId(0));
    let sent: Vec<String> = (0..5_000).map(|n| format!("id{n}")).collect();
    for id in &sent {
        log.on_event(&Event::Exchange(&exchange(id)));
    }
    drop(log);
    let (text, reading) = scenario.finish();
    assert!(text.len() > 8 * crate::limits::LOG_BLOCK_BYTES, "several blocks were needed");
    assert_eq!(ids(&text), sent);
    assert_eq!((reading.lines, reading.cores), (5_000, vec![(CoreId(0), 0)]));
}

#[test]
fn a_blocked_sink_drops_lines_and_counts_them() {
    let mut scenario = Scenario::new();
    let log = scenario.handle.add_core(CoreId(0));
    let other = scenario.handle.add_core(CoreId(1));
    // The writer is blocked on one block; the queue behind it fills up.
    log.on_event(&Event::Exchange(&exchange("id")));
    log.flush();
    scenario.write_started.recv().unwrap();
    let mut sent = 1;
    while scenario.handle.reading().cores[0].1 == 0 {
        log.on_event(&Event::Exchange(&exchange(&format!("id{sent}"))));
        sent += 1;
    }
    assert!(sent > 10_000, "64 blocks take more than {sent} lines");
    for _ in 0..99 {
        log.on_event(&Event::Exchange(&exchange("dropped")));
    }
    other.on_event(&Event::Exchange(&exchange("late")));
    let before = scenario.handle.reading();
    assert_eq!(before.cores, [(CoreId(0), 100), (CoreId(1), 0)]);
    assert!(before.lines < sent);

    // A core that ends now cannot send its line.
    drop(other);
    assert_eq!(scenario.handle.reading().cores[1].1, 1);

    // The writer continues: queued blocks are written, and lines are accepted again.
    drop(std::mem::replace(&mut scenario.results, unbounded().0));
    let waiting = scenario.handle.full.clone();
    while waiting.len() > crate::limits::LOG_BLOCKS_MAX / 2 {
        scenario.write_started.recv().unwrap();
    }
    log.on_event(&Event::Exchange(&exchange("after")));
    drop(log);
    let (text, reading) = scenario.finish();
    let ids = ids(&text);
    assert_eq!(ids.len() as u64, reading.lines);
    assert_eq!(ids.len() as u64, sent - 1 + 1);
    assert!(!ids.contains(&"dropped") && !ids.contains(&"late") && ids.contains(&"after"));
    assert_eq!(reading.lines_lost, 0);
}

#[test]
fn lines_are_flushed_at_their_flush_age() {
    let mut scenario = Scenario::new();
    let log = scenario.handle.add_core(CoreId(0));
    let age = u64::try_from(crate::limits::LOG_FLUSH_AGE.as_millis()).unwrap();
    log.flush_if_older(Tick(5));
    log.on_event(&Event::Exchange(&exchange("a")));
    log.flush_if_older(Tick(1_000));
    log.flush_if_older(Tick(1_000 + age - 1));
    assert!(!log.state.borrow().block.is_empty(), "one millisecond early");
    log.flush_if_older(Tick(1_000 + age));
    assert!(log.state.borrow().block.is_empty());
    // The age of the next block starts again.
    log.on_event(&Event::Exchange(&exchange("b")));
    log.flush_if_older(Tick(1_000 + 2 * age));
    assert!(!log.state.borrow().block.is_empty());
    scenario.write_started.recv().unwrap();
    drop(log);
    assert_eq!(ids(&scenario.finish().0), ["a", "b"]);
}

#[test]
fn blocks_are_recycled() {
    let mut scenario = Scenario::new();
    let log = scenario.handle.add_core(CoreId(0));
    log.on_event(&Event::Exchange(&exchange("a")));
    let first = log.state.borrow().block.as_ptr();
    log.flush();
    scenario.write_started.recv().unwrap();
    scenario.results.send(Ok(usize::MAX)).unwrap();
    while log.state.borrow().empty.is_empty() {
        std::thread::yield_now();
    }
    log.on_event(&Event::Exchange(&exchange("b")));
    assert_eq!(log.state.borrow().block.as_ptr(), first);
    drop(log);
    assert_eq!(ids(&scenario.finish().0), ["a", "b"]);
}

#[test]
fn a_torn_line_damages_no_other_line() {
    let mut scenario = Scenario::new();
    let log = scenario.handle.add_core(CoreId(0));
    for id in ["a", "b", "c"] {
        log.on_event(&Event::Exchange(&exchange(id)));
    }
    let line_bytes = log.state.borrow().block.len() / 3;
    // One line and a half are written, then the disk is full; two lines are lost.
    scenario.results.send(Ok(line_bytes * 3 / 2)).unwrap();
    scenario.results.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
    log.flush();
    // For the second block the disk is still full.
    scenario.results.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
    log.on_event(&Event::Exchange(&exchange("d")));
    log.flush();
    for _ in 0..3 {
        scenario.write_started.recv().unwrap();
    }
    log.on_event(&Event::Exchange(&exchange("e")));
    drop(log);
    let (text, reading) = scenario.finish();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!((ids(lines[0]), ids(lines[2])), (vec!["a"], vec!["e"]));
    assert_eq!(lines[1].len(), line_bytes * 3 / 2 - line_bytes);
    assert_eq!((reading.lines, reading.lines_lost, reading.write_errors), (5, 3, 2));
}

#[test]
fn an_interrupted_write_is_retried() {
    let mut scenario = Scenario::new();
    let log = scenario.handle.add_core(CoreId(0));
    log.on_event(&Event::Exchange(&exchange("a")));
    scenario.results.send(Ok(3)).unwrap();
    scenario.results.send(Err(io::ErrorKind::Interrupted.into())).unwrap();
    drop(log);
    let (text, reading) = scenario.finish();
    assert_eq!(ids(&text), ["a"]);
    assert_eq!((reading.lines_lost, reading.write_errors), (0, 0));
}

#[test]
fn a_file_is_appended_to_and_reopened_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let (path, rotated) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    std::fs::write(&path, "before\n").unwrap();
    let mut handle = LogHandle::start(LogSink::File(path.clone()), LogFormat::Text).unwrap();
    let log = handle.add_core(CoreId(0));
    log.on_event(&Event::Exchange(&exchange("one")));
    log.flush();
    while log.state.borrow().empty.is_empty() {
        std::thread::yield_now();
    }
    std::fs::rename(&path, &rotated).unwrap();
    handle.reopen();
    while !path.exists() {
        std::thread::yield_now();
    }
    log.on_event(&Event::Exchange(&exchange("two")));
    drop(log);
    assert!(handle.finish(LONG));
    let old = std::fs::read_to_string(rotated).unwrap();
    let new = std::fs::read_to_string(path).unwrap();
    assert!(old.starts_with("before\n") && old.contains("\"one\"") && !old.contains("\"two\""), "{old}");
    assert!(new.contains("\"two\"") && !new.contains("\"one\""), "{new}");
}

#[test]
fn an_unopenable_file_fails_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing").join("access.log");
    let error = LogHandle::start(LogSink::File(path), LogFormat::Json).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn finish_times_out_on_a_blocked_sink() {
    let mut scenario = Scenario::new();
    let log = scenario.handle.add_core(CoreId(0));
    log.on_event(&Event::Exchange(&exchange("a")));
    drop(log);
    scenario.write_started.recv().unwrap();
    assert!(!scenario.handle.finish(Duration::from_millis(10)));
}

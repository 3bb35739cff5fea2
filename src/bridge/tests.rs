#![allow(clippy::unwrap_used)]

use super::*;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

/// Long enough that reaching it is a failure, not a slow machine.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Receiver as on a core, but on a blocking socket: waits for a byte, and reads all.
struct Receiver {
    source: WakeSource,
    stream: UnixStream,
}

impl Receiver {
    fn new(source: WakeSource) -> Self {
        let stream = source.stream().unwrap();
        // Blocking is a property of the socket, which the duplicate shares.
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self { source, stream }
    }

    /// Waits for bytes; returns their number, zero when all wakers were dropped. Fails after [`TIMEOUT`]: a
    /// wake-up was lost.
    fn wait(&mut self) -> usize {
        let bytes = self.stream.read(&mut [0; 64]).expect("a wake-up was lost");
        self.source.rearm();
        bytes
    }

    fn bytes_waiting(&mut self) -> usize {
        self.stream.set_nonblocking(true).unwrap();
        let read = self.stream.read(&mut [0; 64]);
        self.stream.set_nonblocking(false).unwrap();
        match read {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_batch_of_sends_costs_one_byte() {
    let (waker, source) = wake_pair().unwrap();
    let mut receiver = Receiver::new(source);
    let (sender, values) = mailbox(8, waker);
    for value in 0..8 {
        sender.send(value).unwrap();
    }
    assert_eq!(receiver.wait(), 1);
    assert_eq!(values.drain(usize::MAX).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    sender.send(8).unwrap();
    assert_eq!(receiver.wait(), 1, "after rearm the next send writes a byte again");
}

#[test]
fn the_stream_ends_with_the_last_waker() {
    let (waker, source) = wake_pair().unwrap();
    let mut receiver = Receiver::new(source);
    let other = waker.clone();
    drop(waker);
    other.wake();
    assert_eq!(receiver.wait(), 1);
    drop(other);
    assert_eq!(receiver.wait(), 0);
}

#[test]
fn waking_a_dropped_receiver_is_no_error() {
    let (waker, source) = wake_pair().unwrap();
    drop(source);
    waker.wake();
    waker.wake();
}

#[test]
fn a_newer_value_regauges_the_older_and_returns_it() {
    let (waker, source) = wake_pair().unwrap();
    let mut receiver = Receiver::new(source);
    let (mut sender, values) = slot(waker);
    assert_eq!(values.take(), None);
    assert_eq!(sender.publish("old"), None);
    assert_eq!(sender.publish("new"), Some("old"));
    assert_eq!(receiver.bytes_waiting(), 1);
    assert_eq!(values.take(), Some("new"));
    assert_eq!(values.take(), None);
    drop(sender);
    assert_eq!(receiver.wait(), 0, "the end: the byte was read before");
}

#[test]
fn publishing_without_a_receiver_keeps_one_value() {
    let (waker, _source) = wake_pair().unwrap();
    let (mut sender, values) = slot(waker);
    drop(values);
    assert_eq!(sender.publish(1), None);
    assert_eq!(sender.publish(2), Some(1));
}

#[test]
fn a_full_mailbox_returns_the_value() {
    let (waker, _source) = wake_pair().unwrap();
    let (sender, values) = mailbox(2, waker);
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    assert_eq!(sender.send(3), Err(SendError::Full(3)));
    assert_eq!(values.try_recv(), Ok(1));
    sender.send(3).unwrap();
    assert_eq!(values.drain(1).collect::<Vec<_>>(), [2], "a drain is bounded");
    assert_eq!(values.waiting(), 1);
}

#[test]
fn both_halves_of_a_mailbox_detect_the_end() {
    let (waker, _source) = wake_pair().unwrap();
    let (sender, values) = mailbox(2, waker.clone());
    sender.send(1).unwrap();
    drop(sender);
    assert_eq!(values.try_recv(), Ok(1), "what was sent is received");
    assert_eq!(values.try_recv(), Err(TryRecvError::Closed));

    let (sender, values) = mailbox(2, waker);
    drop(values);
    assert_eq!(sender.send(1), Err(SendError::Closed(1)));
}

#[test]
fn a_blocking_mailbox_waits_and_times_out() {
    let (sender, values) = blocking_mailbox(1);
    assert_eq!(values.recv_timeout(Duration::ZERO), Err(TryRecvError::Empty));
    let thread = thread::spawn(move || sender.send(7).unwrap());
    assert_eq!(values.recv_timeout(TIMEOUT), Ok(7));
    thread.join().unwrap();
    assert_eq!(values.recv_timeout(TIMEOUT), Err(TryRecvError::Closed));
}

#[test]
fn replies_across_threads_or_reports_the_reason() {
    let (sender, receiver) = reply();
    let thread = thread::spawn(move || sender.send(42));
    assert_eq!(receiver.wait(TIMEOUT), Ok(42));
    assert_eq!(thread.join().unwrap(), Ok(()));

    let (sender, receiver) = reply::<u32>();
    assert_eq!(receiver.wait(Duration::ZERO), Err(ReplyError::TimedOut));
    drop(sender);
    assert_eq!(receiver.wait(TIMEOUT), Err(ReplyError::Dropped));

    let (sender, receiver) = reply();
    drop(receiver);
    assert_eq!(sender.send(1), Err(1), "a reply without a receiver comes back");
}

#[test]
fn gauges_show_the_last_number_of_each_owner_until_it_is_dropped() {
    let mut gauges = shared_gauges(3);
    assert_eq!(gauges.iter().map(Gauge::own).collect::<Vec<_>>(), [0, 1, 2]);
    gauges[1].write(7);
    gauges[2].write(usize::MAX);
    let seen = |by: &Gauge| (0..by.count()).map(|index| by.read(index)).collect::<Vec<_>>();
    for gauge in &gauges {
        assert_eq!(seen(gauge), [Some(0), Some(7), Some(u32::MAX as usize - 1)]);
        assert!(!gauge.is_last());
    }
    gauges[1].write(6);
    gauges[1].close();
    gauges[1].write(5);
    assert_eq!(gauges[0].read(1), None, "closed for good");
    assert!(!gauges[0].is_last());
    drop(gauges.pop());
    assert_eq!(gauges[0].read(2), None, "its owner was dropped");
    assert!(gauges[0].is_last());
    assert!(!gauges[1].is_last(), "the first is there");
}

/// Three senders against one receiver that empties its mailbox only when woken: with a lost wake-up the
/// receiver's read fails, with a lost value the sums differ.
#[test]
fn no_wake_up_and_no_value_is_lost_under_stress() {
    const SENDERS: u64 = 3;
    const VALUES: u64 = 20_000;
    let (waker, source) = wake_pair().unwrap();
    let mut receiver = Receiver::new(source);
    let (sender, values) = mailbox(16, waker);
    let threads: Vec<_> = (0..SENDERS)
        .map(|_| {
            let sender = sender.clone();
            thread::spawn(move || {
                for value in 1..=VALUES {
                    let mut value = value;
                    while let Err(SendError::Full(back)) = sender.send(value) {
                        value = back;
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    drop(sender);
    let (mut count, mut sum) = (0, 0);
    while count < SENDERS * VALUES {
        receiver.wait();
        for value in values.drain(usize::MAX) {
            count += 1;
            sum += value;
        }
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(sum, SENDERS * VALUES * (VALUES + 1) / 2);
}

/// The receiver sees only growing numbers and always ends at the last, regardless of missed ones.
#[test]
fn the_latest_value_always_arrives_under_stress() {
    const LAST: u64 = 50_000;
    let (waker, source) = wake_pair().unwrap();
    let mut receiver = Receiver::new(source);
    let (mut sender, values) = slot(waker);
    let thread = thread::spawn(move || {
        for value in 1..=LAST {
            sender.publish(value);
        }
    });
    let mut seen = 0;
    while seen < LAST {
        receiver.wait();
        if let Some(value) = values.take() {
            assert!(value > seen, "{value} came after {seen}");
            seen = value;
        }
    }
    thread.join().unwrap();
}

#[test]
fn permits_are_bounded_and_come_back() {
    let permits = Permits::new(2);
    let (first, second) = (permits.take(), permits.take());
    assert!(first.is_some() && second.is_some() && permits.take().is_none());
    assert_eq!((permits.taken(), permits.max()), (2, 2));
    std::thread::spawn(move || drop(first)).join().unwrap();
    assert!(permits.clone().take().is_some(), "dropped on another thread");
    drop(second);
    assert_eq!(permits.taken(), 0);
    assert!(Permits::new(0).take().is_none());
}

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;

use ringway_net::{PeerState, RuntimeOptions, Waits, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Scripted stream: reads return the script, then wait; writes are recorded one by one.
struct Scripted {
    reads: RefCell<VecDeque<Result<Vec<u8>, ErrorKind>>>,
    writes: RefCell<Vec<Vec<u8>>>,
    /// Result of writes.
    write_error: Option<ErrorKind>,
    /// Called when the pump waits without a buffer.
    on_wait: Box<dyn Fn()>,
    waits: Waits,
}

impl Scripted {
    fn new(reads: impl IntoIterator<Item = Result<Vec<u8>, ErrorKind>>) -> Self {
        Self {
            reads: RefCell::new(reads.into_iter().collect()),
            writes: RefCell::default(),
            write_error: None,
            on_wait: Box::new(|| {}),
            waits: Waits::new().unwrap(),
        }
    }
}

impl Stream for Scripted {
    async fn read(&self, mut buf: Vec<u8>, _: Tick) -> (io::Result<usize>, Vec<u8>) {
        let next = self.reads.borrow_mut().pop_front();
        let read = match next {
            Some(Ok(bytes)) => {
                assert!(buf.capacity() - buf.len() >= bytes.len());
                buf.extend_from_slice(&bytes);
                Ok(bytes.len())
            }
            Some(Err(kind)) => Err(kind.into()),
            None => self.waits.read(Tick::NEVER, |_| Poll::Pending).await,
        };
        (read, buf)
    }

    async fn write_all_range(
        &self,
        buf: Vec<u8>,
        range: Range<usize>,
        _: WriteRate,
    ) -> (io::Result<()>, Vec<u8>) {
        // As on the ring: never complete at once.
        yield_now().await;
        if let Some(kind) = self.write_error {
            return (Err(kind.into()), buf);
        }
        self.writes.borrow_mut().push(buf[range].to_vec());
        (Ok(()), buf)
    }

    async fn readable(&self, _: Tick) -> io::Result<()> {
        (self.on_wait)();
        Ok(())
    }

    fn peek_state(&self) -> PeerState {
        PeerState::Idle
    }

    fn cancel_reads(&self) {
        self.waits.cancel_reads();
    }

    fn resume_reads(&self) {
        self.waits.resume_reads();
    }

    fn cancel_writes(&self) {}

    fn resume_writes(&self) {}

    async fn shutdown_write(&self, _: Tick) -> io::Result<()> {
        Ok(())
    }

    fn abort(&self) {}

    fn peer_addr(&self) -> Option<SocketAddr> {
        None
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        None
    }
}

const STALL: Duration = Duration::from_secs(60);

fn on_a_core<F: Future<Output = ()>>(scenario: impl FnOnce() -> F) {
    run(RuntimeOptions::default(), |_| scenario()).unwrap();
}

#[test]
fn the_writes_of_one_poll_are_one_send() {
    on_a_core(|| async {
        let stream = Scripted::new([]);
        let (mut pipe, driver) = pipe(());
        let connection = async {
            for part in [b"one".as_slice(), b"two", b"three"] {
                pipe.write_all(part).await.unwrap();
                pipe.flush().await.unwrap();
            }
            // Two sends later: output is gathered during a send.
            yield_now().await;
            pipe.write_all(b"four").await.unwrap();
        };
        driver.drive(&stream, STALL, connection).await;
        assert_eq!(stream.writes.into_inner(), [b"onetwothree".to_vec(), b"four".to_vec()]);
    });
}

#[test]
fn a_writer_waits_for_room_and_all_bytes_are_sent() {
    on_a_core(|| async {
        let stream = Scripted::new([]);
        let (mut pipe, driver) = pipe(());
        let body: Vec<u8> = (0..1_000_000u32).map(|at| (at % 251) as u8).collect();
        driver.drive(&stream, STALL, async { pipe.write_all(&body).await.unwrap() }).await;
        let writes = stream.writes.into_inner();
        assert!(writes.iter().all(|bytes| bytes.len() <= crate::limits::H2_OUTPUT_BYTES_MAX));
        assert!(writes.len() <= 17, "{} sends", writes.len());
        assert_eq!(writes.concat(), body);
    });
}

#[test]
fn bytes_are_read_in_order_to_the_end() {
    on_a_core(|| async {
        let pieces = [
            b"abc".to_vec(),
            vec![7; ringway_model::limits::HEAD_BUFFER_BYTES],
            vec![8; 20_000],
            b"z".to_vec(),
        ];
        let stream = Scripted::new(pieces.iter().cloned().map(Ok).chain([Ok(Vec::new())]));
        let (mut pipe, driver) = pipe(());
        let read = async {
            let mut all = Vec::new();
            pipe.read_to_end(&mut all).await.map(|_| all)
        };
        let all = driver.drive(&stream, STALL, read).await.unwrap();
        assert!(all == pieces.concat(), "bytes were lost or changed");
    });
}

#[test]
fn a_broken_connection_is_reported_in_both_directions() {
    on_a_core(|| async {
        let stream = Scripted::new([Ok(b"a".to_vec()), Err(ErrorKind::ConnectionReset)]);
        let (mut reset, driver) = pipe(());
        let read = async { (reset.read_u8().await.unwrap(), reset.read_u8().await.unwrap_err().kind()) };
        assert_eq!(driver.drive(&stream, STALL, read).await, (b'a', ErrorKind::ConnectionReset));
        assert!(driver.is_broken());

        let stream = Scripted { write_error: Some(ErrorKind::TimedOut), ..Scripted::new([]) };
        let (mut stalled, driver) = pipe(());
        let write = async {
            stalled.write_all(b"x").await.unwrap();
            // A stalled send is reported to a pending read.
            let read = stalled.read_u8().await.unwrap_err().kind();
            (read, stalled.write_all(b"y").await.unwrap_err().kind())
        };
        assert_eq!(driver.drive(&stream, STALL, write).await, (ErrorKind::TimedOut, ErrorKind::TimedOut));
        assert!(driver.is_broken());
    });
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    on_a_core(|| async {
        let (mut pipe, driver) = pipe(());
        let held = Rc::new(Cell::new(usize::MAX));
        let mut stream = Scripted::new([Ok(b"a".to_vec()), Err(ErrorKind::TimedOut), Ok(b"b".to_vec())]);
        let (looked, held_then) = (driver.clone(), held.clone());
        stream.on_wait = Box::new(move || held_then.set(looked.bytes_held()));
        let connection = async {
            pipe.write_all(&[7; 50_000]).await.unwrap();
            (pipe.read_u8().await.unwrap(), pipe.read_u8().await.unwrap())
        };
        assert_eq!(driver.drive(&stream, STALL, connection).await, (b'a', b'b'));
        // A send may be in progress, whose buffer belongs to the kernel.
        assert_eq!(held.get(), 0);
    });
}

#[test]
fn a_deadline_is_reported_although_bytes_arrive() {
    on_a_core(|| async {
        let stream = Scripted::new((0..10_000).map(|_| Ok(b"x".to_vec())));
        let (mut pipe, driver) = pipe(());
        driver.set_read_by(clock::now().after(Duration::from_millis(1)));
        let connection = poll_fn(|cx| {
            let mut byte = [0];
            let mut buf = ReadBuf::new(&mut byte);
            while Pin::new(&mut pipe).poll_read(cx, &mut buf).is_ready() {
                buf.clear();
                if stream.reads.borrow().is_empty() {
                    // Slower than the clock: the scenario did not last as long as the deadline.
                    stream.reads.borrow_mut().push_back(Ok(b"x".to_vec()));
                }
                if driver.take_overdue() {
                    return Poll::Ready(());
                }
            }
            if driver.take_overdue() { Poll::Ready(()) } else { Poll::Pending }
        });
        driver.drive(&stream, STALL, connection).await;
        assert!(!driver.take_overdue(), "told once");
    });
}

#[test]
fn a_cancelled_read_interrupts_and_reading_goes_on() {
    on_a_core(|| async {
        let stream = Scripted::new([Err(ErrorKind::Interrupted), Ok(b"a".to_vec())]);
        let (mut pipe, driver) = pipe(());
        let connection = async {
            poll_fn(|_| if driver.take_interrupted() { Poll::Ready(()) } else { Poll::Pending }).await;
            pipe.read_u8().await.unwrap()
        };
        assert_eq!(driver.drive(&stream, STALL, connection).await, b'a');
    });
}

#[test]
fn a_watch_ends_the_reading() {
    struct Refusing(Cell<bool>);
    impl Watch for Refusing {
        fn on_read(&self, bytes: &[u8], _: Tick) -> usize {
            let passed = bytes.windows(4).position(|part| part == b"evil").unwrap_or(bytes.len());
            self.0.set(passed < bytes.len());
            passed
        }

        fn on_written(&self, _: &[u8]) {}
    }
    on_a_core(|| async {
        let stream = Scripted::new([Ok(b"good".to_vec()), Ok(b" and evil".to_vec()), Ok(b"more".to_vec())]);
        let (mut pipe, driver) = pipe(Refusing(Cell::new(false)));
        let mut read = Vec::new();
        let connection = poll_fn(|cx| {
            let mut bytes = [0; 64];
            let mut buf = ReadBuf::new(&mut bytes);
            if Pin::new(&mut pipe).poll_read(cx, &mut buf).is_ready() {
                read.extend_from_slice(buf.filled());
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if driver.watch().0.get() { Poll::Ready(()) } else { Poll::Pending }
        });
        driver.drive(&stream, STALL, connection).await;
        assert_eq!(read, b"good and ", "what stands before it is still read");
        assert_eq!(stream.reads.borrow().len(), 1, "no more is read");
    });
}

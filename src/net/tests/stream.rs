//! Reading, writing, deadlines and cancellation, on both drivers.

use super::*;
use crate::{LingerLimits, PeerState, Stream, SystemClock, WriteRate, join, join_until, linger, sleep};
use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::thread;

#[test]
fn reads_append_to_the_buffer() {
    on_both_drivers(|| async {
        let (stream, mut peer) = pair();
        peer.write_all(b"world").unwrap();
        let mut buf = buf();
        buf.extend_from_slice(b"hello ");
        let at = buf.as_ptr();
        let (read, buf) = stream.read(buf, soon()).await;
        assert_eq!(read.unwrap(), 5);
        assert_eq!(buf, b"hello world");
        assert_eq!(buf.as_ptr(), at, "the same memory");
        drop(peer);
        let (read, buf) = stream.read(buf, soon()).await;
        assert_eq!(read.unwrap(), 0);
        assert_eq!(buf, b"hello world");
    });
}

#[test]
fn refuses_a_buffer_without_room() {
    on_both_drivers(|| async {
        let (stream, _peer) = pair();
        for full in [Vec::new(), vec![7; 16].into_boxed_slice().into_vec()] {
            let before = full.clone();
            let (read, full) = stream.read(full, soon()).await;
            assert_eq!(kind(read), ErrorKind::InvalidInput);
            assert_eq!(full, before);
        }
    });
}

#[test]
fn writes_exactly_a_range() {
    on_both_drivers(|| async {
        let (stream, mut peer) = pair();
        let pace = WriteRate::stall(PATIENCE);
        let (written, buf) = stream.write_all_range(b"<hello>".to_vec(), 1..6, pace).await;
        written.unwrap();
        assert_eq!(buf, b"<hello>");
        let (written, buf) = stream.write_all_range(buf, 6..8, pace).await;
        assert_eq!(kind(written), ErrorKind::InvalidInput);
        let (written, _) = stream.write_all(buf, WriteRate::until(soon())).await;
        written.unwrap();
        stream.shutdown_write(soon()).await.unwrap();
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert_eq!(received, b"hello<hello>");
    });
}

#[test]
fn writes_a_head_and_a_range_of_shared_parts() {
    on_both_drivers(|| async {
        // The last range is longer than what the kernel takes at once, and has more parts than one call.
        let parts: Vec<Vec<u8>> = (0..100u8).map(|part| vec![part; 1 + usize::from(part) * 1_000]).collect();
        let all = parts.concat();
        for range in [0..0, 0..1, 0..5_000, 777..9_999, 4_000..all.len(), 0..all.len()] {
            for head in [&b""[..], b"head"] {
                let (stream, mut peer) = pair();
                let reader = thread::spawn(move || {
                    let mut received = Vec::new();
                    peer.read_to_end(&mut received).unwrap();
                    received
                });
                let pace = WriteRate::stall(PATIENCE);
                let (written, back) = stream.write_shared(head.to_vec(), &parts, range.clone(), pace).await;
                written.unwrap();
                assert_eq!(back, head);
                stream.shutdown_write(soon()).await.unwrap();
                let expected = [head, &all[range.clone()]].concat();
                assert!(reader.join().unwrap() == expected, "{range:?}");
            }
        }
        let (stream, _peer) = pair();
        let past = all.len()..all.len() + 1;
        let (written, _) = stream.write_shared(Vec::new(), &parts, past, WriteRate::stall(PATIENCE)).await;
        assert_eq!(kind(written), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_write_of_shared_parts_times_out_and_is_cancelled() {
    on_both_drivers(|| async {
        let parts = vec![vec![7; 1 << 20]; 16];
        let (stream, _peer) = pair();
        let until = WriteRate::until(within(Duration::from_millis(20)));
        let (written, _) = stream.write_shared(b"head".to_vec(), &parts, 0..16 << 20, until).await;
        assert_eq!(kind(written), ErrorKind::TimedOut);
        let (stream, _peer) = pair();
        stream.cancel_writes();
        let pace = WriteRate::stall(PATIENCE);
        let (written, _) = stream.write_shared(b"head".to_vec(), &parts, 0..16 << 20, pace).await;
        assert_eq!(kind(written), ErrorKind::Interrupted);
    });
}

#[test]
fn a_read_deadline_returns_the_buffer_and_loses_nothing() {
    on_both_drivers(|| async {
        let (stream, mut peer) = pair();
        let mut buf = buf();
        buf.extend_from_slice(b"kept ");
        let before = clock::now();
        let deadline = within(Duration::from_millis(20));
        let (read, buf) = stream.read(buf, deadline).await;
        assert_eq!(kind(read), ErrorKind::TimedOut);
        assert!(clock::now() >= deadline, "not before its time: {before:?} {deadline:?}");
        assert_eq!(buf, b"kept ");
        peer.write_all(b"later").unwrap();
        let (read, buf) = stream.read(buf, soon()).await;
        assert_eq!(read.unwrap(), 5);
        assert_eq!(buf, b"kept later");
    });
}

#[test]
fn available_data_take_precedence_over_an_expired_deadline() {
    on_both_drivers(|| async {
        let (stream, mut peer) = pair();
        peer.write_all(b"x").unwrap();
        let (read, _) = stream.read(buf(), Tick(0)).await;
        assert_eq!(read.unwrap(), 1);
        peer.write_all(b"y").unwrap();
        stream.readable(Tick(0)).await.unwrap();
    });
}

/// The peer writes at about the moment of the deadline, again and again: each message arrives exactly once.
#[test]
fn cancelled_reads_lose_no_message() {
    const MESSAGES: u32 = 300;
    on_both_drivers(|| async {
        let (stream, mut peer) = pair();
        let (go, turns) = std::sync::mpsc::channel::<u64>();
        let writer = thread::spawn(move || {
            for (number, delay) in turns.into_iter().enumerate() {
                // The race is intended: no event triggers the write.
                let end = clock::now_micros() + delay;
                while clock::now_micros() < end {
                    std::hint::spin_loop();
                }
                peer.write_all(&u32::try_from(number).unwrap().to_le_bytes()).unwrap();
            }
        });
        let (mut interrupted, mut received) = (0, Vec::new());
        for turn in 0..MESSAGES {
            // Around the moment of the cancellation, and now and then clearly after it.
            let delay = if turn % 10 == 9 { 20_000 } else { 700 + u64::from(turn % 60) * 40 };
            go.send(delay).unwrap();
            let reader = async {
                let (read, mut buf) = stream.read(buf(), soon()).await;
                match read {
                    Ok(_) => received.append(&mut buf),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Interrupted);
                        interrupted += 1;
                    }
                }
            };
            let canceller = async {
                sleep(Duration::from_millis(1)).await;
                stream.cancel_reads();
            };
            join(reader, canceller).await;
            stream.resume_reads();
            while received.len() < 4 * (turn as usize + 1) {
                received.reserve(64);
                let (read, buf) = stream.read(received, soon()).await;
                assert_ne!(read.unwrap(), 0);
                received = buf;
            }
        }
        drop(go);
        writer.join().unwrap();
        let expected: Vec<_> = (0..MESSAGES).flat_map(u32::to_le_bytes).collect();
        assert_eq!(received, expected);
        assert!(interrupted > 0, "no read was cancelled, so nothing was tested");
    });
}

#[test]
fn cancelled_reads_stay_cancelled_until_resumed() {
    on_both_drivers(|| async {
        let (stream, mut peer) = pair();
        peer.write_all(b"x").unwrap();
        stream.cancel_reads();
        let (read, buf) = stream.read(buf(), soon()).await;
        assert_eq!(kind(read), ErrorKind::Interrupted);
        assert_eq!(kind(stream.readable(soon()).await), ErrorKind::Interrupted);
        stream.resume_reads();
        stream.readable(soon()).await.unwrap();
        assert_eq!(stream.read(buf, soon()).await.0.unwrap(), 1);
    });
}

#[test]
fn waiting_for_readability_ends_by_data_deadline_or_cancellation() {
    on_both_drivers(|| async {
        let (stream, mut peer) = pair();
        assert_eq!(kind(stream.readable(within(Duration::from_millis(5))).await), ErrorKind::TimedOut);
        let (readable, ()) = join(stream.readable(soon()), async { stream.cancel_reads() }).await;
        assert_eq!(kind(readable), ErrorKind::Interrupted);
        stream.resume_reads();
        let (readable, ()) = join(stream.readable(soon()), async { peer.write_all(b"x").unwrap() }).await;
        readable.unwrap();
        assert_eq!(stream.read(buf(), soon()).await.0.unwrap(), 1);
    });
}

#[test]
fn a_stalled_write_times_out_and_a_cancelled_one_ends() {
    on_both_drivers(|| async {
        let big = vec![1_u8; 16 << 20];
        let (stream, _peer) = pair();
        let (written, big) = stream.write_all(big, WriteRate::stall(Duration::from_millis(20))).await;
        assert_eq!(kind(written), ErrorKind::TimedOut);
        let (stream, _peer) = pair();
        let ((written, big), ()) = join(stream.write_all(big, WriteRate::until(soon())), async {
            sleep(Duration::from_millis(5)).await;
            stream.cancel_writes();
        })
        .await;
        assert_eq!(kind(written), ErrorKind::Interrupted);
        let (written, big) = stream.write_all(big, WriteRate::until(soon())).await;
        assert_eq!(kind(written), ErrorKind::Interrupted, "sticky");
        assert_eq!(big.len(), 16 << 20);
    });
}

/// Bytes that a peer may have received must not be repeated, hence the distinction.
#[test]
fn a_broken_write_reports_whether_a_part_was_sent() {
    on_both_drivers(|| async {
        let (stream, mut peer) = pair();
        let reader = thread::spawn(move || {
            peer.read_exact(&mut [0]).unwrap();
            socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        });
        let (written, _) = stream.write_all(vec![1; 16 << 20], WriteRate::until(soon())).await;
        assert_eq!(kind(written), ErrorKind::WriteZero);
        joined(reader).await;

        let (stream, peer) = pair();
        socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        let _ = stream.readable(soon()).await;
        let (written, _) = stream.write_all(vec![1; 16 << 20], WriteRate::until(soon())).await;
        let kind = kind(written);
        assert!(matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{kind:?}");
    });
}

/// Progress restarts the stall timeout, but not the deadline.
#[test]
fn a_slow_reader_is_waited_for_until_the_deadline() {
    on_both_drivers(|| async {
        let (stream, mut peer) = pair();
        let reader = thread::spawn(move || {
            let (mut total, mut chunk) = (0, vec![0; 64 << 10]);
            loop {
                match peer.read(&mut chunk) {
                    Ok(0) | Err(_) => return total,
                    Ok(count) => total += count,
                }
            }
        });
        let len = 8 << 20;
        let (written, _) = stream.write_all(vec![0; len], WriteRate::stall(PATIENCE).and_until(soon())).await;
        written.unwrap();
        drop(stream);
        assert_eq!(joined(reader).await, len);

        let (stream, _peer) = pair();
        let pace = WriteRate::stall(PATIENCE).and_until(within(Duration::from_millis(10)));
        assert_eq!(kind(stream.write_all(vec![0; 16 << 20], pace).await.0), ErrorKind::TimedOut);
    });
}

#[test]
fn reads_and_writes_at_once() {
    on_both_drivers(|| async {
        let (stream, mut peer) = pair();
        let echo = thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = peer.read(&mut chunk) {
                peer.write_all(&chunk[..count]).unwrap();
            }
        });
        let sent: Vec<u8> = (0..1_000_000_u32).map(|byte| byte as u8).collect();
        let expected = sent.clone();
        let write = async {
            stream.write_all(sent, WriteRate::stall(PATIENCE)).await.0.unwrap();
            stream.shutdown_write(soon()).await.unwrap();
        };
        let read = async {
            let mut received = Vec::with_capacity(expected.len() + 1);
            loop {
                let (read, buf) = stream.read(received, soon()).await;
                received = buf;
                if read.unwrap() == 0 {
                    return received;
                }
            }
        };
        let ((), received) = join(write, read).await;
        assert!(received == expected, "what came back differs");
        joined(echo).await;
    });
}

#[test]
fn a_peek_shows_the_state_and_reads_nothing() {
    on_both_drivers(|| async {
        let (stream, mut peer) = pair();
        assert_eq!(stream.peek_state(), PeerState::Idle);
        peer.write_all(b"x").unwrap();
        stream.readable(soon()).await.unwrap();
        assert_eq!(stream.peek_state(), PeerState::HasData);
        assert_eq!(stream.read(buf(), soon()).await.0.unwrap(), 1);
        assert_eq!(stream.peek_state(), PeerState::Idle);
        drop(peer);
        stream.readable(soon()).await.unwrap();
        assert_eq!(stream.peek_state(), PeerState::Closed);
    });
}

#[test]
fn an_aborted_stream_is_reset() {
    on_both_drivers(|| async {
        let (stream, mut peer) = pair();
        stream.write_all(b"cut".to_vec(), WriteRate::until(soon())).await.0.unwrap();
        let mut three = [0; 3];
        peer.read_exact(&mut three).unwrap();
        stream.abort();
        drop(stream);
        // The ring closes on its next turn.
        crate::yield_now().await;
        assert_eq!(kind(peer.read(&mut three)), ErrorKind::ConnectionReset);
    });
}

/// A close with unread bytes is a reset, which can destroy the response in the peer's buffer.
#[test]
fn lingering_delivers_the_last_response() {
    on_both_drivers(|| async {
        let (stream, mut peer) = pair();
        let client = thread::spawn(move || {
            for _ in 0..64 {
                peer.write_all(&[0; 1024]).unwrap();
            }
            let mut answer = Vec::new();
            peer.read_to_end(&mut answer).map(|_| answer)
        });
        stream.readable(soon()).await.unwrap();
        stream.write_all(b"400".to_vec(), WriteRate::until(soon())).await.0.unwrap();
        linger(&stream, LingerLimits::UPLOAD, &SystemClock).await;
        drop(stream);
        crate::yield_now().await;
        assert_eq!(joined(client).await.unwrap(), b"400");
    });
}

#[test]
fn lingering_ends_by_bytes_and_by_time() {
    on_both_drivers(|| async {
        let (stream, mut peer) = pair();
        let moment = Duration::from_millis(5);
        linger(&stream, LingerLimits { timeout: moment, ..LingerLimits::UPLOAD }, &SystemClock).await;
        linger(&stream, LingerLimits { idle_timeout: moment, ..LingerLimits::UPLOAD }, &SystemClock).await;
        peer.write_all(&[0; 64]).unwrap();
        linger(&stream, LingerLimits { bytes_max: 1, ..LingerLimits::UPLOAD }, &SystemClock).await;
    });
}

/// The side is in the middle of a read when the main part ends: it is cancelled, awaited, and its buffer
/// comes back.
#[test]
fn a_side_future_is_stopped_and_awaited_when_main_ends() {
    on_both_drivers(|| async {
        let (stream, _peer) = pair();
        let stops = Cell::new(0);
        let (main, (read, side_buf)) =
            join_until(async { sleep(Duration::from_millis(2)).await }, stream.read(buf(), soon()), || {
                stops.set(stops.get() + 1);
                stream.cancel_reads();
            })
            .await;
        let () = main;
        assert_eq!(kind(read), ErrorKind::Interrupted);
        assert_eq!(side_buf.capacity(), 4096);
        assert_eq!(stops.get(), 1);
        // A side that is done is not stopped.
        let ((), ()) = join_until(sleep(Duration::from_millis(2)), async {}, || stops.set(9)).await;
        // A request whose last byte is sent at the moment of its response was sent completely.
        let is_sent = Cell::new(false);
        let stopped = || panic!("both were over");
        let (was_sent, ()) = join_until(async { is_sent.get() }, async { is_sent.set(true) }, stopped).await;
        assert!(was_sent);
        assert_eq!(stops.get(), 1);
    });
}

#[test]
#[cfg(debug_assertions)]
fn a_second_reader_is_a_bug() {
    let misuse = || {
        let options = RuntimeOptions { driver: DriverChoice::Epoll, ..RuntimeOptions::default() };
        run(options, |_| async {
            let (stream, _peer) = pair();
            join(stream.readable(soon()), stream.readable(soon())).await.1
        })
    };
    assert!(std::panic::catch_unwind(misuse).is_err());
}

#[test]
fn reports_its_addresses() {
    on_both_drivers(|| async {
        let (stream, peer) = pair();
        assert_eq!(stream.peer_addr(), Some(peer.local_addr().unwrap()));
        assert_eq!(stream.local_addr(), Some(peer.peer_addr().unwrap()));
        assert!(stream.as_tcp().is_some());
    });
}

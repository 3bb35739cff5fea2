//! Reading, writing and closing.

use super::*;
use crate::{PeerState, join, sleep};
use rustls::version::{TLS12, TLS13};
use std::io::{ErrorKind, Read, Write};

#[test]
fn reads_fill_the_buffer_and_keep_the_rest() {
    on_both_drivers(|| async {
        let (ours, mut peer) = serving(BOTH).await;
        // Two records, more than rustls keeps.
        let sent: Vec<u8> = (0..30_000_u32).map(|byte| byte as u8).collect();
        let expected = sent.clone();
        let sender = thread::spawn(move || {
            peer.write_all(&sent).unwrap();
            peer
        });
        let _peer = joined(sender).await;
        let mut received = Vec::new();
        for size in [1, 7, 300, 16_384].into_iter().cycle() {
            let mut buf = Vec::with_capacity(size + 1);
            buf.push(b'>');
            let (at, capacity) = (buf.as_ptr(), buf.capacity());
            let (read, buf) = ours.read(buf, soon()).await;
            assert!((1..capacity).contains(&read.unwrap()));
            assert_eq!((buf.as_ptr(), buf[0]), (at, b'>'), "the same memory");
            received.extend_from_slice(&buf[1..]);
            if received.len() == expected.len() {
                break;
            }
        }
        assert!(received == expected, "what came differs");
        for full in [Vec::new(), vec![7; 16].into_boxed_slice().into_vec()] {
            let (read, _) = ours.read(full, soon()).await;
            assert_eq!(kind(read), ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn writes_a_head_and_a_range_of_shared_parts() {
    on_both_drivers(|| async {
        let parts: Vec<Vec<u8>> = (0..20u8).map(|part| vec![part; 1 + usize::from(part) * 3_000]).collect();
        let all = parts.concat();
        for range in [0..0, 1..1_000, 777..all.len(), 0..all.len()] {
            let (ours, mut peer) = serving(BOTH).await;
            let expected = [b"head", &all[range.clone()]].concat();
            let mut received = vec![0; expected.len()];
            let reader = thread::spawn(move || {
                peer.read_exact(&mut received).unwrap();
                received
            });
            let pace = WriteRate::stall(PATIENCE);
            let (written, _) = ours.write_shared(b"head".to_vec(), &parts, range.clone(), pace).await;
            written.unwrap();
            assert!(joined(reader).await == expected, "{range:?}");
        }
    });
}

#[test]
fn distinguishes_close_notify_from_a_truncation() {
    on_both_drivers(|| async {
        for version in [&TLS13, &TLS12] {
            for proper in [true, false] {
                let (ours, mut peer) = serving(&[version]).await;
                peer.write_all(b"last").unwrap();
                if proper {
                    peer.conn.send_close_notify();
                    peer.conn.complete_io(&mut peer.sock).unwrap();
                }
                peer.sock.shutdown(std::net::Shutdown::Write).unwrap();
                assert_eq!(read_bytes(&ours, 4).await, b"last");
                ours.readable(soon()).await.unwrap();
                assert_eq!(ours.peek_state(), PeerState::Closed);
                for _ in 0..2 {
                    let (read, _) = ours.read(buf(), soon()).await;
                    match proper {
                        true => assert_eq!(read.unwrap(), 0),
                        false => assert_eq!(kind(read), ErrorKind::UnexpectedEof),
                    }
                }
            }
        }
    });
}

#[test]
fn one_direction_may_close_while_the_other_goes_on() {
    on_both_drivers(|| async {
        let (ours, mut peer) = serving(BOTH).await;
        ours.shutdown_write(soon()).await.unwrap();
        let (written, _) = ours.write_all(b"more".to_vec(), WriteRate::until(soon())).await;
        assert_eq!(kind(written), ErrorKind::BrokenPipe);
        let peer = thread::spawn(move || {
            let mut heard = Vec::new();
            // Fails without a close_notify.
            peer.read_to_end(&mut heard).unwrap();
            assert_eq!(heard, b"");
            peer.write_all(b"answer").unwrap();
            peer
        });
        assert_eq!(read_bytes(&ours, 6).await, b"answer");
        joined(peer).await;
    });
}

#[test]
fn a_dropped_stream_sends_close_notify_and_an_aborted_one_does_not() {
    on_both_drivers(|| async {
        for abort in [false, true] {
            let (ours, mut peer) = serving(BOTH).await;
            write(&ours, b"word").await;
            if abort {
                ours.abort();
            }
            drop(ours);
            let heard = thread::spawn(move || {
                let mut heard = Vec::new();
                peer.read_to_end(&mut heard).map(|_| heard)
            });
            match joined(heard).await {
                Ok(heard) => assert!(!abort && heard == b"word"),
                Err(error) => assert!(abort, "{error}"),
            }
        }
    });
}

#[test]
fn reads_and_writes_megabytes_at_once() {
    on_both_drivers(|| async {
        for version in [&TLS13, &TLS12] {
            let (ours, mut peer) = serving(&[version]).await;
            let echo = thread::spawn(move || {
                let mut chunk = [0; 40_000];
                while let Ok(count @ 1..) = peer.read(&mut chunk) {
                    peer.write_all(&chunk[..count]).unwrap();
                }
                peer.conn.send_close_notify();
                peer.conn.complete_io(&mut peer.sock).unwrap();
            });
            let sent: Vec<u8> = (0..4_000_000_u32).map(|byte| (byte ^ byte >> 8) as u8).collect();
            let expected = sent.clone();
            let write = async {
                // A range first, then the rest.
                let pace = WriteRate::stall(PATIENCE);
                let (written, sent) = ours.write_all_range(sent, 0..1_000_001, pace).await;
                written.unwrap();
                ours.write_all_range(sent, 1_000_001..4_000_000, pace).await.0.unwrap();
                ours.shutdown_write(soon()).await.unwrap();
            };
            let read = async {
                let mut received = Vec::with_capacity(expected.len() + 1);
                loop {
                    let (read, buf) = ours.read(received, soon()).await;
                    received = buf;
                    if read.unwrap() == 0 {
                        return received;
                    }
                }
            };
            let ((), received) = join(write, read).await;
            assert!(received == expected, "what came back differs");
            joined(echo).await;
        }
    });
}

#[test]
fn keys_are_updated_while_both_sides_send() {
    on_both_drivers(|| async {
        let (ours, mut peer) = serving(&[&TLS13]).await;
        let echo = thread::spawn(move || {
            let mut word = [0; 8];
            for round in 0..100 {
                peer.conn.refresh_traffic_keys().unwrap();
                peer.read_exact(&mut word).unwrap();
                assert_eq!(word, u64::to_le_bytes(round));
                peer.write_all(&word).unwrap();
            }
        });
        for round in 0..100_u64 {
            write(&ours, &round.to_le_bytes()).await;
            assert_eq!(read_bytes(&ours, 8).await, round.to_le_bytes());
        }
        joined(echo).await;
    });
}

#[test]
fn limits_key_updates_without_data() {
    on_both_drivers(|| async {
        let (ours, mut peer) = serving(&[&TLS13]).await;
        let flood = thread::spawn(move || {
            for _ in 0..1_000 {
                peer.conn.refresh_traffic_keys().unwrap();
                if peer.conn.write_tls(&mut peer.sock).is_err() {
                    break;
                }
            }
            peer
        });
        let (read, _) = ours.read(buf(), soon()).await;
        assert_eq!(kind(read), ErrorKind::InvalidData);
        let (read, _) = ours.read(buf(), soon()).await;
        assert_eq!(kind(read), ErrorKind::InvalidData, "and stays so");
        assert_eq!(ours.peek_state(), PeerState::Closed);
        joined(flood).await;
    });
}

/// A server sends tickets at any time: they are not data, and wake no reader.
#[test]
fn tickets_are_no_data() {
    on_both_drivers(|| async {
        let (ours, mut peer) = connecting(Alpn::Http1).await;
        // The tickets of the peer are in the socket by now.
        assert_eq!(ours.peek_state(), PeerState::Idle);
        assert_eq!(kind(ours.readable(within(Duration::from_millis(20))).await), ErrorKind::TimedOut);
        let (ours, _) = {
            let (another, mut peer) = connecting(Alpn::Http1).await;
            assert_eq!(kind(another.readable(within(Duration::from_millis(20))).await), ErrorKind::TimedOut);
            peer.write_all(b"x").unwrap();
            another.readable(soon()).await.unwrap();
            drop(another);
            (ours, peer)
        };
        peer.write_all(b"x").unwrap();
        assert_eq!(ours.peek_state(), PeerState::HasData);
        assert_eq!(ours.peek_state(), PeerState::HasData, "nothing is taken");
        assert_eq!(read_bytes(&ours, 1).await, b"x");
        assert_eq!(ours.peek_state(), PeerState::Idle);
        peer.conn.send_close_notify();
        peer.conn.complete_io(&mut peer.sock).unwrap();
        assert_eq!(ours.peek_state(), PeerState::Closed);
    });
}

/// A flood of tickets ends the connection.
#[test]
fn limits_tickets_without_data() {
    on_both_drivers(|| async {
        for (tickets, patient) in [(20, true), (2_000, false)] {
            let (ours, mut peer) =
                connecting_to(Alpn::Http1, |config| config.send_tls13_tickets = tickets).await;
            let sender = thread::spawn(move || {
                // It may be cut off before all bytes are sent.
                let _ = peer.write_all(b"x");
                peer
            });
            let (read, _) = ours.read(buf(), soon()).await;
            match patient {
                true => assert_eq!(read.unwrap(), 1),
                false => assert_eq!(kind(read), ErrorKind::InvalidData),
            }
            drop(ours);
            joined(sender).await;
        }
    });
}

/// A connection with a partial record is not idle.
#[test]
fn a_partial_record_is_not_idle() {
    on_both_drivers(|| async {
        let (ours, mut peer) = serving(BOTH).await;
        assert_eq!(ours.peek_state(), PeerState::Idle);
        peer.conn.writer().write_all(b"whole").unwrap();
        let mut record = Vec::new();
        peer.conn.write_tls(&mut record).unwrap();
        for part in [&record[..3], &record[3..9]] {
            peer.sock.write_all(part).unwrap();
            assert_eq!(ours.peek_state(), PeerState::HasData);
        }
        peer.sock.write_all(&record[9..]).unwrap();
        assert_eq!(read_bytes(&ours, 5).await, b"whole");
        assert_eq!(ours.peek_state(), PeerState::Idle);
    });
}

#[test]
fn a_malformed_record_ends_the_connection_after_valid_data() {
    on_both_drivers(|| async {
        let (ours, mut peer) = serving(BOTH).await;
        peer.write_all(b"good").unwrap();
        peer.sock.write_all(&[23, 3, 3, 0, 32]).unwrap();
        peer.sock.write_all(&[7; 32]).unwrap();
        assert_eq!(read_bytes(&ours, 4).await, b"good");
        let (read, _) = ours.read(buf(), soon()).await;
        assert_eq!(kind(read), ErrorKind::InvalidData);
        let heard = thread::spawn(move || peer.read(&mut [0]).map(drop));
        assert!(joined(heard).await.is_err(), "an alert says why");
    });
}

#[test]
fn deadlines_lose_no_data() {
    on_both_drivers(|| async {
        let (ours, mut peer) = serving(BOTH).await;
        let mut buf = buf();
        buf.extend_from_slice(b"kept ");
        let deadline = within(Duration::from_millis(20));
        let (read, buf) = ours.read(buf, deadline).await;
        assert_eq!(kind(read), ErrorKind::TimedOut);
        assert!(clock::now() >= deadline);
        assert_eq!(buf, b"kept ");
        peer.write_all(b"later").unwrap();
        let (read, buf) = ours.read(buf, Tick(0)).await;
        assert_eq!(read.unwrap(), 5);
        assert_eq!(buf, b"kept later");
        peer.write_all(b"y").unwrap();
        ours.readable(Tick(0)).await.unwrap();
    });
}

#[test]
fn cancelled_reads_stay_cancelled_until_resumed() {
    on_both_drivers(|| async {
        let (ours, mut peer) = serving(BOTH).await;
        let ((read, buf), ()) = join(ours.read(buf(), soon()), async { ours.cancel_reads() }).await;
        assert_eq!(kind(read), ErrorKind::Interrupted);
        peer.write_all(b"x").unwrap();
        assert_eq!(kind(ours.readable(soon()).await), ErrorKind::Interrupted);
        ours.resume_reads();
        assert_eq!(ours.read(buf, soon()).await.0.unwrap(), 1);
        ours.cancel_writes();
        let (written, _) = ours.write_all(b"x".to_vec(), WriteRate::until(soon())).await;
        assert_eq!(kind(written), ErrorKind::Interrupted);
    });
}

#[test]
fn a_stalled_write_times_out() {
    on_both_drivers(|| async {
        let (ours, _peer) = serving(BOTH).await;
        let (written, _) =
            ours.write_all(vec![1; 16 << 20], WriteRate::stall(Duration::from_millis(20))).await;
        assert_eq!(kind(written), ErrorKind::TimedOut);
        let (ours, _peer) = serving(BOTH).await;
        let ((written, _), ()) = join(ours.write_all(vec![1; 16 << 20], WriteRate::until(soon())), async {
            sleep(Duration::from_millis(5)).await;
            ours.cancel_writes();
        })
        .await;
        assert_eq!(kind(written), ErrorKind::Interrupted);
    });
}

#[test]
fn a_broken_write_reports_whether_a_part_was_sent() {
    on_both_drivers(|| async {
        let (ours, mut peer) = connecting(Alpn::Http1).await;
        let reader = thread::spawn(move || {
            peer.read_exact(&mut [0]).unwrap();
            socket2::SockRef::from(&peer.sock).set_linger(Some(Duration::ZERO)).unwrap();
        });
        let (written, _) = ours.write_all(vec![1; 16 << 20], WriteRate::until(soon())).await;
        assert_eq!(kind(written), ErrorKind::WriteZero);
        joined(reader).await;

        let (ours, peer) = connecting(Alpn::Http1).await;
        socket2::SockRef::from(&peer.sock).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        let _ = ours.readable(soon()).await;
        let (written, _) = ours.write_all(vec![1; 16 << 20], WriteRate::until(soon())).await;
        let kind = kind(written);
        assert!(matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{kind:?}");
    });
}

/// The peer writes at about the moment of the cancellation, again and again: each message arrives exactly
/// once.
#[test]
fn cancelled_reads_lose_no_message() {
    const MESSAGES: u32 = 200;
    on_both_drivers(|| async {
        let (ours, mut peer) = serving(BOTH).await;
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
            let delay = if turn % 10 == 9 { 20_000 } else { 700 + u64::from(turn % 60) * 40 };
            go.send(delay).unwrap();
            let reader = async {
                let (read, mut buf) = ours.read(buf(), soon()).await;
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
                ours.cancel_reads();
            };
            join(reader, canceller).await;
            ours.resume_reads();
            let missing = 4 * (turn as usize + 1) - received.len();
            received.extend(read_bytes(&ours, missing).await);
        }
        drop(go);
        writer.join().unwrap();
        let expected: Vec<_> = (0..MESSAGES).flat_map(u32::to_le_bytes).collect();
        assert_eq!(received, expected);
        assert!(interrupted > 0, "no read was cancelled, so nothing was tested");
    });
}

/// A connection that is always ready yields to the others of its core.
#[test]
fn a_busy_connection_does_not_starve_its_core() {
    on_both_drivers(|| async {
        let (ours, mut peer) = serving(BOTH).await;
        let reader = thread::spawn(move || {
            let mut chunk = [0; 64 << 10];
            let mut total = 0;
            while let Ok(count @ 1..) = peer.read(&mut chunk) {
                total += count;
            }
            total
        });
        let done = std::cell::Cell::new(false);
        let busy = async {
            write(&ours, &vec![7; 16 << 20]).await;
            ours.shutdown_write(soon()).await.unwrap();
            done.set(true);
        };
        let other = async {
            let mut turns = 0;
            while !done.get() {
                crate::yield_now().await;
                turns += 1;
            }
            turns
        };
        let ((), turns) = join(busy, other).await;
        assert!(turns > 32, "{turns}");
        assert_eq!(joined(reader).await, 16 << 20);
    });
}

/// A connection whose peer sends a record per byte, which makes few bytes much work, yields too.
#[test]
fn a_flood_of_small_records_does_not_starve_its_core() {
    const RECORDS: usize = 20_000;
    on_both_drivers(|| async {
        let (ours, mut peer) = serving(BOTH).await;
        let flood = thread::spawn(move || {
            for _ in 0..RECORDS / 100 {
                for _ in 0..100 {
                    peer.conn.writer().write_all(b"x").unwrap();
                }
                while peer.conn.wants_write() {
                    peer.conn.write_tls(&mut peer.sock).unwrap();
                }
            }
            peer
        });
        let taken = std::cell::Cell::new(0);
        let busy = async {
            let mut buf = Vec::with_capacity(64 << 10);
            while taken.get() < RECORDS {
                let read;
                (read, buf) = ours.read(buf, soon()).await;
                taken.set(taken.get() + read.unwrap());
                buf.clear();
            }
        };
        let other = async {
            let (mut before, mut most) = (0, 0);
            while taken.get() < RECORDS {
                most = most.max(taken.get() - before);
                before = taken.get();
                crate::yield_now().await;
            }
            most
        };
        let ((), most) = join(busy, other).await;
        // One receive is processed at once: 64 KiB, with 22 bytes for each record and its byte.
        assert!(most <= 2 * (64 << 10) / 23, "{most} records in one turn");
        drop(joined(flood).await);
    });
}

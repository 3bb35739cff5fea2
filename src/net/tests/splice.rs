//! Splice between sockets.

use super::*;
use crate::{Rate, SenderLimits, SpliceFault, Stream, WriteRate, join, splice, splice_at_least};
use ringway_model::Tick;
use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::thread;

const MIB: usize = 1 << 20;

/// Bytes whose period is no power of two, so that shifts and swaps are detected.
fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

fn send(mut peer: StdStream, bytes: Vec<u8>) -> JoinHandle<StdStream> {
    thread::spawn(move || {
        peer.write_all(&bytes).unwrap();
        peer
    })
}

/// Reads `len` bytes in small parts.
fn receive(mut peer: StdStream, len: usize) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut received = vec![0; len];
        for chunk in received.chunks_mut(3000) {
            peer.read_exact(chunk).unwrap();
        }
        received
    })
}

#[test]
fn moves_megabytes_to_a_slow_reader_unchanged() {
    on_both_drivers(|| async {
        let (from, sender) = pair();
        let (to, receiver) = pair();
        let sent = bytes(5 * MIB + 123);
        let received = receive(receiver, sent.len());
        let sender = send(sender, sent.clone());
        let moved = splice(&from, &to, sent.len() as u64, WriteRate::stall(PATIENCE)).await.unwrap();
        assert_eq!(moved, sent.len() as u64);
        assert!(joined(received).await == sent, "what arrived differs");
        joined(sender).await;
    });
}

#[test]
fn copies_exactly_the_requested_bytes() {
    on_both_drivers(|| async {
        let (from, mut sender) = pair();
        let (to, mut receiver) = pair();
        sender.write_all(b"bodynext").unwrap();
        assert_eq!(splice(&from, &to, 4, WriteRate::stall(PATIENCE)).await.unwrap(), 4);
        assert_eq!(splice(&from, &to, 0, WriteRate::stall(PATIENCE)).await.unwrap(), 0);
        let mut body = [0; 4];
        receiver.read_exact(&mut body).unwrap();
        assert_eq!(&body, b"body");
        assert_eq!(from.read(buf(), soon()).await.1, b"next");
    });
}

/// Bytes are forwarded before the rest arrives.
#[test]
fn forwards_bytes_as_they_arrive() {
    on_both_drivers(|| async {
        let (from, mut sender) = pair();
        let (to, mut receiver) = pair();
        let peers = thread::spawn(move || {
            let mut byte = [0];
            for _ in 0..20 {
                sender.write_all(b"x").unwrap();
                receiver.read_exact(&mut byte).unwrap();
            }
        });
        splice(&from, &to, 20, WriteRate::stall(PATIENCE)).await.unwrap();
        joined(peers).await;
    });
}

/// Bytes in the kernel that were not sent yet (`SIOCOUTQNSD`, tcp(7)).
fn unsent(stream: &TcpStream) -> i32 {
    let mut count = 0;
    // SAFETY: the descriptor is open, and the kernel writes one integer.
    assert_eq!(unsafe { libc::ioctl(stream.raw_fd(), libc::SIOCOUTQNSD, &raw mut count) }, 0);
    count
}

#[test]
fn a_splice_flushes_held_bytes_before_it_waits() {
    on_both_drivers(|| async {
        let (from, mut sender) = pair();
        let (to, mut receiver) = pair();
        assert_eq!(to.write_held(b"head"), 4);
        assert_eq!(unsent(&to), 4);
        let splicing = splice(&from, &to, 8, WriteRate::stall(PATIENCE));
        let peers = async {
            crate::yield_now().await;
            assert_eq!(unsent(&to), 0, "the splice waits, and so would what is held");
            sender.write_all(b"the body").unwrap();
        };
        let (moved, ()) = join(splicing, peers).await;
        assert_eq!(moved.unwrap(), 8);
        let mut all = [0; 12];
        receiver.read_exact(&mut all).unwrap();
        assert_eq!(&all, b"headthe body");
    });
}

#[test]
fn held_bytes_are_sent_with_spliced_ones() {
    on_both_drivers(|| async {
        let (from, mut sender) = pair();
        let (to, mut receiver) = pair();
        sender.write_all(b"the body").unwrap();
        assert_eq!(to.write_held(b"head"), 4);
        splice(&from, &to, 8, WriteRate::stall(PATIENCE)).await.unwrap();
        assert_eq!(unsent(&to), 0);
        let mut all = [0; 12];
        receiver.read_exact(&mut all).unwrap();
        assert_eq!(&all, b"headthe body");
    });
}

#[test]
fn an_early_end_reports_the_bytes_moved() {
    on_both_drivers(|| async {
        let (from, sender) = pair();
        let (to, receiver) = pair();
        let received = receive(receiver, MIB);
        drop(joined(send(sender, bytes(MIB / 2))).await);
        let error = splice(&from, &to, MIB as u64, WriteRate::stall(PATIENCE)).await.unwrap_err();
        assert!(matches!(error.fault, SpliceFault::Eof), "{error:?}");
        assert_eq!(error.moved, MIB as u64 / 2);
        to.abort();
        drop(to);
        crate::yield_now().await;
        // The reader must detect the truncation.
        while !received.is_finished() {
            crate::sleep(Duration::from_millis(1)).await;
        }
        assert!(received.join().is_err());
    });
}

#[test]
fn a_sender_below_the_rate_is_ended() {
    on_both_drivers(|| async {
        let (from, mut sender) = pair();
        let (to, mut receiver) = pair();
        let peers = thread::spawn(move || {
            // Each byte comes soon after the one before, until the connection ends.
            let mut byte = [0];
            while sender.write_all(b"x").is_ok() && receiver.read_exact(&mut byte).is_ok() {}
        });
        let rate = Some(Rate { bytes_per_second: u64::MAX, window: Duration::from_millis(20) });
        let pace = WriteRate::stall(PATIENCE);
        let sender = SenderLimits { stall: PATIENCE, rate };
        let error =
            splice_at_least(&from, &to, u64::MAX, pace, sender, &Cell::new(Tick(0))).await.unwrap_err();
        assert!(
            matches!(&error.fault, SpliceFault::Read(error) if error.kind() == ErrorKind::TimedOut),
            "{error:?}"
        );
        drop((from, to));
        joined(peers).await;
    });
}

#[test]
fn a_sender_at_the_rate_is_not_ended() {
    on_both_drivers(|| async {
        let (from, sender) = pair();
        let (to, receiver) = pair();
        let sent = bytes(2 * MIB);
        let received = receive(receiver, sent.len());
        let sender = send(sender, sent.clone());
        let rate = Some(Rate { bytes_per_second: 1, window: Duration::ZERO });
        let sender_limits = SenderLimits { stall: PATIENCE, rate };
        let progress = Cell::new(Tick::NEVER);
        let pace = WriteRate::stall(PATIENCE);
        splice_at_least(&from, &to, sent.len() as u64, pace, sender_limits, &progress).await.unwrap();
        assert!(progress.get() <= crate::clock::now(), "it knows when the last byte was moved");
        assert_eq!(joined(received).await, sent);
        joined(sender).await;
    });
}

#[test]
fn reports_which_side_stalled() {
    on_both_drivers(|| async {
        let (from, _sender) = pair();
        let (to, _receiver) = pair();
        let error = splice(&from, &to, 1, WriteRate::stall(Duration::from_millis(5))).await.unwrap_err();
        assert!(
            matches!(&error.fault, SpliceFault::Read(error) if error.kind() == ErrorKind::TimedOut),
            "{error:?}"
        );
        let (from, sender) = pair();
        let (to, receiver) = pair();
        let _sender = thread::spawn(move || {
            let mut sender = sender;
            let _ = sender.write_all(&vec![0; 64 * MIB]);
        });
        // The time is long enough for the sender to fill all buffers on a busy machine.
        from.readable(soon()).await.unwrap();
        let pace = WriteRate::stall(Duration::from_millis(500));
        let error = splice(&from, &to, 64 * MIB as u64, pace).await.unwrap_err();
        assert!(
            matches!(&error.fault, SpliceFault::Write(error) if error.kind() == ErrorKind::TimedOut),
            "{error:?}"
        );
        assert!(error.moved > 0);
        drop((from, receiver));
    });
}

#[test]
fn ends_when_cancelled_on_either_side() {
    on_both_drivers(|| async {
        let (from, _sender) = pair();
        let (to, _receiver) = pair();
        let (result, ()) =
            join(splice(&from, &to, 1, WriteRate::stall(PATIENCE)), async { from.cancel_reads() }).await;
        let fault = result.unwrap_err().fault;
        assert!(
            matches!(&fault, SpliceFault::Read(error) if error.kind() == ErrorKind::Interrupted),
            "{fault:?}"
        );
        from.resume_reads();
        to.cancel_writes();
        let fault = splice(&from, &to, 1, WriteRate::stall(PATIENCE)).await.unwrap_err().fault;
        assert!(
            matches!(&fault, SpliceFault::Write(error) if error.kind() == ErrorKind::Interrupted),
            "{fault:?}"
        );
    });
}

#[test]
fn reports_a_reset_of_the_receiver() {
    on_both_drivers(|| async {
        let (from, sender) = pair();
        let (to, receiver) = pair();
        socket2::SockRef::from(&receiver).set_linger(Some(Duration::ZERO)).unwrap();
        drop(receiver);
        to.readable(soon()).await.unwrap();
        let sender = send(sender, bytes(1000));
        let fault = splice(&from, &to, 1000, WriteRate::stall(PATIENCE)).await.unwrap_err().fault;
        assert!(matches!(fault, SpliceFault::Write(_)), "{fault:?}");
        joined(sender).await;
    });
}

/// A pipe that may still hold bytes of a failed transfer must never serve another connection.
#[test]
fn a_dirty_pipe_is_never_used_again() {
    on_both_drivers(|| async {
        for _ in 0..3 {
            let (from, sender) = pair();
            let (to, _receiver) = pair();
            let _stuck = thread::spawn(move || {
                let mut sender = sender;
                let _ = sender.write_all(&vec![0xEE; 64 * MIB]);
            });
            splice(&from, &to, 64 * MIB as u64, WriteRate::stall(Duration::from_millis(5)))
                .await
                .unwrap_err();

            let (from, sender) = pair();
            let (to, receiver) = pair();
            let sent = bytes(MIB);
            let (sender, received) = (send(sender, sent.clone()), receive(receiver, MIB));
            splice(&from, &to, MIB as u64, WriteRate::stall(PATIENCE)).await.unwrap();
            assert!(joined(received).await == sent, "another connection's bytes");
            joined(sender).await;
        }
    });
}

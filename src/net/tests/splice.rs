//! Bytes that go from socket to socket without us seeing them.

use super::*;
use crate::{Rate, SpliceFault, Stream, WriteRate, join, splice, splice_at_least};
use ringway_model::Tick;
use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::thread;

const MIB: usize = 1 << 20;

/// Bytes that repeat at no power of two, so that a shift or a swap shows.
fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

fn send(mut peer: StdStream, bytes: Vec<u8>) -> JoinHandle<StdStream> {
    thread::spawn(move || {
        peer.write_all(&bytes).unwrap();
        peer
    })
}

/// Reads `len` bytes in small pieces.
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
fn moves_exactly_as_much_as_asked_and_leaves_the_rest() {
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

/// What has come is passed on at once, before the rest.
#[test]
fn holds_nothing_back() {
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

/// Bytes that were handed to the kernel and have not been sent once (`SIOCOUTQNSD`, tcp(7)).
fn unsent(stream: &TcpStream) -> i32 {
    let mut count = 0;
    // SAFETY: the descriptor is open, and the kernel writes a number.
    assert_eq!(unsafe { libc::ioctl(stream.raw_fd(), libc::SIOCOUTQNSD, &raw mut count) }, 0);
    count
}

#[test]
fn what_was_held_for_a_splice_goes_out_before_it_waits() {
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
fn what_was_held_goes_out_with_what_is_spliced() {
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
fn an_early_end_says_how_much_was_moved() {
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
        // The reader must not take the half for the whole.
        while !received.is_finished() {
            crate::sleep(Duration::from_millis(1)).await;
        }
        assert!(received.join().is_err());
    });
}

#[test]
fn a_sender_that_drips_is_given_up() {
    on_both_drivers(|| async {
        let (from, mut sender) = pair();
        let (to, mut receiver) = pair();
        let peers = thread::spawn(move || {
            // Each byte comes soon after the one before, until the connection is given up.
            let mut byte = [0];
            while sender.write_all(b"x").is_ok() && receiver.read_exact(&mut byte).is_ok() {}
        });
        let rate = Some(Rate { bytes_per_second: u64::MAX, window: Duration::from_millis(20) });
        let pace = WriteRate::stall(PATIENCE);
        let error = splice_at_least(&from, &to, u64::MAX, pace, rate, &Cell::new(Tick(0))).await.unwrap_err();
        assert!(
            matches!(&error.fault, SpliceFault::Read(error) if error.kind() == ErrorKind::TimedOut),
            "{error:?}"
        );
        drop((from, to));
        joined(peers).await;
    });
}

#[test]
fn a_sender_that_keeps_the_rate_is_not() {
    on_both_drivers(|| async {
        let (from, sender) = pair();
        let (to, receiver) = pair();
        let sent = bytes(2 * MIB);
        let received = receive(receiver, sent.len());
        let sender = send(sender, sent.clone());
        let rate = Some(Rate { bytes_per_second: 1, window: Duration::ZERO });
        let progress = Cell::new(Tick::NEVER);
        let pace = WriteRate::stall(PATIENCE);
        splice_at_least(&from, &to, sent.len() as u64, pace, rate, &progress).await.unwrap();
        assert!(progress.get() <= crate::clock::now(), "it knows when the last byte was moved");
        assert_eq!(joined(received).await, sent);
        joined(sender).await;
    });
}

#[test]
fn tells_whose_stall_it_was() {
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
        // The sender is under way; the time is long enough for it to keep up on a busy machine until all is full.
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
fn a_reset_receiver_is_the_receivers_fault() {
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

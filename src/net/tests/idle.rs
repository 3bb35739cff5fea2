//! Idle connections in a set.

use super::*;
use crate::{IdleSet, PeerState, Stream, Wakeup, WriteRate, join, sleep};
use std::io::{Read, Write};

/// Parks a connection and drops the stream.
fn park(set: &IdleSet<u32>, until: Tick, what: u32) -> StdStream {
    let (stream, peer) = pair();
    set.park(&stream, until, what).unwrap();
    peer
}

async fn next(set: &IdleSet<u32>) -> Wakeup<u32> {
    let mut left = Vec::new();
    set.wait(&mut left).await.unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
    left.remove(0)
}

#[test]
fn a_parked_connection_loses_no_bytes() {
    on_both_drivers(|| async {
        let set = IdleSet::new().unwrap();
        let mut quiet = park(&set, soon(), 1);
        let mut peer = park(&set, soon(), 2);
        for round in 0..3 {
            peer.write_all(b"hello").unwrap();
            let Wakeup::Ready(stream, 2) = next(&set).await else { panic!("round {round}: the wrong one") };
            assert_eq!(stream.peer_addr(), Some(peer.local_addr().unwrap()));
            let (read, mut bytes) = stream.read(buf(), soon()).await;
            assert_eq!((read.unwrap(), &bytes[..]), (5, &b"hello"[..]));
            bytes.truncate(2);
            stream.write_all(bytes, WriteRate::until(soon())).await.0.unwrap();
            let mut answer = [0; 2];
            peer.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"he");
            set.park(&stream, soon(), 2).unwrap();
        }
        assert_eq!(set.len(), 2);
        quiet.write_all(b"!").unwrap();
        assert!(matches!(next(&set).await, Wakeup::Ready(_, 1)));
    });
}

#[test]
fn the_end_of_a_parked_connection_wakes_it() {
    on_both_drivers(|| async {
        let set = IdleSet::new().unwrap();
        drop(park(&set, soon(), 7));
        let Wakeup::Ready(stream, 7) = next(&set).await else { panic!("not ready") };
        assert_eq!(stream.peek_state(), PeerState::Closed);
        assert!(set.is_empty());
    });
}

#[test]
fn bytes_from_before_the_parking_wake_it() {
    on_both_drivers(|| async {
        let set = IdleSet::new().unwrap();
        let (stream, mut peer) = pair();
        peer.write_all(b"early").unwrap();
        stream.readable(soon()).await.unwrap();
        set.park(&stream, soon(), 3).unwrap();
        assert!(matches!(next(&set).await, Wakeup::Ready(_, 3)));
    });
}

#[test]
fn an_expired_connection_is_closed() {
    on_both_drivers(|| async {
        let set = IdleSet::new().unwrap();
        let _others: Vec<_> = (0..20).map(|number| park(&set, soon(), number)).collect();
        let mut peer = park(&set, within(Duration::from_millis(20)), 99);
        assert!(matches!(next(&set).await, Wakeup::Expired(99)));
        assert_eq!(set.len(), 20);
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    });
}

#[test]
fn an_earlier_deadline_shortens_a_pending_wait() {
    on_both_drivers(|| async {
        let set = IdleSet::new().unwrap();
        let _later = park(&set, Tick::NEVER, 1);
        let park_another = async {
            sleep(Duration::from_millis(5)).await;
            park(&set, within(Duration::from_millis(20)), 2)
        };
        let (left, _peer) = join(next(&set), park_another).await;
        assert!(matches!(left, Wakeup::Expired(2)));
    });
}

#[test]
fn more_than_one_batch_wakes_up() {
    on_both_drivers(|| async {
        let set = IdleSet::new().unwrap();
        let peers: Vec<_> = (0..200).map(|number| park(&set, soon(), number)).collect();
        for mut peer in &peers {
            peer.write_all(b"x").unwrap();
        }
        let (mut left, mut seen) = (Vec::new(), Vec::new());
        while seen.len() < peers.len() {
            set.wait(&mut left).await.unwrap();
            for one in left.drain(..) {
                let Wakeup::Ready(_, number) = one else { panic!("{one:?}") };
                seen.push(number);
            }
        }
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..200));
    });
}

#[test]
fn takes_all_connections_out() {
    on_both_drivers(|| async {
        let set = IdleSet::new().unwrap();
        let _peers: Vec<_> = (0..5).map(|number| park(&set, soon(), number)).collect();
        assert_eq!(set.take_all().len(), 5);
        assert!(set.is_empty());
    });
}

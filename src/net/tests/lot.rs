//! Silent connections in a lot.

use super::*;
use crate::{Left, Lot, Pace, PeerState, Stream, join, sleep};
use std::io::{Read, Write};

/// Parks a connection and lets its own end go.
fn park(lot: &Lot<u32>, until: Tick, what: u32) -> StdStream {
    let (stream, peer) = pair();
    lot.park(&stream, until, what).unwrap();
    peer
}

async fn next(lot: &Lot<u32>) -> Left<u32> {
    let mut left = Vec::new();
    lot.wait(&mut left).await.unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
    left.remove(0)
}

#[test]
fn a_silent_connection_goes_on_where_it_was() {
    on_both_drivers(|| async {
        let lot = Lot::new().unwrap();
        let mut quiet = park(&lot, soon(), 1);
        let mut peer = park(&lot, soon(), 2);
        for round in 0..3 {
            peer.write_all(b"hello").unwrap();
            let Left::Ready(stream, 2) = next(&lot).await else { panic!("round {round}: the wrong one") };
            assert_eq!(stream.peer_addr(), Some(peer.local_addr().unwrap()));
            let (read, mut bytes) = stream.read(buf(), soon()).await;
            assert_eq!((read.unwrap(), &bytes[..]), (5, &b"hello"[..]));
            bytes.truncate(2);
            stream.write_all(bytes, Pace::until(soon())).await.0.unwrap();
            let mut answer = [0; 2];
            peer.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"he");
            lot.park(&stream, soon(), 2).unwrap();
        }
        assert_eq!(lot.len(), 2);
        quiet.write_all(b"!").unwrap();
        assert!(matches!(next(&lot).await, Left::Ready(_, 1)));
    });
}

#[test]
fn the_end_of_a_silent_connection_is_something_to_read() {
    on_both_drivers(|| async {
        let lot = Lot::new().unwrap();
        drop(park(&lot, soon(), 7));
        let Left::Ready(stream, 7) = next(&lot).await else { panic!("not ready") };
        assert_eq!(stream.peek_state(), PeerState::Closed);
        assert!(lot.is_empty());
    });
}

#[test]
fn what_came_before_the_parking_is_seen() {
    on_both_drivers(|| async {
        let lot = Lot::new().unwrap();
        let (stream, mut peer) = pair();
        peer.write_all(b"early").unwrap();
        stream.readable(soon()).await.unwrap();
        lot.park(&stream, soon(), 3).unwrap();
        assert!(matches!(next(&lot).await, Left::Ready(_, 3)));
    });
}

#[test]
fn a_connection_whose_time_is_over_is_closed() {
    on_both_drivers(|| async {
        let lot = Lot::new().unwrap();
        let _others: Vec<_> = (0..20).map(|number| park(&lot, soon(), number)).collect();
        let mut peer = park(&lot, within(Duration::from_millis(20)), 99);
        assert!(matches!(next(&lot).await, Left::Expired(99)));
        assert_eq!(lot.len(), 20);
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    });
}

#[test]
fn an_earlier_time_shortens_a_wait_under_way() {
    on_both_drivers(|| async {
        let lot = Lot::new().unwrap();
        let _later = park(&lot, Tick::NEVER, 1);
        let park_another = async {
            sleep(Duration::from_millis(5)).await;
            park(&lot, within(Duration::from_millis(20)), 2)
        };
        let (left, _peer) = join(next(&lot), park_another).await;
        assert!(matches!(left, Left::Expired(2)));
    });
}

#[test]
fn more_than_one_batch_comes_out_whole() {
    on_both_drivers(|| async {
        let lot = Lot::new().unwrap();
        let peers: Vec<_> = (0..200).map(|number| park(&lot, soon(), number)).collect();
        for mut peer in &peers {
            peer.write_all(b"x").unwrap();
        }
        let (mut left, mut seen) = (Vec::new(), Vec::new());
        while seen.len() < peers.len() {
            lot.wait(&mut left).await.unwrap();
            for one in left.drain(..) {
                let Left::Ready(_, number) = one else { panic!("{one:?}") };
                seen.push(number);
            }
        }
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..200));
    });
}

#[test]
fn all_can_be_taken_out() {
    on_both_drivers(|| async {
        let lot = Lot::new().unwrap();
        let _peers: Vec<_> = (0..5).map(|number| park(&lot, soon(), number)).collect();
        assert_eq!(lot.take_all().len(), 5);
        assert!(lot.is_empty());
    });
}

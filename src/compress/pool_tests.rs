#![allow(clippy::unwrap_used)]

use ringway_model::Coding;

use super::EncoderPool;
use crate::encoder::Encoder;
use crate::limits::{IDLE_STATES_MAX, STATE_BYTES_PER_CORE_MAX, STATES_PER_CORE_MAX};

#[test]
fn states_are_bounded_in_number_and_memory_and_used_again() {
    for coding in Coding::ALL {
        let most = (STATE_BYTES_PER_CORE_MAX / Encoder::memory_bytes(coding)).min(STATES_PER_CORE_MAX);
        let pool = EncoderPool::default();
        let mut lent: Vec<_> = (0..most).map(|_| pool.take(coding, 5).unwrap()).collect();
        assert!(pool.take(coding, 5).is_none(), "{coding:?}: the budget is used up");
        lent.pop();
        assert_eq!((pool.states(), pool.idle()), (most, 1));
        lent.push(pool.take(coding, 5).unwrap());
        assert_eq!((pool.states(), pool.idle()), (most, 0), "a returned state is used again");
        drop(lent);
        assert_eq!((pool.states(), pool.idle()), (IDLE_STATES_MAX, IDLE_STATES_MAX));
    }
}

#[test]
fn idle_states_make_room_for_others() {
    let pool = EncoderPool::default();
    let most = (STATE_BYTES_PER_CORE_MAX / Encoder::memory_bytes(Coding::Br)).min(STATES_PER_CORE_MAX);
    let mut lent: Vec<_> = (0..most).map(|_| pool.take(Coding::Br, 5).unwrap()).collect();
    lent.truncate(most - 2);
    assert_eq!(pool.idle(), 2);
    let gzip = pool.take(Coding::Gzip, 5).unwrap();
    assert_eq!((gzip.coding(), pool.idle()), (Coding::Gzip, 1));
    assert!(pool.take(Coding::Gzip, 1).is_some(), "another level is another state");
}

#[test]
fn a_state_that_was_left_in_the_middle_is_as_new() {
    let pool = EncoderPool::default();
    for coding in Coding::ALL {
        let encode = |data: &[u8], is_whole: bool| {
            let (mut encoder, mut out) = (pool.take(coding, 5).unwrap(), Vec::new());
            encoder.write(data, &mut out).unwrap();
            if is_whole {
                encoder.finish(&mut out).unwrap();
            }
            out
        };
        let first = encode(b"hello hello hello", true);
        encode(&[b'a'; 100_000], false);
        assert_eq!(encode(b"hello hello hello", true), first, "{coding:?}");
    }
    assert_eq!((pool.states(), pool.idle()), (3, 3));
}

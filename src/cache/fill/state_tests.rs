#![allow(clippy::unwrap_used)]

use super::*;
use crate::limits::CHUNK_BYTES;
use crate::testing::head;

type Fill = State<&'static str>;

const NOW: Tick = Tick(1_000);

fn started(expected: Option<u64>) -> Started {
    Started { head: head(&[]), key: Arc::from(&b"key"[..]), set: None, expected }
}

fn streaming(expected: Option<u64>) -> Fill {
    let mut fill = Fill::new(0);
    fill.start(started(expected), 0, NOW);
    fill
}

/// A chunk of this many bytes.
fn push(fill: &mut Fill, len: usize) {
    fill.content().unwrap().push_chunk(Bytes::from(vec![1; len]));
}

fn read_len(fill: &mut Fill, reader: usize) -> usize {
    match fill.read(reader, NOW).0 {
        Read::Bytes(bytes) => bytes.len(),
        other => panic!("{other:?}"),
    }
}

fn cores(fill: &Fill) -> Vec<usize> {
    fill.cores().iter().collect()
}

#[test]
fn requests_wait_while_a_leader_asks() {
    let mut fill = Fill::new(0);
    assert_eq!(fill.join(1), Joined::Waits);
    assert_eq!(fill.join(1), Joined::Waits);
    assert_eq!(fill.join(2), Joined::Waits);
    assert_eq!((fill.waiters(), cores(&fill)), (3, vec![1, 2]));
    assert!(matches!(fill.see(1), Seen::Pending));
    assert!(!fill.leave(1), "the leader is there");
    assert_eq!(cores(&fill), [1, 2]);
    fill.leave(1);
    assert_eq!(cores(&fill), [2]);
}

#[test]
fn beyond_a_thousand_waiters_requests_go_alone() {
    let mut fill = Fill::new(0);
    for _ in 0..FILL_WAITERS_MAX {
        assert_eq!(fill.join(1), Joined::Waits);
    }
    assert_eq!(fill.join(1), Joined::Crowded);
    fill.leave(1);
    assert_eq!(fill.join(1), Joined::Waits);
}

#[test]
fn a_waiter_leads_after_the_leader_left() {
    let mut fill = Fill::new(0);
    fill.join(1);
    fill.join(2);
    assert!(fill.abandon());
    assert!(matches!(fill.see(2), Seen::Leads));
    assert!(matches!(fill.see(1), Seen::Pending), "one of them only");
    assert_eq!((fill.waiters(), cores(&fill), fill.successions()), (1, vec![1], 1));
}

#[test]
fn a_request_that_joins_a_fill_without_leader_leads() {
    let mut fill = Fill::new(0);
    fill.join(1);
    fill.abandon();
    assert_eq!(fill.join(2), Joined::Leads);
    assert_eq!(fill.join(2), Joined::Waits);
}

#[test]
fn the_last_waiter_of_a_fill_without_leader_ends_it() {
    let mut fill = Fill::new(0);
    fill.join(1);
    fill.join(1);
    fill.abandon();
    assert!(!fill.leave(1));
    assert!(fill.leave(1));
    assert_eq!(fill.join(1), Joined::Ended);
}

#[test]
fn after_two_successions_the_waiters_go_alone() {
    let mut fill = Fill::new(0);
    for _ in 0..4 {
        fill.join(1);
    }
    for _ in 0..SUCCESSIONS_MAX {
        assert!(fill.abandon());
        assert!(matches!(fill.see(1), Seen::Leads));
    }
    assert!(!fill.abandon());
    assert!(matches!(fill.see(1), Seen::Ended(End::Alone)));
    assert!(!Fill::new(0).abandon(), "no waiter, no succession");
}

#[test]
fn all_waiters_see_the_same_end() {
    for (end, is_expected) in [
        (End::Failed("502"), (|seen| matches!(seen, Seen::Ended(End::Failed("502")))) as fn(_) -> bool),
        (End::Alone, |seen| matches!(seen, Seen::Ended(End::Alone))),
        (End::Retry, |seen| matches!(seen, Seen::Ended(End::Retry))),
    ] {
        let mut fill = Fill::new(0);
        fill.join(1);
        fill.join(2);
        drop(fill.end(end));
        assert!(is_expected(fill.see(1)) && is_expected(fill.see(2)));
        assert_eq!(fill.join(1), Joined::Ended);
        assert_eq!(cores(&fill), [1, 2], "both are woken");
        assert!(!fill.leave(1) && !fill.leave(2));
    }
}

#[test]
fn waiters_of_a_streamed_response_follow_it_from_its_beginning() {
    let mut fill = Fill::new(0);
    fill.join(1);
    let leader = fill.start(started(None), 0, NOW);
    push(&mut fill, CHUNK_BYTES);
    assert_eq!(read_len(&mut fill, leader), CHUNK_BYTES);
    assert!(matches!(fill.see(1), Seen::Started(_)));
    let reader = fill.follow(NOW).unwrap();
    assert_eq!(fill.waiters(), 0);
    assert_eq!(read_len(&mut fill, reader), CHUNK_BYTES);
    assert_eq!(fill.read(reader, NOW).0, Read::Pending);
    assert!(fill.complete());
    assert_eq!((fill.read(leader, NOW).0, fill.read(reader, NOW).0), (Read::End, Read::End));
    fill.leave_reader(leader, 0);
    fill.leave_reader(reader, 1);
    assert!(cores(&fill).is_empty());
}

#[test]
fn a_request_may_join_while_a_response_is_streamed_and_read_it_after_its_end() {
    let mut fill = streaming(Some(3));
    push(&mut fill, 3);
    assert_eq!(fill.join(1), Joined::Waits);
    assert!(fill.complete());
    let reader = fill.follow(NOW).unwrap();
    assert_eq!(read_len(&mut fill, reader), 3);
    assert_eq!(fill.read(reader, NOW).0, Read::End);
}

#[test]
fn a_cut_response_ends_no_reader_cleanly() {
    let mut fill = Fill::new(0);
    fill.join(1);
    fill.join(2);
    let leader = fill.start(started(None), 0, NOW);
    let reader = fill.follow(NOW).unwrap();
    push(&mut fill, 3);
    read_len(&mut fill, leader);
    drop(fill.cut());
    assert_eq!((fill.read(leader, NOW).0, fill.read(reader, NOW).0), (Read::Cut, Read::Cut));
    assert!(matches!(fill.see(2), Seen::Ended(End::Retry)), "it has not begun: another one leads");
    assert_eq!(fill.successions(), 1);
}

#[test]
fn a_response_of_another_length_than_named_is_not_complete() {
    for (expected, len, is_complete) in
        [(Some(3), 3, true), (Some(4), 3, false), (Some(2), 3, false), (None, 3, true), (Some(0), 0, true)]
    {
        let mut fill = streaming(expected);
        if len > 0 {
            push(&mut fill, len);
        }
        assert_eq!(fill.complete(), is_complete, "{expected:?} {len}");
    }
}

#[test]
fn an_unread_response_goes_on_when_it_is_mostly_there() {
    const MIB: u64 = 1024 * 1024;
    for (expected, chunks, is_wanted) in [
        (Some(4 * MIB), 32, true),
        (Some(4 * MIB), 31, false),
        (Some(MIB), 0, true),
        (Some(MIB + 1), 0, false),
        (None, 64, false),
    ] {
        let mut fill = streaming(expected);
        (0..chunks).for_each(|_| push(&mut fill, CHUNK_BYTES));
        assert!(fill.is_wanted(), "it has a reader");
        fill.leave_reader(0, 0);
        assert_eq!(fill.is_wanted(), is_wanted, "{expected:?} {chunks}");
        fill.join(1);
        assert!(fill.is_wanted(), "it has a waiter");
        fill.leave(1);
        fill.pass_through(WINDOW_BYTES);
        assert!(!fill.is_wanted(), "it is not stored");
    }
}

#[test]
fn a_passing_response_waits_for_its_slowest_reader() {
    let mut fill = streaming(None);
    fill.join(1);
    let slow = fill.follow(NOW).unwrap();
    let chunks = WINDOW_BYTES as usize / CHUNK_BYTES;
    (0..chunks - 1).for_each(|_| push(&mut fill, CHUNK_BYTES));
    assert_eq!(fill.room(0, NOW), Room::Ready, "it is to be stored");
    fill.pass_through(WINDOW_BYTES);
    assert_eq!(fill.room(0, NOW), Room::Ready);
    push(&mut fill, CHUNK_BYTES);
    assert_eq!(fill.room(0, NOW), Room::Full { until: NOW.after(READER_STALL) });
    assert_eq!(fill.waiting_writer(), Some(0));
    // The leader reads everything; the slow one the first chunk.
    for _ in 0..chunks {
        read_len(&mut fill, 0);
    }
    assert!(matches!(fill.room(0, NOW), Room::Full { .. }));
    let (read, forgotten) = fill.read(slow, NOW);
    assert!(matches!(read, Read::Bytes(_)));
    assert_eq!(forgotten.len(), 1, "none needs it any longer");
    assert_eq!(fill.room(0, NOW), Room::Ready);
    assert_eq!(fill.waiting_writer(), None);
    assert_eq!(cores(&fill), [0, 1]);
}

#[test]
fn a_reader_that_holds_up_a_passing_response_is_cut_off() {
    let mut fill = streaming(None);
    fill.join(1);
    let stalled = fill.follow(NOW).unwrap();
    fill.pass_through(CHUNK_BYTES as u64);
    push(&mut fill, CHUNK_BYTES);
    // The window is full from now on; what came before does not count against a reader.
    let full = NOW.after(READER_STALL * 3);
    assert_eq!(fill.room(0, full), Room::Full { until: full.after(READER_STALL) });
    read_len(&mut fill, 0);
    let late = full.after(READER_STALL);
    assert_eq!(fill.room(0, Tick(late.0 - 1)), Room::Full { until: late });
    assert_eq!(fill.room(0, late), Room::Ready);
    assert_eq!(fill.read(stalled, late).0, Read::Cut);
    assert_eq!(fill.read(0, late).0, Read::Pending, "the other one goes on");
}

#[test]
fn nothing_follows_a_response_whose_beginning_has_passed() {
    let mut fill = streaming(None);
    fill.join(1);
    fill.pass_through(WINDOW_BYTES);
    push(&mut fill, CHUNK_BYTES);
    read_len(&mut fill, 0);
    assert_eq!(fill.follow(NOW), None);
    assert_eq!(fill.waiters(), 1, "it still counts, until it leaves");
}

#[test]
fn the_places_of_readers_are_used_again() {
    let mut fill = streaming(None);
    for _ in 0..100 {
        fill.join(1);
        let reader = fill.follow(NOW).unwrap();
        assert_eq!(reader, 1);
        fill.leave_reader(reader, 1);
    }
}

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::Duration;

use ringway_model::Timestamp;

use super::*;
use crate::limits::{CHUNK_BYTES, FILL_WAITERS_MAX, READER_STALL};
use crate::store::account::Usage;
use crate::store::insert::InsertError;
use crate::store::purge::{Effect, Purge, Selector};
use crate::testing::{EPOCH, find, head, insert, key, scope, settings, store};
use crate::{Lines, Vary};
use ringway_model::CacheMode;

const NOW: Tick = Tick(1_000);
const MIB: usize = 1024 * 1024;

type Failure = &'static str;

#[derive(Default)]
struct Woken(std::sync::Mutex<BTreeSet<(usize, FillId)>>);

impl Wakeups for Arc<Woken> {
    fn wake(&self, core: usize, fill: FillId) {
        self.0.lock().unwrap().insert((core, fill));
    }
}

struct Fixture {
    store: Arc<Store>,
    scope: Arc<Scope>,
    fills: Fills<Failure>,
    woken: Arc<Woken>,
}

impl Fixture {
    fn new() -> Self {
        Self::with_bytes(u64::MAX)
    }

    fn with_bytes(bytes: u64) -> Self {
        let store = store(bytes, u64::MAX);
        let woken = Arc::new(Woken::default());
        let fills = Fills::new(store.clone(), Box::new(woken.clone()));
        Self { scope: scope(&store, "", "r"), fills, store, woken }
    }

    fn key(&self, target: &str) -> Box<[u8]> {
        key(&self.scope, "a.test", target)
    }

    fn request<'a>(&'a self, key: &'a [u8], core: usize) -> Request<'a> {
        Request {
            scope: &self.scope,
            key,
            asked: None,
            epoch: EPOCH,
            known: None,
            core,
            now: NOW,
            successions: 0,
        }
    }

    fn join(&self, target: &str, core: usize) -> Join<Failure> {
        self.fills.join(&self.request(&self.key(target), core))
    }

    fn lead(&self, target: &str) -> Lead<Failure> {
        match self.join(target, 0) {
            Join::Lead(lead) => lead,
            other => panic!("{other:?}"),
        }
    }

    fn wait(&self, target: &str, core: usize) -> Waiter<Failure> {
        match self.join(target, core) {
            Join::Wait(waiter) => waiter,
            other => panic!("{other:?}"),
        }
    }

    fn woken(&self) -> Vec<usize> {
        std::mem::take(&mut *self.woken.0.lock().unwrap()).into_iter().map(|(core, _)| core).collect()
    }
}

fn start(expected: Option<u64>) -> Start {
    Start { head: head(&[7]), variant: None, expected, content_max: 8 * MIB as u64, core: 0, now: NOW }
}

fn follow(waiter: Waiter<Failure>) -> Reader<Failure> {
    match waiter.poll() {
        Progress::Streaming(follower) => follower.follow(NOW).expect("the beginning is there"),
        other => panic!("{other:?}"),
    }
}

/// Reads all there is. The second value is the last result.
fn read_all(reader: &mut Reader<Failure>) -> (Vec<u8>, Read) {
    let mut all = Vec::new();
    loop {
        match reader.read(NOW) {
            Read::Bytes(bytes) => all.extend_from_slice(&bytes),
            other => return (all, other),
        }
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

#[test]
fn simultaneous_misses_share_one_request_and_its_response() {
    let fixture = Fixture::new();
    let lead = fixture.lead("/x");
    let waiters: Vec<_> = (1..=100).map(|core| fixture.wait("/x", core)).collect();
    assert_eq!((lead.waiters(), fixture.fills.waiting()), (100, 100));
    let (mut writer, mut first) = lead.stream(start(Some(200_000)));
    assert_eq!(fixture.woken().len(), 101);
    let mut readers: Vec<_> = waiters.into_iter().map(follow).collect();
    assert_eq!(fixture.fills.waiting(), 0);
    let content = pattern(200_000);
    for piece in content.chunks(7_001) {
        writer.write(piece);
        writer.flush();
        assert!(matches!(first.read(NOW), Read::Bytes(_)), "at once");
    }
    let entry = writer.finish(NOW).unwrap();
    for reader in &mut readers {
        assert_eq!(read_all(reader), (content.clone(), Read::End));
    }
    let lens: Vec<_> = entry.body().chunks().iter().map(bytes::Bytes::len).collect();
    assert_eq!(lens, [CHUNK_BYTES, CHUNK_BYTES, CHUNK_BYTES, 200_000 - 3 * CHUNK_BYTES]);
    assert_eq!(entry.body().chunks().concat(), content);
    assert!(Arc::ptr_eq(&find(&fixture.store, &fixture.scope, "/x").unwrap(), &entry));
    assert!(fixture.fills.is_empty());
    assert!(matches!(fixture.join("/x", 1), Join::Found(Found::Entry(_))), "it ended since the lookup");
    assert!(fixture.fills.is_empty());
}

#[test]
fn memory_is_counted_while_a_response_arrives_and_exact_afterwards() {
    let fixture = Fixture::new();
    let used = || fixture.store.stats().used;
    let (mut writer, reader) = fixture.lead("/x").stream(start(None));
    writer.write(&pattern(10));
    assert!((10..2_000).contains(&used().bytes), "as much as has come, and a little");
    writer.write(&pattern(CHUNK_BYTES));
    let entry = writer.finish(NOW).unwrap();
    drop(reader);
    assert_eq!(used(), Usage { bytes: entry.bytes(), entries: 1 });
    assert_eq!(entry.body().len(), 10 + CHUNK_BYTES as u64);
    let (mut writer, _reader) = fixture.lead("/y").stream(start(None));
    writer.write(&pattern(MIB));
    drop(writer);
    assert_eq!(used().entries, 1);
    assert_eq!(used().bytes, entry.bytes());
}

#[test]
fn a_response_that_is_not_stored_is_asked_for_by_all_at_once() {
    let fixture = Fixture::new();
    let lead = fixture.lead("/x");
    let waiters: Vec<_> = (1..=3).map(|core| fixture.wait("/x", core)).collect();
    lead.pass(NOW);
    assert_eq!(fixture.woken(), [1, 2, 3]);
    assert!(waiters.into_iter().all(|waiter| matches!(waiter.poll(), Progress::Alone)));
    assert!(matches!(fixture.join("/x", 1), Join::Alone(Alone::Uncacheable)));
    assert!(matches!(fixture.join("/y", 1), Join::Lead(_)), "other keys are not concerned");
    let key = fixture.key("/x");
    let later = Request { now: NOW.after(Duration::from_secs(120)), ..fixture.request(&key, 0) };
    assert!(matches!(fixture.fills.join(&later), Join::Lead(_)));
}

#[test]
fn a_key_is_shared_again_once_its_response_can_be_stored() {
    let fixture = Fixture::new();
    fixture.lead("/x").pass(NOW);
    let key = fixture.key("/x");
    let lead = fixture.fills.lead_alone(&fixture.request(&key, 0));
    assert!(fixture.fills.is_empty(), "no other request joins");
    let (writer, _reader) = lead.stream(start(Some(0)));
    writer.finish(NOW).unwrap();
    assert!(matches!(fixture.join("/x", 1), Join::Found(_)));
}

#[test]
fn a_failure_of_the_origin_is_that_of_all_waiters() {
    let fixture = Fixture::new();
    let lead = fixture.lead("/x");
    let waiters: Vec<_> = (1..=3).map(|core| fixture.wait("/x", core)).collect();
    lead.fail("connection refused");
    assert_eq!(fixture.woken(), [1, 2, 3]);
    for waiter in waiters {
        assert!(matches!(waiter.poll(), Progress::Failed("connection refused")));
    }
    assert!(matches!(fixture.join("/x", 1), Join::Lead(_)), "the next request tries again");
}

#[test]
fn a_confirmed_response_serves_all_waiters() {
    let fixture = Fixture::new();
    let stale = insert(&fixture.store, &fixture.scope, "/x", 10).unwrap();
    let key = fixture.key("/x");
    let request = Request { known: Some(&stale), ..fixture.request(&key, 0) };
    let Join::Lead(lead) = fixture.fills.join(&request) else { panic!("the entry is known") };
    let Join::Wait(waiter) = fixture.fills.join(&request) else { panic!("there is a leader") };
    let new = insert(&fixture.store, &fixture.scope, "/x", 10).unwrap();
    lead.validated(new.clone());
    assert!(matches!(waiter.poll(), Progress::Validated(entry) if Arc::ptr_eq(&entry, &new)));
    assert!(matches!(fixture.fills.join(&request), Join::Found(Found::Entry(_))), "another one than it knew");
}

#[test]
fn a_waiter_leads_when_the_leaders_client_is_gone() {
    let fixture = Fixture::new();
    let lead = fixture.lead("/x");
    let (one, other) = (fixture.wait("/x", 1), fixture.wait("/x", 2));
    drop(lead);
    assert_eq!(fixture.woken(), [1, 2]);
    let Progress::Lead(lead) = one.poll() else { panic!("the first one that looks leads") };
    let Progress::Pending(other) = other.poll() else { panic!("the other one waits on") };
    let (writer, _reader) = lead.stream(start(Some(0)));
    drop(follow(other));
    writer.finish(NOW).unwrap();
}

#[test]
fn leaders_that_leave_do_not_keep_waiters_for_ever() {
    let fixture = Fixture::new();
    let mut lead = fixture.lead("/x");
    let mut waiters: Vec<_> = (1..=4).map(|core| fixture.wait("/x", core)).collect();
    for _ in 0..SUCCESSIONS_MAX {
        drop(lead);
        let Progress::Lead(next) = waiters.pop().unwrap().poll() else { panic!("a waiter leads") };
        lead = next;
    }
    drop(lead);
    assert!(waiters.into_iter().all(|waiter| matches!(waiter.poll(), Progress::Alone)));
    assert!(fixture.fills.is_empty());
    assert_eq!(fixture.fills.waiting(), 0);
}

#[test]
fn a_fill_without_leader_and_waiters_is_forgotten() {
    let fixture = Fixture::new();
    drop(fixture.lead("/x"));
    assert!(fixture.fills.is_empty());
    let lead = fixture.lead("/x");
    let waiter = fixture.wait("/x", 1);
    drop(lead);
    drop(waiter);
    assert!(fixture.fills.is_empty());
    assert_eq!(fixture.fills.waiting(), 0);
}

#[test]
fn a_cut_response_is_stored_nowhere_and_ends_no_reader_cleanly() {
    let fixture = Fixture::new();
    let lead = fixture.lead("/x");
    let (reads, waits) = (fixture.wait("/x", 1), fixture.wait("/x", 2));
    let (mut writer, mut first) = lead.stream(start(Some(10)));
    let mut reader = follow(reads);
    writer.write(b"half");
    writer.flush();
    drop(writer);
    assert_eq!(read_all(&mut first).1, Read::Cut);
    assert_eq!(read_all(&mut reader).1, Read::Cut);
    let Progress::Retry { successions } = waits.poll() else { panic!("it has not begun") };
    assert_eq!(successions, 1);
    assert!(find(&fixture.store, &fixture.scope, "/x").is_none());
    let key = fixture.key("/x");
    let join = |successions| fixture.fills.join(&Request { successions, ..fixture.request(&key, 0) });
    assert!(matches!(join(1), Join::Lead(_)));
    assert!(matches!(join(3), Join::Alone(Alone::Contested)), "not for ever");
}

#[test]
fn a_waiter_that_is_late_to_follow_looks_again() {
    let fixture = Fixture::new();
    for is_cut in [true, false] {
        let lead = fixture.lead("/x");
        let waiter = fixture.wait("/x", 1);
        let content_max = 2 * CHUNK_BYTES as u64;
        let (mut writer, mut first) = lead.stream(Start { content_max, ..start(None) });
        let Progress::Streaming(follower) = waiter.poll() else { panic!("the head is there") };
        if is_cut {
            drop(writer);
            let again = follower.follow(NOW).unwrap_err();
            assert!(matches!(again.poll(), Progress::Retry { successions: 1 }));
        } else {
            writer.write(&pattern(3 * CHUNK_BYTES));
            read_all(&mut first);
            let again = follower.follow(NOW).unwrap_err();
            assert!(matches!(again.poll(), Progress::Alone));
        }
    }
    assert_eq!(fixture.fills.waiting(), 0);
}

#[test]
fn a_response_shorter_or_longer_than_its_length_is_cut() {
    for len in [3, 5] {
        let fixture = Fixture::new();
        let (mut writer, mut reader) = fixture.lead("/x").stream(start(Some(4)));
        writer.write(&pattern(len));
        assert_eq!(writer.finish(NOW).unwrap_err(), NotKept::Cut);
        assert_eq!(read_all(&mut reader).1, Read::Cut);
        assert!(find(&fixture.store, &fixture.scope, "/x").is_none());
    }
}

#[test]
fn requests_whose_time_is_over_go_alone_and_the_first_one_leads() {
    let fixture = Fixture::new();
    let old = fixture.lead("/x");
    let (one, other, patient) = (fixture.wait("/x", 1), fixture.wait("/x", 2), fixture.wait("/x", 3));
    let key = fixture.key("/x");
    let Join::Lead(new) = fixture.fills.time_out(one, &fixture.request(&key, 1)) else { panic!("it leads") };
    let second = fixture.fills.time_out(other, &fixture.request(&key, 2));
    assert!(matches!(second, Join::Alone(Alone::TimedOut)));
    let late = fixture.wait("/x", 4);
    assert_eq!((new.waiters(), old.waiters()), (1, 1), "who comes later waits for the new one");
    let (writer, _reader) = old.stream(start(Some(0)));
    drop(follow(patient));
    writer.finish(NOW).unwrap();
    assert_eq!(fixture.fills.len(), 1, "the new one goes on");
    new.fail("timeout");
    assert!(matches!(late.poll(), Progress::Failed(_)));
}

#[test]
fn the_number_of_waiters_is_limited() {
    let fixture = Fixture::new();
    let mut all = Vec::new();
    for fill in 0..WAITERS_MAX / FILL_WAITERS_MAX {
        let target = format!("/{fill}");
        all.push((fixture.lead(&target), Vec::new()));
        let waiters = &mut all.last_mut().unwrap().1;
        (0..FILL_WAITERS_MAX).for_each(|_| waiters.push(fixture.wait(&target, 1)));
        assert!(matches!(fixture.join(&target, 1), Join::Alone(Alone::Crowded)));
    }
    let lead = fixture.lead("/other");
    assert!(matches!(fixture.join("/other", 1), Join::Alone(Alone::Crowded)));
    drop(all.pop());
    assert!(matches!(fixture.join("/other", 1), Join::Wait(_)));
    drop((all, lead));
    assert_eq!(fixture.fills.waiting(), 0);
}

#[test]
fn a_large_response_passes_without_being_stored() {
    let fixture = Fixture::new();
    let lead = fixture.lead("/x");
    let waiter = fixture.wait("/x", 1);
    let (mut writer, mut first) = lead.stream(Start { content_max: MIB as u64, ..start(None) });
    let mut reader = follow(waiter);
    let content = pattern(4 * MIB);
    let (mut from_first, mut from_reader) = (Vec::new(), Vec::new());
    for chunk in content.chunks(CHUNK_BYTES) {
        if let Room::Full { until } = writer.room(NOW) {
            assert_eq!(until, NOW.after(READER_STALL));
            // Readers that are slow, but move.
            from_first.append(&mut read_all(&mut first).0);
            from_reader.append(&mut read_all(&mut reader).0);
            assert!(fixture.woken().contains(&0), "the writer is woken");
            assert_eq!(writer.room(NOW), Room::Ready);
        }
        writer.write(chunk);
        assert!(fixture.store.stats().used.bytes <= 3 * MIB as u64);
    }
    assert_eq!(writer.not_kept(), Some(NotKept::TooLarge));
    assert_eq!(writer.finish(NOW).unwrap_err(), NotKept::TooLarge);
    for (mut read, reader) in [(from_first, &mut first), (from_reader, &mut reader)] {
        let (mut rest, last) = read_all(reader);
        read.append(&mut rest);
        assert!(read == content && last == Read::End);
    }
    assert!(matches!(fixture.join("/x", 1), Join::Alone(Alone::Uncacheable)), "known to be large");
    drop((first, reader));
    assert_eq!(fixture.store.stats().used, Usage::default());
}

#[test]
fn a_reader_that_stalls_does_not_stop_a_large_response() {
    let fixture = Fixture::new();
    let (mut writer, mut stalled) = fixture.lead("/x").stream(Start { content_max: 0, ..start(None) });
    let mut now = NOW;
    for _ in 0..64 {
        if let Room::Full { until } = writer.room(now) {
            now = until;
            assert_eq!(writer.room(now), Room::Ready);
            assert!(!writer.is_wanted(), "no reader is left");
        }
        writer.write(&pattern(CHUNK_BYTES));
    }
    assert_eq!(stalled.read(now), Read::Cut);
}

#[test]
fn a_response_without_memory_passes_in_a_small_window() {
    let fixture = Fixture::with_bytes(3 * CHUNK_BYTES as u64);
    let (mut writer, mut reader) = fixture.lead("/x").stream(start(None));
    let content = pattern(10 * CHUNK_BYTES);
    let mut read = Vec::new();
    for chunk in content.chunks(CHUNK_BYTES) {
        if matches!(writer.room(NOW), Room::Full { .. }) {
            read.append(&mut read_all(&mut reader).0);
        }
        assert_eq!(writer.room(NOW), Room::Ready);
        writer.write(chunk);
    }
    let full = NotKept::Refused(InsertError::Full(crate::store::account::Level::Store));
    assert_eq!(writer.finish(NOW).unwrap_err(), full);
    read.append(&mut read_all(&mut reader).0);
    assert!(read == content);
    assert!(matches!(fixture.join("/x", 1), Join::Lead(_)), "the next one may have room");
}

#[test]
fn slow_responses_push_out_no_stored_ones() {
    for expected in [None, Some(CHUNK_BYTES as u64)] {
        let fixture = Fixture::with_bytes(1_000_000);
        for number in 0..8 {
            insert(&fixture.store, &fixture.scope, &format!("/stored/{number}"), 100_000).unwrap();
        }
        let slow: Vec<_> = (0..300)
            .map(|number| {
                let (mut writer, reader) = fixture.lead(&format!("/slow/{number}")).stream(start(expected));
                writer.write(b"a few bytes");
                writer.flush();
                (writer, reader)
            })
            .collect();
        assert_eq!(fixture.store.stats().evictions.store, 1, "for a quarter, {expected:?}");
        // Most have found room, and the others pass without being stored.
        let kept = slow.iter().filter(|(writer, _)| writer.not_kept().is_none()).count();
        assert!((200..300).contains(&kept), "{kept}");
        drop(slow);
        // One large response is none of the others: it may evict.
        let (mut writer, _reader) = fixture.lead("/large").stream(start(None));
        writer.write(&pattern(400_000));
        writer.finish(NOW).unwrap();
    }
}

#[test]
fn a_small_cache_stores_responses_of_unknown_length() {
    let fixture = Fixture::with_bytes(64_000);
    for number in 0..20 {
        let target = format!("/{number}");
        let (mut writer, mut reader) = fixture.lead(&target).stream(start(None));
        for piece in pattern(9_000).chunks(700) {
            writer.write(piece);
            writer.flush();
        }
        let entry = writer.finish(NOW).unwrap();
        assert_eq!(entry.body().chunks().concat(), pattern(9_000));
        assert_eq!(read_all(&mut reader), (pattern(9_000), Read::End));
        assert!(find(&fixture.store, &fixture.scope, &target).is_some());
    }
}

#[test]
fn variants_have_a_leader_each() {
    let fixture = Fixture::new();
    let lead = fixture.lead("/x");
    let (same, other, third) = (fixture.wait("/x", 1), fixture.wait("/x", 2), fixture.wait("/x", 3));
    let Vary::Names(names) = Vary::parse(std::iter::once(&b"X-Flavour"[..])) else { panic!("one name") };
    let primary = fixture.key("/x");
    let set = fixture.store.variant_set(lead.ticket(), &primary, names).unwrap();
    let variant = |value: &str| {
        let (mut key, line) = (Vec::new(), format!("X-Flavour: {value}\r\n"));
        set.marker().write_key(&mut key, set.primary(), Lines(line.as_bytes()), CacheMode::Safe).unwrap();
        key.into_boxed_slice()
    };
    let mine = variant("sweet");
    let (writer, _reader) =
        lead.stream(Start { variant: Some((set.clone(), mine.clone())), ..start(Some(0)) });
    let Progress::Streaming(follower) = same.poll() else { panic!("the head is there") };
    assert!(*follower.key() == *mine && follower.variant_of().is_some());
    assert!(follower.follow(NOW).is_ok());
    // Two requests with another value: one of them leads.
    let others = variant("sour");
    let mut joined = Vec::new();
    for waiter in [other, third] {
        let Progress::Streaming(follower) = waiter.poll() else { panic!("the head is there") };
        assert!(*follower.key() != *others);
        drop(follower);
        joined.push(fixture.fills.join(&fixture.request(&others, 2)));
    }
    assert!(matches!(joined[..], [Join::Lead(_), Join::Wait(_)]));
    // Requests that know how the resource varies find the fill of the variant.
    assert!(matches!(fixture.fills.join(&fixture.request(&mine, 4)), Join::Wait(_)));
    assert!(fixture.store.find(&primary, EPOCH).is_none());
    writer.finish(NOW).unwrap();
    assert!(matches!(fixture.store.find(&primary, EPOCH), Some(Found::Variants(_))));
    assert!(matches!(fixture.store.find(&mine, EPOCH), Some(Found::Entry(_))));
    assert_eq!(fixture.fills.len(), 1, "the one of the other value");
    assert!(matches!(fixture.join("/x", 1), Join::Found(Found::Variants(_))));
}

#[test]
fn no_request_joins_a_fill_that_began_before_a_purge() {
    let fixture = Fixture::new();
    let old = fixture.lead("/x");
    let before = fixture.wait("/x", 1);
    let purge = |selector| {
        fixture.store.purge(&Purge { selector, tenant: None, effect: Effect::Remove }, Timestamp(5));
    };
    purge(Selector::url("a.test/y").unwrap());
    drop(fixture.wait("/x", 2));
    purge(Selector::url("a.test/x").unwrap());
    let new = fixture.lead("/x");
    let after = fixture.wait("/x", 3);
    // The old one serves those that waited for it, and is not stored.
    let (writer, _reader) = old.stream(start(Some(0)));
    drop(follow(before));
    assert_eq!(writer.finish(NOW).unwrap_err(), NotKept::Refused(InsertError::Invalidated));
    assert!(find(&fixture.store, &fixture.scope, "/x").is_none());
    let (writer, _reader) = new.stream(start(Some(0)));
    drop(follow(after));
    writer.finish(NOW).unwrap();
    assert!(find(&fixture.store, &fixture.scope, "/x").is_some());
}

#[test]
fn a_purge_by_tags_ends_fills_whose_tags_are_unknown_or_match() {
    let fixture = Fixture::new();
    let purge = |tag| {
        let selector = Selector::Tags([tag].into());
        fixture.store.purge(&Purge { selector, tenant: None, effect: Effect::Remove }, Timestamp(5));
    };
    let asking = fixture.lead("/x");
    purge(99);
    let (writer, _reader) = fixture.lead("/x").stream(start(Some(0)));
    purge(99);
    drop(fixture.wait("/x", 1));
    purge(7);
    assert!(matches!(fixture.join("/x", 1), Join::Lead(_)));
    drop((asking, writer));
}

#[test]
fn a_dropped_scope_stores_nothing_of_its_fills() {
    let fixture = Fixture::new();
    let (mut writer, mut reader) = fixture.lead("/x").stream(start(None));
    writer.write(b"all of it");
    fixture.store.retain_scopes(|_| false);
    assert_eq!(writer.finish(NOW).unwrap_err(), NotKept::Refused(InsertError::Invalidated));
    assert_eq!(read_all(&mut reader), (b"all of it".to_vec(), Read::End), "its readers get it");
    fixture.store.scope(fixture.scope.name(), &settings(u64::MAX));
    assert_eq!(fixture.store.stats().used.entries, 0);
}

//! Loom models of the store: insertions, purges, evictions and variants on two threads.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p ringway-cache --lib --target-dir target/loom models
//! ```
//! Each model compares index, queues and accounts at the end: an entry is in all of them or in none.
#![allow(clippy::unwrap_used)]

use loom::thread;

use super::insert::{InsertError, NewEntry, Ticket};
use super::purge::{Effect, Purge, Selector};
use super::*;
use crate::testing::{EPOCH, NOW, find, key, new_entry, parts, scope, settings, store};
use crate::{Lines, Settings, Vary};
use ringway_model::CacheMode;

/// All interleavings with at most two preemptions: a lock is held for one step each, and there are many.
fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.max_branches = 10_000;
    builder.check(check);
}

/// A response that is ready to be stored, asked for now.
fn asked(store: &Store, scope: &Arc<Scope>, target: &str) -> (Ticket, NewEntry) {
    let ticket = store.ticket(scope);
    let new = new_entry(store, &ticket, key(scope, "a.test", target), 1).unwrap();
    (ticket, new)
}

/// Checks that index, queues and accounts have the same entries, and returns their number.
fn entries(store: &Store, sets: usize) -> usize {
    while store.free_retired(1) > 0 {}
    let queued: usize = store.scopes().iter().map(|scope| scope.partition().len()).sum();
    assert_eq!(store.index.len(), queued + sets);
    assert_eq!(store.total.used().entries, queued as u64);
    queued
}

/// A response asked for before a purge is not stored after it, at whichever step the purge comes.
fn purge_beats(purge: impl Fn(&Store, &Arc<Scope>) + Copy + Sync + Send + 'static) {
    model(move || {
        let store = store(u64::MAX, u64::MAX);
        let scope = scope(&store, "", "r");
        let (ticket, new) = asked(&store, &scope, "/x");
        let inserter = store.clone();
        let thread = thread::spawn(move || drop(inserter.insert(&ticket, new)));
        purge(&store, &scope);
        // The purge has returned: no core finds the response from now on.
        assert!(find(&store, &scope, "/x").is_none());
        thread.join().unwrap();
        assert!(find(&store, &scope, "/x").is_none());
        assert_eq!(entries(&store, 0), 0);
    });
}

#[test]
fn models_a_purge_of_a_url_beats_what_was_asked_before() {
    purge_beats(|store, _| {
        let selector = Selector::url("a.test/x").unwrap();
        store.purge(&Purge { selector, tenant: None, effect: Effect::Remove }, NOW);
    });
}

#[test]
fn models_a_purge_of_everything_beats_what_was_asked_before() {
    purge_beats(|store, _| {
        store.purge(&Purge { selector: Selector::All, tenant: None, effect: Effect::Remove }, NOW);
    });
}

#[test]
fn models_an_unsafe_request_beats_what_was_asked_before() {
    purge_beats(|store, scope| {
        store.invalidate(scope, &parts(scope, "a.test", "/x"), &Settings::default(), NOW);
    });
}

#[test]
fn models_the_end_of_a_scope_beats_what_was_asked_before() {
    purge_beats(|store, _| store.retain_scopes(|_| false));
}

#[test]
fn models_a_key_has_one_entry() {
    model(|| {
        let store = store(u64::MAX, u64::MAX);
        let scope = scope(&store, "", "r");
        let (one, other) = (asked(&store, &scope, "/x"), asked(&store, &scope, "/x"));
        let inserter = store.clone();
        let thread = thread::spawn(move || drop(inserter.insert(&one.0, one.1).unwrap()));
        drop(store.insert(&other.0, other.1).unwrap());
        thread.join().unwrap();
        assert_eq!(entries(&store, 0), 1);
        assert!(find(&store, &scope, "/x").is_some());
    });
}

#[test]
fn models_evictions_keep_the_limit_and_lose_no_memory() {
    model(|| {
        let store = store(u64::MAX, 1);
        let scope = store.scope(&crate::testing::name("", "r"), &settings(u64::MAX));
        let (one, other) = (asked(&store, &scope, "/1"), asked(&store, &scope, "/2"));
        let inserter = store.clone();
        let thread = thread::spawn(move || drop(inserter.insert(&one.0, one.1)));
        drop(store.insert(&other.0, other.1));
        assert!(store.total.used().entries <= 1);
        thread.join().unwrap();
        assert!(entries(&store, 0) <= 1);
    });
}

#[test]
fn models_a_variant_is_found_or_its_set_is_gone() {
    model(|| {
        let store = store(u64::MAX, u64::MAX);
        let scope = scope(&store, "", "r");
        let ticket = store.ticket(&scope);
        let Vary::Names(names) = Vary::parse(std::iter::once(&b"X"[..])) else { panic!("one name") };
        let set = store.variant_set(&ticket, &key(&scope, "a.test", "/"), names).unwrap();
        let new = |line: &str| {
            let mut key = Vec::new();
            set.marker().write_key(&mut key, set.primary(), Lines(line.as_bytes()), CacheMode::Safe).unwrap();
            let new = new_entry(&store, &ticket, key.into(), 1).unwrap();
            NewEntry { variant_of: Some(set.clone()), ..new }
        };
        let last = store.insert(&ticket, new("X: 1\r\n")).unwrap();
        let other = new("X: 2\r\n");
        let other_key = other.key.clone();
        let remover = store.clone();
        let thread = thread::spawn(move || {
            remover.remove(&last);
        });
        let stored = store.insert(&ticket, other);
        thread.join().unwrap();
        let is_reachable = matches!(store.find(set.primary(), EPOCH), Some(Found::Variants(_)));
        match stored {
            Ok(_) => assert!(is_reachable && store.find(&other_key, EPOCH).is_some()),
            Err(error) => {
                assert!(matches!(error, InsertError::VariantsDropped | InsertError::Invalidated));
                assert!(!is_reachable);
            }
        }
        entries(&store, usize::from(is_reachable));
    });
}

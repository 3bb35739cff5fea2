//! Cost of the cache's store: a hit, a miss, and an insertion that evicts.

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use ringway_cache::policy::{Freshness, LifetimeSource, ResponseFacts, Times, store};
use ringway_cache::{
    KeyParts, Lines, NewEntry, Scope, ScopeName, ScopeSettings, Settings, Store, StoreSettings, StoredHead,
    Usage, write_key,
};
use ringway_model::Timestamp;

use crate::harness::Harness;

/// Entries of a full store.
const ENTRIES: u64 = 10_000;

pub(crate) fn run(bench: &mut Harness) {
    if !bench.wants("cache: ") {
        return;
    }
    let max = Usage { bytes: u64::MAX, entries: ENTRIES };
    let cache = Store::new(&StoreSettings { max, tenant_share_percent: 100 });
    let settings = ScopeSettings { epoch: 0, bytes_max: u64::MAX, weight: NonZeroU32::MIN, has_pools: false };
    let scope = cache.scope(&ScopeName { tenant: Some("t".into()), route: "r".into() }, &settings);
    let head = head();
    (0..ENTRIES).for_each(|number| insert(&cache, &scope, &head, number));
    let (present, absent) = (key(&scope, ENTRIES - 1), key(&scope, u64::MAX));
    bench.line("cache: find an entry of 10000", || cache.find(&present, 0).is_some());
    bench.line("cache: miss among 10000 entries", || cache.find(&absent, 0).is_some());
    let mut number = ENTRIES;
    bench.line("cache: insert an entry and evict one of 10000", || {
        number += 1;
        insert(&cache, &scope, &head, number);
    });
}

fn insert(cache: &Store, scope: &Arc<Scope>, head: &Arc<StoredHead>, number: u64) {
    let ticket = cache.ticket(scope);
    let body = cache.body(&ticket, vec![Bytes::from_static(b"content")]).expect("room");
    let new = NewEntry {
        key: key(scope, number).into(),
        asked: None,
        epoch: 0,
        head: head.clone(),
        body,
        variant_of: None,
    };
    cache.insert(&ticket, new).expect("room after an eviction");
}

fn key(scope: &Scope, number: u64) -> Vec<u8> {
    let target = format!("/assets/{number}.js");
    let parts = KeyParts {
        scope: scope.id(),
        is_https: true,
        port: 443,
        host: "bench.test",
        target: target.as_bytes(),
        pool: "",
    };
    let mut key = Vec::new();
    write_key(&mut key, &parts, &Settings::default(), Lines(b"")).expect("a short key");
    key
}

fn head() -> Arc<StoredHead> {
    let (settings, now) = (Settings::default(), Timestamp(1));
    let lines = Lines(b"Content-Type: text/javascript\r\nCache-Control: max-age=60\r\n");
    let facts = ResponseFacts::read(&settings, 200, lines, now);
    let freshness = Freshness { lifetime: 60, source: LifetimeSource::Explicit, initial_age: 0 };
    let times = Times { asked_at: now, received_at: now };
    Arc::new(store(&settings, Lines(b""), &facts, lines, b"OK", freshness, times))
}

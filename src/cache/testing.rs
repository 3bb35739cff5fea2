//! Scopes, keys and responses for the tests of store and fills.

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use ringway_model::Timestamp;

use crate::store::account::Usage;
use crate::store::insert::{InsertError, NewEntry, Ticket};
use crate::store::scope::{Scope, ScopeName, ScopeSettings};
use crate::store::{Found, Store, StoreSettings};
use crate::{Entry, KeyParts, Lines, Settings, StoredHead, write_key};

/// Epoch of all entries, unless a test says otherwise.
pub(crate) const EPOCH: u64 = 1;
pub(crate) const NOW: Timestamp = Timestamp(1_000_000_000);

pub(crate) fn store(bytes: u64, entries: u64) -> Arc<Store> {
    let max = Usage { bytes, entries };
    Arc::new(Store::new(&StoreSettings { max, tenant_share_percent: 100 }))
}

pub(crate) fn settings(bytes_max: u64) -> ScopeSettings {
    ScopeSettings { epoch: EPOCH, bytes_max, weight: NonZeroU32::MIN, has_pools: false }
}

pub(crate) fn name(tenant: &str, route: &str) -> ScopeName {
    ScopeName { tenant: (!tenant.is_empty()).then(|| tenant.into()), route: route.into() }
}

pub(crate) fn scope(store: &Store, tenant: &str, route: &str) -> Arc<Scope> {
    store.scope(&name(tenant, route), &settings(u64::MAX))
}

pub(crate) fn parts<'a>(scope: &Scope, host: &'a str, target: &'a str) -> KeyParts<'a> {
    KeyParts { scope: scope.id(), is_https: true, port: 443, host, target: target.as_bytes(), pool: "" }
}

pub(crate) fn key(scope: &Scope, host: &str, target: &str) -> Box<[u8]> {
    let mut key = Vec::new();
    write_key(&mut key, &parts(scope, host, target), &Settings::default(), Lines(b"")).expect("a short key");
    key.into()
}

/// A head that is fresh for a minute.
pub(crate) fn head(tags: &[u64]) -> Arc<StoredHead> {
    let text: Box<[u8]> = (*b"200 OK\r\n").into();
    Arc::new(StoredHead {
        lines_start: text.len() as u16,
        text,
        status: 200,
        must_confirm: false,
        forbids_stale: false,
        is_anonymous: false,
        lifetime: 60,
        initial_age: 0,
        received_at: NOW,
        stale_while_revalidate: 0,
        stale_if_error: 0,
        stale_on_disconnect: 0,
        etag: 0..0,
        last_modified: 0..0,
        last_modified_at: None,
        date_at: 0,
        selecting: [].into(),
        tags: tags.into(),
    })
}

pub(crate) fn new_entry(
    store: &Store,
    ticket: &Ticket,
    key: Box<[u8]>,
    bytes: usize,
) -> Result<NewEntry, InsertError> {
    let body = store.body(ticket, vec![Bytes::from(vec![7; bytes])])?;
    Ok(NewEntry { key, asked: None, epoch: EPOCH, head: head(&[]), body, variant_of: None })
}

/// Stores a response of this length.
pub(crate) fn insert(
    store: &Store,
    scope: &Arc<Scope>,
    target: &str,
    bytes: usize,
) -> Result<Arc<Entry>, InsertError> {
    let ticket = store.ticket(scope);
    store.insert(&ticket, new_entry(store, &ticket, key(scope, "a.test", target), bytes)?)
}

/// Finds the entry of a target, and counts the use.
pub(crate) fn find(store: &Store, scope: &Scope, target: &str) -> Option<Arc<Entry>> {
    match store.find(&key(scope, "a.test", target), EPOCH)? {
        Found::Entry(entry) => Some(entry),
        Found::Variants(_) => None,
    }
}

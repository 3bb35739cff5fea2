#![allow(clippy::unwrap_used)]

use super::*;
use crate::store::insert::{InsertError, NewEntry, Ticket};
use crate::store::{Found, Store};
use crate::testing::{EPOCH, key, new_entry, scope, store};
use ringway_model::CacheMode;

use crate::{Lines, Settings, Vary};

struct Fixture {
    store: Arc<Store>,
    scope: Arc<crate::Scope>,
    ticket: Ticket,
    set: Arc<VariantSet>,
}

impl Fixture {
    fn new() -> Self {
        let store = store(u64::MAX, u64::MAX);
        let scope = scope(&store, "t", "r");
        let ticket = store.ticket(&scope);
        let Vary::Names(names) = Vary::parse(std::iter::once(&b"X-Flavour"[..])) else { panic!("one name") };
        let set = store.variant_set(&ticket, &key(&scope, "a.test", "/"), names).unwrap();
        Self { set, store, scope, ticket }
    }

    fn variant_key(&self, value: &str) -> Box<[u8]> {
        let (mut key, line) = (Vec::new(), format!("X-Flavour: {value}\r\n"));
        self.set
            .marker()
            .write_key(&mut key, self.set.primary(), Lines(line.as_bytes()), CacheMode::Safe)
            .unwrap();
        key.into()
    }

    fn insert(&self, value: &str) -> Result<Arc<Entry>, InsertError> {
        let new = new_entry(&self.store, &self.ticket, self.variant_key(value), 10)?;
        self.store.insert(&self.ticket, NewEntry { variant_of: Some(self.set.clone()), ..new })
    }

    fn has(&self, value: &str) -> bool {
        matches!(self.store.find(&self.variant_key(value), EPOCH), Some(Found::Entry(_)))
    }

    fn has_set(&self) -> bool {
        matches!(self.store.find(self.set.primary(), EPOCH), Some(Found::Variants(_)))
    }
}

#[test]
fn a_set_is_found_with_its_variants() {
    let fixture = Fixture::new();
    assert!(!fixture.has_set());
    fixture.insert("de").unwrap();
    fixture.insert("fr").unwrap();
    assert!(fixture.has_set() && fixture.has("de") && fixture.has("fr") && !fixture.has("en"));
    assert_eq!(fixture.set.variants().len(), 2);
}

#[test]
fn the_last_variant_takes_the_set_with_it() {
    let fixture = Fixture::new();
    let (one, other) = (fixture.insert("de").unwrap(), fixture.insert("fr").unwrap());
    fixture.store.remove(&one);
    assert!(fixture.has_set());
    fixture.store.remove(&other);
    assert!(!fixture.has_set());
    assert_eq!(fixture.insert("de").unwrap_err(), InsertError::VariantsDropped);
}

#[test]
fn a_response_that_does_not_vary_drops_all_variants() {
    let fixture = Fixture::new();
    fixture.insert("de").unwrap();
    let new = new_entry(&fixture.store, &fixture.ticket, fixture.set.primary().into(), 10).unwrap();
    fixture.store.insert(&fixture.ticket, new).unwrap();
    assert!(!fixture.has("de") && !fixture.has_set());
    assert_eq!(fixture.scope.partition().len(), 1);
}

#[test]
fn a_variant_drops_a_response_that_did_not_vary() {
    let fixture = Fixture::new();
    let new = new_entry(&fixture.store, &fixture.ticket, fixture.set.primary().into(), 10).unwrap();
    fixture.store.insert(&fixture.ticket, new).unwrap();
    fixture.insert("de").unwrap();
    assert!(fixture.has("de") && fixture.has_set());
    assert_eq!(fixture.scope.partition().len(), 1);
}

#[test]
fn a_replaced_variant_keeps_the_set() {
    let fixture = Fixture::new();
    fixture.insert("de").unwrap();
    fixture.insert("de").unwrap();
    assert!(fixture.has("de") && fixture.has_set());
    assert_eq!(fixture.set.variants().len(), 1);
}

#[test]
fn variants_that_are_made_up_replace_each_other() {
    let fixture = Fixture::new();
    fixture.insert("used").unwrap();
    assert!(fixture.has("used"));
    for number in 0..3 * limits::VARIANTS_MAX {
        fixture.insert(&number.to_string()).unwrap();
    }
    assert!(fixture.has("used"));
    assert_eq!(fixture.set.variants().len(), limits::VARIANTS_MAX);
    assert_eq!(fixture.scope.partition().len(), limits::VARIANTS_MAX);
}

#[test]
fn an_invalidated_url_loses_all_variants() {
    let fixture = Fixture::new();
    fixture.insert("de").unwrap();
    fixture.insert("fr").unwrap();
    let parts = crate::testing::parts(&fixture.scope, "a.test", "/");
    assert_eq!(
        fixture.store.invalidate(&fixture.scope, &parts, &Settings::default(), crate::testing::NOW),
        2
    );
    assert!(!fixture.has_set() && !fixture.has("de"));
    assert_eq!(fixture.store.stats().used.entries, 0);
}

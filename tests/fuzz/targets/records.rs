//! Stored records and exports: encoding what was decoded gives the same bytes, and a checksum accepts its own
//! record only.
//!
//! The first byte chooses the rest: the body of a record of some kind, or an export.

use ringway_model::Kind;
use ringway_store::fuzzing::{rewrite, unseal};
use ringway_store::{Memory, Store, export, import};

pub(crate) fn check(bytes: &[u8]) {
    let Some((&choice, body)) = bytes.split_first() else { return };
    match usize::from(choice) % 4 {
        3 => check_export(body),
        kind => check_record(kind, body, choice),
    }
}

fn check_record(kind: usize, body: &[u8], choice: u8) {
    let kind = Kind::ALL[kind];
    let Some((key, sealed)) = rewrite(kind, body) else { return };
    let again = unseal(kind, &key, &sealed).expect("its own seal");
    assert_eq!(rewrite(kind, &again), Some((key.clone(), sealed.clone())), "written twice");
    for other in Kind::ALL {
        assert_eq!(unseal(other, &key, &sealed).is_some(), other == kind, "the seal of another kind");
    }
    assert_eq!(unseal(kind, &format!("{key}x"), &sealed), None, "the seal of another key");
    // Every byte of the seal, and one of what is sealed.
    let body_at = SEAL_BYTES + usize::from(choice >> 2) * (sealed.len() - SEAL_BYTES) / 64;
    for at in (0..SEAL_BYTES).chain([body_at]) {
        let mut damaged = sealed.clone();
        damaged[at] ^= 1;
        assert_eq!(unseal(kind, &key, &damaged), None, "damaged at {at}");
    }
}

/// In front of what it seals.
const SEAL_BYTES: usize = 8;

fn check_export(text: &[u8]) {
    let mut store = Memory::new();
    let Ok(summary) = import(&mut { text }, &mut store) else {
        let loaded = store.load().expect("memory");
        assert!(loaded.resources.is_empty(), "imported in part");
        return;
    };
    let mut once = Vec::new();
    let exported = export(&mut store, &mut once).expect("memory");
    assert_eq!(exported, summary);
    let mut other = Memory::new();
    import(&mut once.as_slice(), &mut other).expect("an export");
    let mut twice = Vec::new();
    export(&mut other, &mut twice).expect("memory");
    assert_eq!(twice, once, "exported twice");
}

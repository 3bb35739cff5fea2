#![allow(clippy::unwrap_used)]
use crate::{Fjall, Memory, Store, contract};

#[test]
fn memory_keeps_the_contract() {
    contract::run(|| {
        let place = Memory::new();
        move || Box::new(place.clone()) as Box<dyn Store>
    });
}

#[test]
fn fjall_keeps_the_contract() {
    contract::run(|| {
        let place = tempfile::tempdir().unwrap();
        move || Box::new(Fjall::open(place.path()).unwrap()) as Box<dyn Store>
    });
}

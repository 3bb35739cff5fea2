#![allow(clippy::unwrap_used)]

use super::*;

fn usage(bytes: u64, entries: u64) -> Usage {
    Usage { bytes, entries }
}

fn accounts() -> [Arc<Account>; 3] {
    let store = Arc::new(Account::new(Level::Store, None, usage(100, 10)));
    let tenant = Arc::new(Account::new(Level::Tenant, Some(store.clone()), usage(50, 5)));
    let scope = Arc::new(Account::new(Level::Scope, Some(tenant.clone()), usage(20, u64::MAX)));
    [scope, tenant, store]
}

#[test]
fn a_charge_counts_on_all_levels_until_it_is_dropped() {
    let accounts = accounts();
    let charge = accounts[0].charge(usage(20, 2)).unwrap();
    assert!(accounts.iter().all(|account| account.used() == usage(20, 2)));
    drop(charge);
    assert!(accounts.iter().all(|account| account.used() == usage(0, 0)));
}

#[test]
fn the_level_without_room_is_named_and_nothing_is_counted() {
    let accounts = accounts();
    assert_eq!(accounts[0].charge(usage(21, 1)).unwrap_err(), Level::Scope);
    assert_eq!(accounts[0].charge(usage(1, 6)).unwrap_err(), Level::Tenant);
    let _other = accounts[2].charge(usage(90, 0)).unwrap();
    assert_eq!(accounts[0].charge(usage(11, 1)).unwrap_err(), Level::Store);
    assert_eq!(accounts[0].used(), usage(0, 0));
    assert_eq!(accounts[1].used(), usage(0, 0));
    assert_eq!(accounts[2].used(), usage(90, 0));
}

#[test]
fn amounts_that_overflow_have_no_room() {
    let account = Arc::new(Account::new(Level::Store, None, Usage::UNLIMITED));
    let _charge = account.charge(usage(1, 1)).unwrap();
    assert_eq!(account.charge(usage(u64::MAX, 1)).unwrap_err(), Level::Store);
    assert_eq!(account.used(), usage(1, 1));
}

#[test]
fn charges_merge_and_shrink() {
    let [scope, _, store] = accounts();
    let mut charge = scope.charge(usage(8, 0)).unwrap();
    charge.merge(scope.charge(usage(8, 1)).unwrap());
    charge.shrink(5);
    assert_eq!(store.used(), usage(5, 1));
    charge.shrink(9);
    assert_eq!(charge.amount(), usage(5, 1), "shrinks only");
    drop(charge);
    assert_eq!(store.used(), usage(0, 0));
}

#[test]
fn claims_are_counted_apart_until_they_are_settled_or_dropped() {
    let [scope, tenant, store] = accounts();
    let mut one = scope.claim(4).unwrap();
    let other = scope.claim(10).unwrap();
    one.merge(scope.claim(4).unwrap());
    // 18 bytes: a quarter of the scope is 5, of the tenant 12, of the store 25.
    assert!(scope.is_claimed(Level::Scope, 8) && scope.is_claimed(Level::Tenant, 0));
    assert!(!scope.is_claimed(Level::Tenant, 8) && !scope.is_claimed(Level::Store, 0));
    one.shrink(6);
    one.settle();
    assert_eq!((store.used(), tenant.used()), (usage(16, 0), usage(16, 0)));
    assert!(scope.is_claimed(Level::Scope, 0) && !scope.is_claimed(Level::Scope, 10));
    drop(other);
    assert!(!scope.is_claimed(Level::Scope, 0));
    drop(one);
    assert_eq!(store.used(), usage(0, 0));
}

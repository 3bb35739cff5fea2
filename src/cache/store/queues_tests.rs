#![allow(clippy::unwrap_used)]

use super::*;
use crate::store::Store;
use crate::testing::{find, insert, scope, store};

fn queue_of(entry: &Entry) -> Option<Queue> {
    let queues = entry.partition.queues.lock();
    let node = entry.node.load(Ordering::Relaxed);
    (node != NO_NODE).then(|| queues.nodes[node as usize].queue)
}

fn pop(entry: &Entry) -> Option<Arc<Entry>> {
    entry.partition.queues.lock().pop()
}

fn fixture() -> (Arc<Store>, Arc<crate::Scope>) {
    let store = store(u64::MAX, u64::MAX);
    let scope = scope(&store, "t", "r");
    (store, scope)
}

#[test]
fn entries_that_are_not_used_leave_in_their_order() {
    let (store, scope) = fixture();
    let entries: Vec<_> = ["/1", "/2", "/3"].map(|target| insert(&store, &scope, target, 10).unwrap()).into();
    for entry in &entries {
        assert!(Arc::ptr_eq(&pop(&entries[0]).unwrap(), entry));
    }
    assert!(pop(&entries[0]).is_none());
    assert_eq!(entries[0].partition.len(), 0);
}

#[test]
fn an_entry_that_was_used_twice_moves_to_the_main_queue() {
    let (store, scope) = fixture();
    let once = insert(&store, &scope, "/once", 10).unwrap();
    let twice = insert(&store, &scope, "/twice", 10).unwrap();
    find(&store, &scope, "/once").unwrap();
    find(&store, &scope, "/twice").unwrap();
    find(&store, &scope, "/twice").unwrap();
    assert!(Arc::ptr_eq(&pop(&once).unwrap(), &once));
    assert_eq!(queue_of(&twice), Some(Queue::Small));
    assert!(Arc::ptr_eq(&pop(&twice).unwrap(), &twice), "the last one leaves all the same");
}

#[test]
fn a_key_that_comes_back_soon_enters_the_main_queue() {
    let (store, scope) = fixture();
    let entry = insert(&store, &scope, "/again", 10).unwrap();
    pop(&entry).unwrap();
    store.remove(&entry);
    let again = insert(&store, &scope, "/again", 10).unwrap();
    assert_eq!(queue_of(&again), Some(Queue::Main));
}

#[test]
fn a_used_entry_of_the_main_queue_gets_a_round_for_each_use() {
    let (store, scope) = fixture();
    let entries: Vec<_> = ["/1", "/2"].map(|target| insert(&store, &scope, target, 10).unwrap()).into();
    {
        let mut queues = entries[0].partition.queues.lock();
        entries.iter().for_each(|entry| queues.promote(entry));
    }
    entries[0].set_frequency(3);
    assert!(Arc::ptr_eq(&pop(&entries[0]).unwrap(), &entries[1]));
    assert_eq!(entries[0].frequency(), 2);
}

#[test]
fn an_eviction_gives_a_bounded_number_of_entries_another_round() {
    let (store, scope) = fixture();
    let entries: Vec<_> = (0..2 * REINSERTIONS_MAX)
        .map(|number| insert(&store, &scope, &format!("/{number}"), 1).unwrap())
        .collect();
    entries.iter().for_each(|entry| entry.set_frequency(3));
    assert!(pop(&entries[0]).is_some());
    let is_spared = |entry: &&Arc<Entry>| entry.frequency() < 3;
    assert_eq!(entries.iter().filter(is_spared).count(), REINSERTIONS_MAX);
}

#[test]
fn removed_nodes_are_used_again() {
    let (store, scope) = fixture();
    for round in 0..100 {
        let entry = insert(&store, &scope, &format!("/{round}"), 10).unwrap();
        store.remove(&entry);
        assert_eq!(queue_of(&entry), None);
        assert!(entry.partition.queues.lock().remove(&entry).is_none(), "it was removed");
    }
    assert_eq!(scope.partition().queues.lock().nodes.len(), 1);
}

#[test]
fn the_ghost_queue_is_bounded() {
    let (store, scope) = fixture();
    for round in 0..1_000 {
        let entry = insert(&store, &scope, &format!("/{round}"), 10).unwrap();
        pop(&entry).unwrap();
        store.remove(&entry);
    }
    let partition = scope.partition();
    let queues = partition.queues.lock();
    assert_eq!(queues.ghost.order.len(), GHOSTS_MIN);
    assert!(queues.ghost.counts.len() <= GHOSTS_MIN);
}

#[test]
fn a_scan_by_slices_sees_every_entry_that_stays() {
    let (store, scope) = fixture();
    let entries: Vec<_> =
        (0..150).map(|number| insert(&store, &scope, &format!("/{number}"), 1).unwrap()).collect();
    let mut seen = Vec::new();
    scope.partition().scan(|entry| {
        // Changes between slices move no other entry.
        if seen.is_empty() {
            store.remove(&entries[149]);
            store.remove(&entries[3]);
        }
        seen.push(entry.key().to_vec());
        true
    });
    seen.sort_unstable();
    seen.dedup();
    assert!((148..=149).contains(&seen.len()), "{}", seen.len());
}

#[test]
fn a_replaced_entry_leaves_its_place_to_the_new_one() {
    let (store, scope) = fixture();
    let old = insert(&store, &scope, "/x", 10).unwrap();
    old.partition.queues.lock().promote(&old);
    old.set_frequency(2);
    let new = insert(&store, &scope, "/x", 20).unwrap();
    assert_eq!((queue_of(&old), queue_of(&new)), (None, Some(Queue::Main)));
    assert_eq!(new.frequency(), 2);
    assert_eq!(scope.partition().len(), 1);
}

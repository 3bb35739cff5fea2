//! Sweeper: frees entries that are past all use, a slice at a time.

use std::sync::Arc;

use ringway_model::{Tick, Timestamp};

use super::account::Level;
use super::scope::Scope;
use super::{Store, is_past_use};
use crate::entry::Entry;
use crate::limits;
use crate::sync::Ordering;

/// Place at which the next slice begins.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    scope: usize,
    node: usize,
}

/// Result of a step of the sweeper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Entries that were freed.
    pub freed: u64,
    /// Whether the last scope was reached: the next step begins with the first one.
    pub is_round_done: bool,
}

impl Store {
    /// Does a step: frees up to a slice of the entries of replaced partitions, then compares a slice of the
    /// others and removes those that are past use or of an older epoch; over a lowered limit, it evicts. To
    /// be called again until a round is done. Costs tens of microseconds.
    pub fn sweep(&self, now: Timestamp, tick: Tick) -> Swept {
        let mut freed = self.free_retired(limits::SCAN_SLICE) as u64;
        if freed > 0 {
            return Swept { freed, is_round_done: false };
        }
        freed += self.give_back();
        let scopes = self.scopes();
        let mut cursor = self.sweep.lock();
        let Some(scope) = scopes.get(cursor.scope) else {
            *cursor = Cursor::default();
            return Swept { freed, is_round_done: true };
        };
        let mut slice = Vec::with_capacity(limits::SCAN_SLICE);
        let next = scope.partition().queues.lock().slice(cursor.node, limits::SCAN_SLICE, &mut slice);
        *cursor = match next {
            Some(node) => Cursor { node, ..*cursor },
            None => Cursor { scope: cursor.scope + 1, node: 0 },
        };
        drop(cursor);
        if next.is_none() {
            scope.uncacheable.sweep(tick);
        }
        let is_useless = |entry: &Arc<Entry>| entry.epoch() < scope.oldest_epoch() || is_past_use(entry, now);
        let removed = slice.iter().filter(|entry| is_useless(entry) && self.remove(entry)).count() as u64;
        self.counters.expired.fetch_add(removed, Ordering::Relaxed);
        Swept { freed: freed + removed, is_round_done: false }
    }

    /// Evicts a slice of entries where a limit was lowered.
    fn give_back(&self) -> u64 {
        let scopes = self.scopes();
        let mut evicted = 0;
        let mut evict = |level, scope: &Arc<Scope>| {
            evicted += 1;
            evicted <= limits::SCAN_SLICE as u64 && self.make_room(level, scope, &scope.partition())
        };
        for scope in scopes.iter() {
            let partition = scope.partition();
            while partition.account.is_over() && evict(Level::Scope, scope) {}
            while scope.tenant.as_ref().is_some_and(|tenant| tenant.account.is_over())
                && evict(Level::Tenant, scope)
            {}
        }
        if let Some(scope) = scopes.first() {
            while self.total.is_over() && evict(Level::Store, scope) {}
        }
        evicted
    }
}

//! Room for new memory: the store evicts from the scope that uses most for its weight.
//!
//! | limit without room | entries that are evicted |
//! |---|---|
//! | a route's | its own |
//! | a tenant's share | of retired partitions first; then of its scope that uses most |
//! | the store's | of retired partitions first; then of the scope that uses most, among a few drawn ones |
//!
//! Responses under way, which may never be complete, evict for a part of each limit at most:
//! [`limits::CLAIM_SHARE`].
//!
//! A scope that uses less than its share of the store keeps its entries, however much the others ask for.

use std::sync::Arc;

use super::Store;
use super::account::{Charge, Level, Usage};
use super::partition::Partition;
use super::scope::Scope;
use crate::limits;
use crate::sync::Ordering;

impl Store {
    /// Charges a partition, after evictions if there is no room.
    ///
    /// # Errors
    /// The level that has no room after [`limits::EVICTIONS_MAX`] evictions: what is left is in use, or
    /// larger than the limit.
    pub(crate) fn reserve(
        &self,
        scope: &Arc<Scope>,
        partition: &Partition,
        amount: Usage,
    ) -> Result<Charge, Level> {
        self.with_room(scope, partition, || partition.account.charge(amount), |_| true)
    }

    /// Charges a partition with bytes of a response under way, which has claimed `own` already. Evicts only
    /// while the others have not claimed their share.
    ///
    /// # Errors
    /// As those of [`reserve`](Self::reserve).
    pub(crate) fn claim(
        &self,
        scope: &Arc<Scope>,
        partition: &Partition,
        bytes: u64,
        own: u64,
    ) -> Result<Charge, Level> {
        let account = &partition.account;
        self.with_room(scope, partition, || account.claim(bytes), |level| !account.is_claimed(level, own))
    }

    fn with_room(
        &self,
        scope: &Arc<Scope>,
        partition: &Partition,
        charge: impl Fn() -> Result<Charge, Level>,
        may_evict: impl Fn(Level) -> bool,
    ) -> Result<Charge, Level> {
        let mut evictions = 0;
        loop {
            let level = match charge() {
                Ok(charge) => return Ok(charge),
                Err(level) => level,
            };
            evictions += 1;
            let may_go_on = evictions <= limits::EVICTIONS_MAX && may_evict(level);
            if !may_go_on || !self.make_room(level, scope, partition) {
                return Err(level);
            }
        }
    }

    /// Evicts one entry; `false` when none was found.
    pub(super) fn make_room(&self, level: Level, scope: &Arc<Scope>, partition: &Partition) -> bool {
        match level {
            Level::Scope => self.evict(level, scope, partition),
            // Entries purged as a whole count until they are freed, in their tenant's share too.
            Level::Tenant | Level::Store if self.free_retired(1) > 0 => true,
            Level::Tenant => {
                let scopes = scope.tenant.as_ref().map(|tenant| tenant.scopes()).unwrap_or_default();
                self.evict_largest(level, scope, scopes)
            }
            Level::Store => self.evict_largest(level, scope, self.sampled_scopes()),
        }
    }

    /// Evicts one entry of the scope that uses most; of the next one, if that has none.
    fn evict_largest(&self, level: Level, own: &Arc<Scope>, mut scopes: Vec<Arc<Scope>>) -> bool {
        let store = self.total.max();
        scopes.push(own.clone());
        let mut scopes: Vec<_> = scopes.into_iter().map(|scope| (scope.share(store), scope)).collect();
        scopes.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        let Some((_, evicted)) =
            scopes.iter().find(|(_, scope)| self.evict(level, scope, &scope.partition()))
        else {
            return false;
        };
        if level == Level::Store {
            *self.largest.lock() = Arc::downgrade(evicted);
        }
        true
    }

    /// Draws a few scopes, and adds the one that was evicted from last: one that floods the store is found by
    /// one draw in many, and stays found.
    fn sampled_scopes(&self) -> Vec<Arc<Scope>> {
        let scopes = self.scopes();
        if scopes.len() <= limits::SAMPLED_SCOPES {
            return scopes.to_vec();
        }
        let draw = |_| scopes[self.draw() as usize % scopes.len()].clone();
        let last = self.largest.lock().upgrade();
        (0..limits::SAMPLED_SCOPES).map(draw).chain(last).collect()
    }

    fn evict(&self, level: Level, scope: &Arc<Scope>, partition: &Partition) -> bool {
        let Some(entry) = partition.queues.lock().pop() else { return false };
        // Another thread may be removing it: it frees the memory then.
        self.remove(&entry);
        scope.evictions.fetch_add(1, Ordering::Relaxed);
        self.counters.evictions[level as usize].fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Leaves a partition that was replaced to be freed.
    pub(crate) fn bury(&self, partition: Arc<Partition>) {
        if partition.len() > 0 {
            self.retired.lock().push(partition);
        }
    }

    /// Frees up to `count` entries of partitions that were replaced; returns the number.
    pub(crate) fn free_retired(&self, count: usize) -> usize {
        let mut freed = 0;
        while freed < count {
            let Some(partition) = self.retired.lock().last().cloned() else { break };
            let Some(entry) = partition.queues.lock().pop_any() else {
                self.retired.lock().retain(|known| !Arc::ptr_eq(known, &partition));
                continue;
            };
            self.remove(&entry);
            freed += 1;
        }
        freed
    }
}

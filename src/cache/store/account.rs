//! Accounts of memory: bytes and entries of the store, of a tenant and of a scope, each with its maximum.
//!
//! ```text
//! scope ──► tenant ──► store        a charge counts in its account and in all above
//! ```
//! Whatever occupies memory of the cache holds a [`Charge`], which is given back when it is dropped: when the
//! memory is free, and not before. An entry that was evicted while slow readers still read it keeps counting.
//! No account exceeds its maximum and none falls below zero, in any order of events.
//!
//! A part of the memory is claimed by responses under way, which may never be complete: it is counted apart,
//! so that evictions for it have a limit.

use std::sync::Arc;

use crate::limits;
use crate::sync::{AtomicU64, Ordering};

/// Group whose memory is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// One route of one tenant.
    Scope,
    /// All routes of one tenant.
    Tenant,
    /// The whole store.
    Store,
}

/// Memory of a group: an amount, or a maximum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes, with the overhead of tables.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
}

impl Usage {
    /// No maximum.
    pub const UNLIMITED: Self = Self { bytes: u64::MAX, entries: u64::MAX };
}

/// Memory in use by a group, and its maximum.
///
/// All accesses are relaxed: an account guards no other memory, and each change is one atomic step.
#[derive(Debug)]
pub(crate) struct Account {
    level: Level,
    parent: Option<Arc<Account>>,
    used: Counters,
    max: Counters,
    /// Bytes of `used` that belong to responses under way.
    claimed: AtomicU64,
}

#[derive(Debug)]
struct Counters {
    bytes: AtomicU64,
    entries: AtomicU64,
}

/// Memory in use, counted until this is dropped.
#[derive(Debug)]
#[must_use = "the memory is counted until this is dropped"]
pub(crate) struct Charge {
    account: Arc<Account>,
    amount: Usage,
    /// Whether it is for a response under way.
    is_claim: bool,
}

impl Account {
    pub(crate) fn new(level: Level, parent: Option<Arc<Account>>, max: Usage) -> Self {
        let used = Counters::new(Usage::default());
        Self { level, parent, used, max: Counters::new(max), claimed: AtomicU64::new(0) }
    }

    pub(crate) fn used(&self) -> Usage {
        self.used.load()
    }

    pub(crate) fn max(&self) -> Usage {
        self.max.load()
    }

    /// Changes the maximum. Memory above a lowered one is given back by evictions.
    pub(crate) fn set_max(&self, max: Usage) {
        self.max.bytes.store(max.bytes, Ordering::Relaxed);
        self.max.entries.store(max.entries, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        let (used, max) = (self.used(), self.max());
        used.bytes > max.bytes || used.entries > max.entries
    }

    /// Counts `amount` here and in the accounts above.
    ///
    /// # Errors
    /// The level whose maximum has no room; nothing is counted then.
    pub(crate) fn charge(self: &Arc<Self>, amount: Usage) -> Result<Charge, Level> {
        self.add(amount)?;
        Ok(Charge { account: self.clone(), amount, is_claim: false })
    }

    /// Counts bytes of a response under way.
    ///
    /// # Errors
    /// As those of [`charge`](Self::charge).
    pub(crate) fn claim(self: &Arc<Self>, bytes: u64) -> Result<Charge, Level> {
        let mut charge = self.charge(Usage { bytes, entries: 0 })?;
        charge.is_claim = true;
        self.each(|account| {
            account.claimed.fetch_add(bytes, Ordering::Relaxed);
        });
        Ok(charge)
    }

    /// Whether responses under way, without `own` bytes of one of them, have claimed their share of a level:
    /// no entry is evicted for more then.
    pub(crate) fn is_claimed(&self, level: Level, own: u64) -> bool {
        let mut is_claimed = false;
        self.each(|account| {
            let others = account.claimed.load(Ordering::Relaxed).saturating_sub(own);
            is_claimed |= account.level == level && others > account.max().bytes / limits::CLAIM_SHARE;
        });
        is_claimed
    }

    fn release_claim(&self, bytes: u64) {
        self.each(|account| {
            account.claimed.fetch_sub(bytes, Ordering::Relaxed);
        });
    }

    /// Visits this account and all above.
    fn each(&self, mut visit: impl FnMut(&Self)) {
        let mut next = Some(self);
        while let Some(account) = next {
            visit(account);
            next = account.parent.as_deref();
        }
    }

    fn add(&self, amount: Usage) -> Result<(), Level> {
        self.used.add(amount, self.max()).map_err(|Full| self.level)?;
        if let Some(parent) = &self.parent {
            parent.add(amount).inspect_err(|_| self.used.subtract(amount))?;
        }
        Ok(())
    }

    fn subtract(&self, amount: Usage) {
        self.used.subtract(amount);
        if let Some(parent) = &self.parent {
            parent.subtract(amount);
        }
    }
}

/// No room below the maximum.
struct Full;

impl Counters {
    fn new(amount: Usage) -> Self {
        Self { bytes: AtomicU64::new(amount.bytes), entries: AtomicU64::new(amount.entries) }
    }

    fn load(&self) -> Usage {
        Usage { bytes: self.bytes.load(Ordering::Relaxed), entries: self.entries.load(Ordering::Relaxed) }
    }

    fn add(&self, amount: Usage, max: Usage) -> Result<(), Full> {
        add(&self.bytes, amount.bytes, max.bytes)?;
        add(&self.entries, amount.entries, max.entries).inspect_err(|Full| {
            self.bytes.fetch_sub(amount.bytes, Ordering::Relaxed);
        })
    }

    fn subtract(&self, amount: Usage) {
        for (counter, amount) in [(&self.bytes, amount.bytes), (&self.entries, amount.entries)] {
            if amount > 0 {
                counter.fetch_sub(amount, Ordering::Relaxed);
            }
        }
    }
}

/// Adds, unless the sum exceeds `max`.
fn add(counter: &AtomicU64, amount: u64, max: u64) -> Result<(), Full> {
    if amount == 0 {
        return Ok(());
    }
    let sum = |used: u64| used.checked_add(amount).filter(|sum| *sum <= max);
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).map(drop).map_err(|_| Full)
}

impl Charge {
    pub(crate) fn amount(&self) -> Usage {
        self.amount
    }

    /// Adds another charge of the same account.
    pub(crate) fn merge(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.account, &other.account), "charges of one account");
        debug_assert_eq!(self.is_claim, other.is_claim, "charges of one kind");
        self.amount.bytes += other.amount.bytes;
        self.amount.entries += other.amount.entries;
        other.amount = Usage::default();
    }

    /// Gives back all bytes beyond `bytes`.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        let surplus = self.amount.bytes.saturating_sub(bytes);
        if self.is_claim {
            self.account.release_claim(surplus);
        }
        self.account.subtract(Usage { bytes: surplus, entries: 0 });
        self.amount.bytes -= surplus;
    }

    /// Turns the claim of a response that is complete into an entry's memory.
    pub(crate) fn settle(&mut self) {
        if std::mem::take(&mut self.is_claim) {
            self.account.release_claim(self.amount.bytes);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.settle();
        self.account.subtract(self.amount);
    }
}

#[cfg(all(test, not(loom)))]
#[path = "account_tests.rs"]
mod tests;

//! Allocator of ids, serials and metric slots: one for the configuration in force and for that on trial.
//!
//! A trial copies the tables of a compiler and not its allocator. What the two configurations add gets
//! different ids and slots, and a slot is free when neither uses it.

use ringway_model::{Serial, limits};
use rpds::QueueSync;

use crate::snapshot::{EndpointId, MetricSlot, PoolId};
use crate::virtual_host::RuleId;

/// Configuration that uses a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Branch {
    /// In force.
    Base = 1,
    /// On trial.
    Trial = 2,
}

/// Allocator; a copy is a draft, which replaces the original when it is committed.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    /// Serial of the last publication.
    pub(super) serial: Serial,
    rules: u64,
    pools: u64,
    endpoints: u64,
    cache_epochs: u64,
    /// Removed rules and endpoints; see [`Ids::removed_rule`].
    rules_removed: u64,
    endpoints_removed: u64,
    pub(super) rule_slots: Slots,
    pub(super) pool_slots: Slots,
    pub(super) endpoint_slots: Slots,
}

impl Ids {
    pub(super) fn rule(&mut self) -> RuleId {
        RuleId(count(&mut self.rules))
    }

    pub(super) fn pool(&mut self) -> PoolId {
        PoolId(count(&mut self.pools))
    }

    pub(super) fn endpoint(&mut self) -> EndpointId {
        EndpointId(count(&mut self.endpoints))
    }

    /// A new version of what cached entries are made from.
    pub(super) fn cache_epoch(&mut self) -> u64 {
        count(&mut self.cache_epochs)
    }

    /// Counts a removed rule, for `Snapshot::rules_removed`. Two snapshots with the same count have the same
    /// removals behind them, whichever configuration they are of.
    pub(super) fn removed_rule(&mut self) -> u64 {
        count(&mut self.rules_removed)
    }

    /// Counts a removed endpoint, for `Snapshot::endpoints_removed`.
    pub(super) fn removed_endpoint(&mut self) -> u64 {
        count(&mut self.endpoints_removed)
    }

    /// The slots of each kind.
    fn slots(&mut self) -> [&mut Slots; 3] {
        [&mut self.rule_slots, &mut self.pool_slots, &mut self.endpoint_slots]
    }

    /// Begins a trial: it uses all slots that are in use.
    pub(super) fn fork(&mut self) {
        self.slots().into_iter().for_each(Slots::fork);
    }

    /// Ends a trial.
    pub(super) fn join(&mut self, kept: Branch) -> FreedSlots {
        let [rules, pools, endpoints] = self.slots().map(|slots| slots.join(kept));
        FreedSlots { rules, pools, endpoints }
    }
}

/// Slots that only the configuration used that a trial ended for.
pub(super) struct FreedSlots {
    pub(super) rules: Vec<MetricSlot>,
    pub(super) pools: Vec<MetricSlot>,
    pub(super) endpoints: Vec<MetricSlot>,
}

/// Metric slots of one kind: routes, pools or endpoints. Slots are reused in the order of their release: an
/// exchange that began under the former owner may still be counted.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    used_max: u16,
    free: QueueSync<u16>,
    /// During a trial, the configurations that use each slot, as a sum of [`Branch`]es.
    users: Option<Box<[u8]>>,
}

impl Default for Slots {
    fn default() -> Self {
        Self { used_max: 0, free: QueueSync::new_sync(), users: None }
    }
}

impl Slots {
    /// Takes an unused slot, or the shared one when all are in use.
    pub(super) fn take(&mut self, branch: Branch) -> MetricSlot {
        let slot = if usize::from(self.used_max) < limits::METRIC_SLOTS_MAX {
            self.used_max += 1;
            self.used_max
        } else {
            let Some(slot) = self.free.peek().copied() else { return MetricSlot::SHARED };
            self.free.dequeue_mut();
            slot
        };
        let slot = MetricSlot(slot);
        self.share(slot, branch);
        slot
    }

    /// Records that the other configuration uses a slot as well.
    pub(super) fn share(&mut self, slot: MetricSlot, branch: Branch) {
        if let Some(users) = &mut self.users
            && slot != MetricSlot::SHARED
        {
            users[usize::from(slot.0)] |= branch as u8;
        }
    }

    /// Ends the use of a slot. True when it is free: not for the shared one, which has no single owner, and
    /// not while the other configuration uses it.
    pub(super) fn give(&mut self, slot: MetricSlot, branch: Branch) -> bool {
        if slot == MetricSlot::SHARED {
            return false;
        }
        if let Some(users) = &mut self.users {
            let users = &mut users[usize::from(slot.0)];
            *users &= !(branch as u8);
            if *users != 0 {
                return false;
            }
        }
        self.free.enqueue_mut(slot.0);
        true
    }

    /// Whether both configurations use a slot.
    pub(super) fn is_shared(&self, slot: MetricSlot) -> bool {
        self.users.as_ref().is_some_and(|users| users[usize::from(slot.0)] == BOTH)
    }

    fn fork(&mut self) {
        let mut users = vec![0; limits::METRIC_SLOTS_MAX + 1];
        users[1..=usize::from(self.used_max)].fill(BOTH);
        for slot in &self.free {
            users[usize::from(*slot)] = 0;
        }
        self.users = Some(users.into());
    }

    /// Frees the slots that only the other configuration uses.
    fn join(&mut self, kept: Branch) -> Vec<MetricSlot> {
        let users = self.users.take().unwrap_or_default();
        let is_dropped = |users: u8| users != 0 && users & kept as u8 == 0;
        let dropped: Vec<_> =
            (0_u16..).zip(users).filter(|(_, users)| is_dropped(*users)).map(|(slot, _)| slot).collect();
        dropped.iter().for_each(|slot| self.free.enqueue_mut(*slot));
        dropped.into_iter().map(MetricSlot).collect()
    }
}

fn count(made: &mut u64) -> u64 {
    *made += 1;
    *made
}

/// Both configurations.
const BOTH: u8 = Branch::Base as u8 | Branch::Trial as u8;

const _: () = assert!(limits::METRIC_SLOTS_MAX < u16::MAX as usize, "a slot has sixteen bits");

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u16 = limits::METRIC_SLOTS_MAX as u16;

    #[test]
    fn a_trial_gives_back_what_it_took() {
        let mut slots = Slots::default();
        let [first, second] = [(); 2].map(|()| slots.take(Branch::Base));
        assert!(slots.give(first, Branch::Base));
        slots.fork();
        let [base, trial] = [Branch::Base, Branch::Trial].map(|branch| slots.take(branch));
        assert_ne!(base, trial);
        assert!(!slots.give(second, Branch::Trial), "the configuration in force uses it");
        let mut reverted = slots.clone();
        assert_eq!(reverted.join(Branch::Base), [trial]);
        assert_eq!(slots.join(Branch::Trial), [second, base], "promoted");
        for (slots, in_use) in [(&mut reverted, 2), (&mut slots, 1)] {
            let taken: Vec<_> = (0..ALL).map(|_| slots.take(Branch::Base)).collect();
            let own = taken.iter().filter(|slot| **slot != MetricSlot::SHARED).count();
            assert_eq!(own, usize::from(ALL) - in_use);
        }
    }

    #[test]
    fn a_shared_slot_is_free_when_both_have_left_it() {
        let mut slots = Slots::default();
        slots.fork();
        let slot = slots.take(Branch::Base);
        slots.share(slot, Branch::Trial);
        assert!(slots.is_shared(slot));
        assert!(!slots.give(slot, Branch::Base));
        assert!(slots.give(slot, Branch::Trial));
        assert_eq!(slots.join(Branch::Base), []);
    }
}

//! Table of the winners of rendezvous hashing, by slots of the key space.
//!
//! Keys fall into 65,536 slots, and all keys of a slot have one endpoint. In a pool of more than a few
//! endpoints the winner of a slot is found by its scores once, and remembered: 128 KiB per pool, made with
//! its first request. The table belongs to one set of endpoints and weights; another set begins with an empty
//! one, and finds each slot again with the first of its requests. To fill it while the snapshot is compiled
//! would delay a change by a second with a thousand endpoints, for slots that may never be asked for.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

use super::spread;

/// Endpoints up to which scores cost less than a table.
const SCAN_MAX: usize = 8;

const SLOTS: usize = 1 << 16;

/// Winners by slot, of endpoints that do not change. Shared by all cores, which find the same ones.
#[derive(Debug, Default)]
pub struct KeyTable {
    /// The index of the winner, plus one; 0 where it is not known yet.
    winners: OnceLock<Box<[AtomicU16]>>,
}

/// Slot of the key space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u16);

impl Slot {
    /// The slot of a key's hash.
    pub(crate) fn of_key(key: u64) -> Self {
        Self((spread(key) >> 48) as u16)
    }

    /// The hash that endpoints are scored by.
    pub(crate) fn hash(self) -> u64 {
        spread(u64::from(self.0) + 1)
    }
}

impl KeyTable {
    /// The index of the slot's winner among `count` endpoints: a known one, else that of `find`; `None` for
    /// small pools, which need no table.
    pub(crate) fn endpoint(
        &self,
        slot: Slot,
        count: usize,
        find: impl FnOnce() -> Option<usize>,
    ) -> Option<usize> {
        if count <= SCAN_MAX {
            return None;
        }
        let winners = self.winners.get_or_init(|| (0..SLOTS).map(|_| AtomicU16::new(0)).collect());
        let winner = winners.get(usize::from(slot.0))?;
        match winner.load(Ordering::Relaxed) {
            0 => {
                let found = find()?;
                // Two cores may find it at once: they find the same.
                winner.store(u16::try_from(found + 1).unwrap_or(0), Ordering::Relaxed);
                Some(found)
            }
            known => Some(usize::from(known - 1)),
        }
    }
}

//! The cache as one core knows it: the store and the fills of all cores, and its own waiting tasks.

use std::cell::RefCell;
use std::sync::Arc;

use ringway_cache::{Fills, Store};

use super::waits::{FillWaits, FillWakers, FillWakeups};
use crate::exchange::failure::Failure;

/// The cache of the process: its store, and the fills of all cores.
#[derive(Clone)]
pub struct SharedCache {
    store: Arc<Store>,
    fills: Fills<Failure>,
}

impl SharedCache {
    /// Returns the cache of a store, with the wakers of its cores.
    pub fn new(store: Arc<Store>, wakers: FillWakers) -> Self {
        Self { fills: Fills::new(store.clone(), Box::new(wakers)), store }
    }
}

/// Cache of one core.
pub(crate) struct CacheState {
    pub(crate) store: Arc<Store>,
    pub(super) fills: Fills<Failure>,
    pub(crate) waits: FillWaits,
    wakeups: FillWakeups,
    pub(super) keys: RefCell<Keys>,
}

/// Memory for the keys of one look-up.
#[derive(Default)]
pub(super) struct Keys {
    pub(super) primary: Vec<u8>,
    pub(super) variant: Vec<u8>,
}

impl CacheState {
    pub(crate) fn new(shared: SharedCache, wakeups: FillWakeups) -> Self {
        let SharedCache { store, fills } = shared;
        Self { store, fills, waits: FillWaits::default(), wakeups, keys: RefCell::default() }
    }

    /// Wakes the tasks whose fills have moved. To be called after each wake-up of the core.
    pub(crate) fn handle_wakeups(&self) {
        self.wakeups.handle(&self.waits);
    }
}

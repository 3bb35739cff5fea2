//! Variants of a resource whose response varies by request fields.
//!
//! The primary key holds the set, with the marker by which a request selects a variant; each variant is an
//! entry of its own, under a key with the marker's generation and the values of the fields. Without the set
//! no variant can be found.

use std::sync::Arc;

use super::account::Charge;
use super::partition::Partition;
use crate::entry::{Entry, WeakEntry};
use crate::limits;
use crate::sync::{AtomicBool, Mutex, Ordering, RwLock};
use crate::vary::{Marker, VaryNames};

/// Marker of a resource, and its variants.
#[derive(Debug)]
pub struct VariantSet {
    pub(crate) hash: u64,
    primary: Box<[u8]>,
    /// Replaced by one of the same generation that knows more languages.
    marker: RwLock<Arc<Marker>>,
    pub(crate) partition: Arc<Partition>,
    /// Set before it leaves the index; it is not put there again.
    is_dropped: AtomicBool,
    /// Those in the store, oldest first. Weak: the entries hold the marker.
    variants: Mutex<Vec<WeakEntry>>,
    _charge: Charge,
}

/// A set that was dropped takes no variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dropped;

impl VariantSet {
    pub(crate) fn new(
        (hash, primary): (u64, &[u8]),
        marker: Marker,
        partition: Arc<Partition>,
        charge: Charge,
    ) -> Self {
        Self {
            hash,
            primary: primary.into(),
            marker: RwLock::new(Arc::new(marker)),
            partition,
            is_dropped: AtomicBool::new(false),
            variants: Mutex::default(),
            _charge: charge,
        }
    }

    /// Fields that select a variant, and the generation in the keys.
    pub fn marker(&self) -> Arc<Marker> {
        self.marker.read().clone()
    }

    /// Replaces the marker by one of the same variants, which knows the language of a new one.
    pub fn set_marker(&self, marker: Marker) {
        let mut known = self.marker.write();
        if known.generation() == marker.generation() {
            *known = Arc::new(marker);
        }
    }

    /// Key under which it is found.
    pub fn primary(&self) -> &[u8] {
        &self.primary
    }

    /// Copies the variants: for their validators when none of them matches a request.
    pub fn variants(&self) -> Vec<Arc<Entry>> {
        self.variants.lock().iter().filter_map(WeakEntry::upgrade).collect()
    }

    /// Bytes of memory of a set, with room for languages.
    pub(crate) fn bytes(primary: &[u8], names: &VaryNames) -> u64 {
        (limits::VARIANT_SET_OVERHEAD_BYTES + primary.len() + names.heap_bytes()) as u64
    }

    /// Adds a variant. Returns the one that has to leave for it, when there are too many: the oldest that was
    /// not used, so that values that clients make up replace each other.
    pub(crate) fn add(&self, entry: &Arc<Entry>) -> Result<Option<Arc<Entry>>, Dropped> {
        let mut kept = self.variants.lock();
        if self.is_dropped() {
            return Err(Dropped);
        }
        let mut surplus = None;
        if kept.len() >= limits::VARIANTS_MAX {
            let entries: Vec<_> = kept.iter().map(WeakEntry::upgrade).collect();
            let is_used =
                |entry: &Option<Arc<Entry>>| entry.as_ref().is_some_and(|entry| entry.frequency() > 0);
            let place = entries.iter().position(|entry| !is_used(entry)).unwrap_or(0);
            kept.remove(place);
            surplus = entries.into_iter().nth(place).flatten();
        }
        kept.push(Arc::downgrade(entry));
        Ok(surplus)
    }

    /// Removes a variant; `true` when that was the last one: the set is dropped then.
    pub(crate) fn remove(&self, entry: &Arc<Entry>) -> bool {
        let mut kept = self.variants.lock();
        kept.retain(|variant| variant.as_ptr() != Arc::as_ptr(entry));
        kept.is_empty() && !self.is_dropped.swap(true, Ordering::AcqRel)
    }

    /// Drops the set, and returns its variants.
    pub(crate) fn drop_all(&self) -> Vec<Arc<Entry>> {
        let mut kept = self.variants.lock();
        self.is_dropped.store(true, Ordering::Release);
        std::mem::take(&mut *kept).iter().filter_map(WeakEntry::upgrade).collect()
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.is_dropped.load(Ordering::Acquire)
    }
}

#[cfg(all(test, not(loom)))]
#[path = "variant_set_tests.rs"]
mod tests;

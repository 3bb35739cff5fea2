//! Stored responses: an [`Entry`] is a key, a [`StoredHead`] and a shared [`Body`].

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use ringway_model::{Tick, Timestamp};

use crate::limits;
use crate::store::account::Charge;
use crate::store::insert::NewEntry;
use crate::store::partition::Partition;
use crate::store::variant_set::VariantSet;
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use crate::{KeyParts, StoredHead};

/// Stored response. Shared by the index, the queues of its scope, and those who serve it; immutable but for
/// the end of its freshness, which a soft purge moves, and the bookkeeping of eviction and refresh.
pub struct Entry {
    pub(crate) hash: u64,
    key: Box<[u8]>,
    asked: Option<Box<[u8]>>,
    epoch: u64,
    head: Arc<StoredHead>,
    body: Arc<Body>,
    pub(crate) partition: Arc<Partition>,
    /// Resource whose variant it is.
    pub(crate) variant_of: Option<Arc<VariantSet>>,
    fresh_until: AtomicU64,
    refresh: Refresh,
    /// Uses since it was last considered for eviction, up to [`FREQUENCY_MAX`].
    frequency: AtomicU8,
    /// Removed from the index, or about to be; never inserted again.
    is_retired: AtomicBool,
    /// Node of the partition's queues, changed under their lock only; [`NO_NODE`] outside of them.
    pub(crate) node: AtomicU32,
    _charge: Charge,
}

/// Content of a stored response. A 304 makes a new entry on the same body.
pub struct Body {
    chunks: Box<[Bytes]>,
    len: u64,
    coded: [OnceLock<Arc<Body>>; CODINGS],
    _charge: Charge,
}

/// Content coding in which a body may be kept beside itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `zstd`
    Zstd,
    /// `br`
    Brotli,
    /// `gzip`
    Gzip,
}

/// Parts of a new entry.
pub(crate) struct Parts {
    pub(crate) hash: u64,
    pub(crate) new: NewEntry,
    pub(crate) partition: Arc<Partition>,
}

impl Entry {
    pub(crate) fn new(parts: Parts, charge: Charge) -> Self {
        let Parts { hash, new, partition } = parts;
        let NewEntry { key, asked, epoch, head, body, variant_of } = new;
        Self {
            hash,
            key,
            asked,
            epoch,
            fresh_until: AtomicU64::new(head.fresh_until().0),
            head,
            body,
            partition,
            variant_of,
            refresh: Refresh::default(),
            frequency: AtomicU8::new(0),
            is_retired: AtomicBool::new(false),
            node: AtomicU32::new(NO_NODE),
            _charge: charge,
        }
    }

    /// The key, as [`write_key`](crate::write_key) or [`Marker::write_key`](crate::Marker::write_key) made
    /// it.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Host, target and scope of its key; `None` only for keys that this crate did not make.
    pub fn parts(&self) -> Option<KeyParts<'_>> {
        KeyParts::parse(&self.key)
    }

    /// Target that the client asked for, if the key has another one.
    pub fn asked(&self) -> Option<&[u8]> {
        self.asked.as_deref()
    }

    /// Epoch of the settings under which it was stored.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Status, field lines and freshness.
    pub fn head(&self) -> &Arc<StoredHead> {
        &self.head
    }

    /// Resource whose variant it is.
    pub fn variant_of(&self) -> Option<&Arc<VariantSet>> {
        self.variant_of.as_ref()
    }

    /// The content.
    pub fn body(&self) -> &Arc<Body> {
        &self.body
    }

    /// End of its freshness: that of its head, or the time of a soft purge.
    pub fn fresh_until(&self) -> Timestamp {
        Timestamp(self.fresh_until.load(Ordering::Relaxed))
    }

    /// Whole seconds of freshness that remain; negative past it.
    pub fn ttl(&self, now: Timestamp) -> i64 {
        crate::policy::ttl(self.fresh_until(), now)
    }

    /// Makes it stale from `now` on.
    pub(crate) fn expire(&self, now: Timestamp) {
        self.fresh_until.fetch_min(now.0, Ordering::Relaxed);
    }

    /// Begins a refresh in the background: `None` while another one runs, or within the pause after a failed
    /// one. The pause begins with one second and doubles up to half a minute.
    pub fn begin_refresh(self: &Arc<Self>, now: Tick) -> Option<RefreshPermit> {
        self.refresh.begin(now).then(|| RefreshPermit { entry: self.clone(), began: now })
    }

    /// Bytes of memory beside the body.
    pub(crate) fn own_bytes(new: &NewEntry) -> u64 {
        let asked = new.asked.as_ref().map_or(0, |asked| asked.len());
        let head = size_of::<StoredHead>() + new.head.heap_bytes();
        (limits::ENTRY_OVERHEAD_BYTES + new.key.len() + asked + head) as u64
    }

    /// Bytes that its eviction frees.
    pub(crate) fn bytes(&self) -> u64 {
        self._charge.amount().bytes + self.body._charge.amount().bytes
    }

    /// Counts a use. One relaxed load, and a store for the first few: a count that is lost to another core's
    /// changes nothing.
    #[inline]
    pub(crate) fn touch(&self) {
        let frequency = self.frequency();
        if frequency < FREQUENCY_MAX {
            self.set_frequency(frequency + 1);
        }
    }

    pub(crate) fn frequency(&self) -> u8 {
        self.frequency.load(Ordering::Relaxed)
    }

    pub(crate) fn set_frequency(&self, frequency: u8) {
        self.frequency.store(frequency, Ordering::Relaxed);
    }

    /// Marks it as removed; `false` if it was. The thread that gets `true` removes it from all tables.
    pub(crate) fn mark_retired(&self) -> bool {
        !self.is_retired.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Acquire)
    }

    /// Whether it was purged, or removed for another reason. What its origin confirms then is not stored
    /// again: its body was requested before the purge.
    pub fn is_removed(&self) -> bool {
        self.is_retired() || self.partition.is_retired()
    }
}

impl fmt::Debug for Entry {
    /// Omits key and head: both may have personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("status", &self.head.status())
            .field("bytes", &self.bytes())
            .field("frequency", &self.frequency())
            .field("is_retired", &self.is_retired())
            .finish_non_exhaustive()
    }
}

impl Body {
    pub(crate) fn new(chunks: Vec<Bytes>, charge: Charge) -> Self {
        let len = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Self { chunks: chunks.into(), len, coded: [const { OnceLock::new() }; CODINGS], _charge: charge }
    }

    /// Chunks of [`limits::CHUNK_BYTES`], the last one shorter; none for an empty body.
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The same content in a coding, if it was kept.
    pub fn coded(&self, coding: Coding) -> Option<&Arc<Self>> {
        self.coded[coding as usize].get()
    }

    /// Keeps the same content in a coding, and returns what is kept: the first of two.
    pub(crate) fn keep_coded(&self, coding: Coding, body: Self) -> &Arc<Self> {
        self.coded[coding as usize].get_or_init(|| Arc::new(body))
    }

    /// Bytes of memory of chunks with these lengths together, beside the entry.
    pub(crate) fn bytes_of(content: u64, chunks: usize) -> u64 {
        content + (limits::BODY_OVERHEAD_BYTES + chunks * limits::CHUNK_OVERHEAD_BYTES) as u64
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("len", &self.len).finish_non_exhaustive()
    }
}

/// Refreshes of an entry: at most one at a time, with pauses after failed ones.
#[derive(Debug, Default)]
struct Refresh {
    /// Time before which none begins; [`Tick::NEVER`] while one runs.
    not_before: AtomicU64,
    failures: AtomicU8,
}

impl Refresh {
    fn begin(&self, now: Tick) -> bool {
        let not_before = self.not_before.load(Ordering::Relaxed);
        not_before <= now.0
            && self
                .not_before
                .compare_exchange(not_before, Tick::NEVER.0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    fn fail(&self, now: Tick) {
        let failures = self.failures.load(Ordering::Relaxed);
        self.failures.store(failures.saturating_add(1), Ordering::Relaxed);
        let pause = limits::REFRESH_PAUSE.saturating_mul(1 << failures.min(REFRESH_DOUBLINGS));
        self.not_before.store(now.after(pause.min(limits::REFRESH_PAUSE_MAX)).0, Ordering::Relaxed);
    }
}

/// Right to refresh an entry. A refresh that succeeds replaces the entry, and this with it; dropped, it
/// counts as a failed one.
#[derive(Debug)]
#[must_use = "dropped, it counts as a failed refresh"]
pub struct RefreshPermit {
    entry: Arc<Entry>,
    began: Tick,
}

impl RefreshPermit {
    /// The entry to refresh.
    pub fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// Ends a failed refresh: the pause begins `now`.
    pub fn fail(mut self, now: Tick) {
        self.began = now;
    }
}

impl Drop for RefreshPermit {
    fn drop(&mut self) {
        self.entry.refresh.fail(self.began);
    }
}

/// Variant of a set: the entry holds the set.
pub(crate) type WeakEntry = Weak<Entry>;

/// No node of the queues.
pub(crate) const NO_NODE: u32 = u32::MAX;
/// Uses that are counted: S3-FIFO needs two bits.
const FREQUENCY_MAX: u8 = 3;
/// Number of [`Coding`]s.
const CODINGS: usize = 3;
/// Doublings of the pause that reach the longest.
const REFRESH_DOUBLINGS: u8 = 5;

const _: () = assert!(
    limits::REFRESH_PAUSE_MAX.as_secs() <= Duration::from_secs(1).as_secs() << REFRESH_DOUBLINGS,
    "the doublings reach the longest pause"
);

#[cfg(all(test, not(loom)))]
#[path = "entry_tests.rs"]
mod tests;

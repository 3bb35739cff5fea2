//! Table of the debts of all rate limits: one for the process, shared by all cores, without a lock.
//!
//! ```text
//! key ─ keyed hash ─► set: one cache line of 8 words ─► word: fingerprint (20 bits) │ TAT in µs (44 bits)
//! ```
//! A key is in debt until its theoretical arrival time (TAT). A TAT that has passed equals no entry: nothing
//! expires, and nothing is swept. A new key takes a free word; in a full set it evicts the key with the least
//! debt, which so gets its burst back. A request that is refused writes nothing: cores that refuse the same
//! key share its cache line.
//!
//! | inexact                                           | effect                                             |
//! |---------------------------------------------------|----------------------------------------------------|
//! | two cores insert the same key at the same moment  | one request more than the limit, for each core more |
//! | more than 8 keys in debt in one set               | the one with the least debt begins again; counted  |
//! | two keys of a set have the same fingerprint       | they share a limit: one pair of keys in 10⁵        |
//! | a key that was not used for 200 days              | begins with its burst used up                      |
//!
//! The clock of 44 bits goes round after 203 days. A TAT counts as passed while it lies behind by less than
//! half of that; words that may lie longer are cleared when a key is inserted into their set.

use std::fmt;
use std::sync::OnceLock;
#[cfg(not(all(test, loom)))]
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::RandomState;
#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicU64, Ordering};

use crate::limits;

/// Debts of the keys of all rate limits. All methods may be called from any thread at any time.
///
/// All accesses are relaxed: each word is complete in itself and publishes no other memory.
pub struct RateLimitTable {
    hash: RandomState,
    sets: OnceLock<Box<[Set]>>,
    sets_max: usize,
    evictions: AtomicU64,
}

/// Hash of a limit and the parts of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub(crate) u64);

/// Words of the keys whose hashes end alike. The first free word is used first, so that concurrent insertions
/// of one key meet at it.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Set([AtomicU64; WAYS]);

impl fmt::Debug for RateLimitTable {
    /// Omits the secret and the words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitTable").field("evictions", &self.evictions()).finish_non_exhaustive()
    }
}

impl Default for RateLimitTable {
    fn default() -> Self {
        Self::with_words(limits::RATE_LIMIT_WORDS)
    }
}

impl RateLimitTable {
    fn with_words(words: usize) -> Self {
        let sets_max = (words / WAYS).max(1).next_power_of_two();
        Self { hash: RandomState::new(), sets: OnceLock::new(), sets_max, evictions: AtomicU64::new(0) }
    }

    /// Hasher of keys, with a secret of this process: a client cannot choose keys of one set.
    pub(crate) fn hash(&self) -> &RandomState {
        &self.hash
    }

    /// Key of a text in the limit of a scope of its own, such as a namespace and a name: no other scope and
    /// text give the same bytes to hash.
    pub fn text_key(&self, scope: (&str, &str), text: &[u8]) -> Key {
        Key(self.hash.hash_one((scope, text)))
    }

    /// Allocates the words, unless that is done. Takes milliseconds: to be called before a core needs them.
    pub fn prepare(&self) {
        self.sets();
    }

    /// Keys that lost their debt to another key because their set was full.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// Debt of a key at `now_us`.
    pub(super) fn debt(&self, key: Key, now_us: u64) -> u64 {
        let (set, fingerprint) = self.set_of(key);
        set.find(fingerprint).map_or(0, |place| Now::at(now_us).debt(place.word))
    }

    /// Changes the debt of a key. `change` gets the debt at `now_us` and the clock, and returns the new debt;
    /// with an error, nothing is written. It may be called more than once.
    ///
    /// Linearizable for a key that is in the table. About 40 ns for a key that other cores use, too.
    pub(super) fn update<T, E>(
        &self,
        key: Key,
        now_us: u64,
        change: impl Fn(u64, Now) -> Result<(u64, T), E>,
    ) -> Result<T, E> {
        let (now, (set, fingerprint)) = (Now::at(now_us), self.set_of(key));
        loop {
            let place = set.find(fingerprint).unwrap_or_else(|| set.place_for(fingerprint, now));
            let debt = if place.is_of_key { now.debt(place.word) } else { 0 };
            let (debt, result) = change(debt, now)?;
            let word = fingerprint << TAT_BITS | now.after(debt.min(limits::RATE_LIMIT_DEBT_US_MAX));
            if place.store(word) {
                if !place.is_of_key && now.debt(place.word) > 0 {
                    self.evictions.fetch_add(1, Ordering::Relaxed);
                }
                return Ok(result);
            }
            // Another core was faster: its word counts.
        }
    }

    /// Set and fingerprint of a key. No fingerprint is zero: a free word has none.
    fn set_of(&self, key: Key) -> (&Set, u64) {
        let sets = self.sets();
        (&sets[key.0 as usize & (sets.len() - 1)], (key.0 >> TAT_BITS).max(1))
    }

    fn sets(&self) -> &[Set] {
        self.sets.get_or_init(|| (0..self.sets_max).map(|_| Set::default()).collect())
    }
}

/// Time in microseconds, of the bits that a word has for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now(u64);

impl Now {
    fn at(now_us: u64) -> Self {
        Self(now_us & TAT_MASK)
    }

    /// Time that lies ahead by this much.
    pub(super) fn after(self, debt_us: u64) -> u64 {
        self.0.wrapping_add(debt_us) & TAT_MASK
    }

    /// Debt of a word; none when its TAT has passed.
    fn debt(self, word: u64) -> u64 {
        let ahead = word.wrapping_sub(self.0) & TAT_MASK;
        if word == FREE || ahead > limits::RATE_LIMIT_DEBT_US_MAX { 0 } else { ahead }
    }
}

/// A word of a set, as it was read.
struct Place<'a> {
    at: &'a AtomicU64,
    word: u64,
    /// The word belongs to the key; else it is free, or another key is to be evicted.
    is_of_key: bool,
}

impl Place<'_> {
    /// Stores a word; false when another core has changed it.
    fn store(&self, word: u64) -> bool {
        self.at.compare_exchange(self.word, word, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Set {
    /// Finds the word of a key. One cache line is read.
    #[inline]
    fn find(&self, fingerprint: u64) -> Option<Place<'_>> {
        self.0.iter().find_map(|at| {
            let word = at.load(Ordering::Relaxed);
            (word >> TAT_BITS == fingerprint).then_some(Place { at, word, is_of_key: true })
        })
    }

    /// Finds the word that a new key gets, the first free one or else that with the least debt, unless
    /// another core has inserted the key meanwhile. Clears others whose TAT has passed: in a hundred days it
    /// would seem to lie ahead.
    #[cold]
    fn place_for(&self, fingerprint: u64, now: Now) -> Place<'_> {
        let mut best: Option<(u64, Place<'_>)> = None;
        for at in &self.0 {
            let word = at.load(Ordering::Relaxed);
            let is_of_key = word >> TAT_BITS == fingerprint;
            let (place, debt) = (Place { at, word, is_of_key }, now.debt(word));
            if is_of_key {
                return place;
            }
            match &best {
                Some((least, _)) if *least <= debt => {
                    if debt == 0 && place.word != FREE {
                        // One that is used at this moment stays.
                        place.store(FREE);
                    }
                }
                _ => best = Some((debt, place)),
            }
        }
        best.expect("a set has words").1
    }
}

/// Words of a set: a cache line.
const WAYS: usize = 8;
/// Bits of a word for the TAT.
const TAT_BITS: u32 = 44;
const TAT_MASK: u64 = (1 << TAT_BITS) - 1;
/// Word without a key.
const FREE: u64 = 0;

#[cfg(all(test, not(loom)))]
#[path = "table_tests.rs"]
mod tests;

#[cfg(all(test, loom))]
#[path = "models.rs"]
mod models;

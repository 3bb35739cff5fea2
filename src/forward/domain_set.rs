//! Set of domain rules as keyed hashes of suffixes: about 12 bytes a rule, two cache lines for a miss.
//!
//! ```text
//! host  a.b.c ─► hashes of a.b.c, b.c, c ─► Bloom word ─► line of eight slots ─► flags of the rule
//! ```
//! A slot has 60 bits of the hash and four flags: {the domain itself, domains below it} × {allow, block}. The
//! key is drawn per process, so that no name can be chosen to collide; a false match has a chance
//! below 1e-11 per lookup.

use std::fmt;

use ahash::RandomState;
use ringway_model::ListAction;

/// Key of the hashes; all sets that are asked together share one.
#[derive(Clone, Debug)]
pub struct SuffixKey(RandomState);

/// Immutable set of domain rules.
pub struct DomainSet {
    key: SuffixKey,
    lines: Box<[Line]>,
    /// 12.8 bits a rule: most names that no rule has end here.
    filter: Box<[u64]>,
    rules: usize,
    labels_min: u8,
    labels_max: u8,
}

/// Cache line of slots.
#[repr(align(64))]
#[derive(Clone, Copy)]
struct Line([u64; SLOTS]);

/// Rules of one suffix: a set of four flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules(u8);

impl Rules {
    /// No rule.
    pub const NONE: Self = Self(0);

    /// A rule for the domain itself.
    pub fn exact(action: ListAction) -> Self {
        Self(Self::bit(action))
    }

    /// A rule for the domains below it.
    pub fn below(action: ListAction) -> Self {
        Self(Self::bit(action) << 2)
    }

    /// Both.
    pub fn both(action: ListAction) -> Self {
        Self::exact(action).and(Self::below(action))
    }

    /// The rules of both sets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Action for the domain itself; block before allow.
    pub fn of_domain(self) -> Option<ListAction> {
        Self::action(self.0)
    }

    /// Action for a domain below it; block before allow.
    pub fn of_subdomain(self) -> Option<ListAction> {
        Self::action(self.0 >> 2)
    }

    fn bit(action: ListAction) -> u8 {
        match action {
            ListAction::Block => 1,
            ListAction::Allow => 2,
        }
    }

    fn action(bits: u8) -> Option<ListAction> {
        match bits & 3 {
            0 => None,
            2 => Some(ListAction::Allow),
            _ => Some(ListAction::Block),
        }
    }
}

impl SuffixKey {
    /// Draws a key.
    pub fn random() -> Self {
        Self(RandomState::new())
    }

    /// Hash of a suffix, for [`DomainSet::get`].
    #[inline]
    pub fn hash(&self, suffix: &[u8]) -> u64 {
        self.0.hash_one(suffix)
    }
}

impl DomainSet {
    /// Builds a set of at most `count` rules: normal names in lower case, and their rules. About 0.3 s for a
    /// million.
    pub fn build<'a>(key: &SuffixKey, rules: impl Iterator<Item = (&'a str, Rules)>, count: usize) -> Self {
        let lines = (count * 5 / 4).div_ceil(SLOTS).max(1) + 1;
        let mut set = Self {
            key: key.clone(),
            lines: vec![Line([0; SLOTS]); lines].into_boxed_slice(),
            filter: vec![0; count / 5 + 1].into_boxed_slice(),
            rules: 0,
            labels_min: u8::MAX,
            labels_max: 0,
        };
        // A line stays free at all times: a search for a missing suffix ends.
        let slots_max = (lines - 1) * SLOTS;
        for (domain, rules) in rules {
            if set.rules == slots_max {
                break;
            }
            set.insert(domain, rules);
        }
        set
    }

    fn insert(&mut self, domain: &str, rules: Rules) {
        let labels = labels(domain.as_bytes());
        self.labels_min = self.labels_min.min(labels);
        self.labels_max = self.labels_max.max(labels);
        let hash = self.key.hash(domain.as_bytes());
        let tag = tag(hash);
        self.filter[place(hash.rotate_left(32), self.filter.len())] |= filter_bits(hash);
        let mut at = place(hash, self.lines.len());
        loop {
            for slot in &mut self.lines[at].0 {
                if *slot == 0 {
                    *slot = tag | u64::from(rules.0);
                    self.rules += 1;
                    return;
                }
                if *slot & TAG == tag {
                    *slot |= u64::from(rules.0);
                    return;
                }
            }
            at = (at + 1) % self.lines.len();
        }
    }

    /// Rules of the suffix with this hash.
    #[inline]
    pub fn get(&self, hash: u64) -> Rules {
        let bits = filter_bits(hash);
        if self.filter[place(hash.rotate_left(32), self.filter.len())] & bits != bits {
            return Rules::NONE;
        }
        let tag = tag(hash);
        let mut at = place(hash, self.lines.len());
        loop {
            let line = &self.lines[at].0;
            for &slot in line {
                if slot & TAG == tag {
                    return Rules((slot & !TAG) as u8);
                }
            }
            if line[SLOTS - 1] == 0 {
                return Rules::NONE;
            }
            at = if at + 1 == self.lines.len() { 0 } else { at + 1 };
        }
    }

    /// Whether a rule may have this number of labels.
    #[inline]
    pub fn may_have(&self, labels: u8) -> bool {
        labels >= self.labels_min && labels <= self.labels_max
    }

    /// Action for a host: that of its longest suffix with a rule. Up to 250 ns among a million rules.
    pub fn find(&self, host: &str) -> Option<ListAction> {
        suffixes(host).find_map(|(suffix, labels)| {
            if !self.may_have(labels) {
                return None;
            }
            let rules = self.get(self.key.hash(suffix.as_bytes()));
            if suffix.len() == host.len() { rules.of_domain() } else { rules.of_subdomain() }
        })
    }

    /// Number of different domains with rules.
    pub fn len(&self) -> usize {
        self.rules
    }

    /// Whether it has no rules.
    pub fn is_empty(&self) -> bool {
        self.rules == 0
    }

    /// Bytes of its tables.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.lines) + size_of_val(&*self.filter)
    }
}

impl fmt::Debug for DomainSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DomainSet").field("rules", &self.rules).field("bytes", &self.bytes()).finish()
    }
}

/// The host and its parents, the longest first, with their numbers of labels.
#[inline]
pub(crate) fn suffixes(host: &str) -> impl Iterator<Item = (&str, u8)> {
    let mut rest = Some((host, labels(host.as_bytes())));
    std::iter::from_fn(move || {
        let (suffix, labels) = rest?;
        rest = suffix.split_once('.').map(|(_, parent)| (parent, labels.saturating_sub(1)));
        Some((suffix, labels))
    })
}

fn labels(domain: &[u8]) -> u8 {
    // 253 bytes at most: 127 labels.
    1 + domain.iter().filter(|&&byte| byte == b'.').count().min(254) as u8
}

/// The part of the hash in a slot; never zero, which is a free slot.
fn tag(hash: u64) -> u64 {
    (hash & TAG) | (u64::from(hash & TAG == 0) << FLAG_BITS)
}

/// Evenly distributed position of a hash.
fn place(hash: u64, len: usize) -> usize {
    ((u128::from(hash) * len as u128) >> 64) as usize
}

fn filter_bits(hash: u64) -> u64 {
    1 << (hash & 63) | 1 << (hash >> 6 & 63) | 1 << (hash >> 12 & 63) | 1 << (hash >> 18 & 63)
}

/// Slots of a cache line of 64 bytes.
const SLOTS: usize = 8;
/// Bits of the flags of a rule.
const FLAG_BITS: u32 = 4;
/// Bits of the hash in a slot.
const TAG: u64 = !0 << FLAG_BITS;

#[cfg(test)]
#[path = "domain_set_tests.rs"]
mod tests;

//! State of a plan that outlives snapshots: its weight in force, and counts of both variants.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use ringway_model::{CanaryState, Percent, Variant};

use crate::brake::Totals;
use crate::tally::Counts;
use crate::verdict::Verdict;

/// State of one plan, shared with all snapshots that have it.
///
/// The control thread writes the position, which every request of the plan reads; each core counts on a line
/// of its own, allocated with the first attempt.
#[derive(Debug)]
pub struct PlanState {
    /// Steps taken, [`BRAKED`], and a weight above [`WEIGHT_SHIFT`] with [`SET`].
    position: AtomicU32,
    cores: usize,
    lines: OnceLock<Box<[Line]>>,
}

/// One core's counters. 128 bytes: some processors fetch cache lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line {
    stable: Pair,
    canary: Pair,
    fallbacks: AtomicU64,
}

#[derive(Debug, Default)]
struct Pair {
    successes: AtomicU64,
    failures: AtomicU64,
}

/// Progress of a canary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Number of steps taken.
    pub step: u8,
    /// Whether it gets no requests by weight.
    pub is_braked: bool,
    /// Weight in place of the plan's, where an operator has set one.
    pub weight: Option<Percent>,
}

impl PlanState {
    /// Returns the state of a plan at a position, without counts.
    pub fn new(cores: usize, position: Position) -> Self {
        Self { position: AtomicU32::new(position.bits()), cores, lines: OnceLock::new() }
    }

    /// The position in force. A relaxed load.
    #[inline]
    pub fn position(&self) -> Position {
        Position::of(self.position.load(Ordering::Relaxed))
    }

    /// Sets the position: in force on all cores at once, for their next requests. For the control thread.
    pub fn set_position(&self, position: Position) {
        self.position.store(position.bits(), Ordering::Relaxed);
    }

    /// Counts an attempt of a variant; a neutral one is not counted. Called by core number `core` only.
    #[inline]
    pub fn count(&self, core: usize, variant: Variant, verdict: Verdict) {
        let Some(line) = self.line(core) else { return };
        let pair = match variant {
            Variant::Stable => &line.stable,
            Variant::Canary => &line.canary,
            // Cohorts are chosen, not drawn: their requests may differ from all others.
            Variant::Cohort => return,
        };
        match verdict {
            Verdict::Success => add_one(&pair.successes),
            Verdict::Failure => add_one(&pair.failures),
            Verdict::Neutral => {}
        }
    }

    /// Counts a request that the stable variant took because the canary had no available endpoint.
    pub fn count_fallback(&self, core: usize) {
        if let Some(line) = self.line(core) {
            add_one(&line.fallbacks);
        }
    }

    /// Attempts of both variants on all cores since the state was made. Reads every core's line.
    pub fn totals(&self) -> Totals {
        self.lines().iter().fold(Totals::default(), |sum, line| Totals {
            stable: line.stable.add_to(sum.stable),
            canary: line.canary.add_to(sum.canary),
        })
    }

    /// Requests that fell back to the stable variant.
    pub fn fallbacks(&self) -> u64 {
        self.lines().iter().map(|line| line.fallbacks.load(Ordering::Relaxed)).sum()
    }

    fn lines(&self) -> &[Line] {
        self.lines.get().map_or(&[], |lines| lines)
    }

    #[inline]
    fn line(&self, core: usize) -> Option<&Line> {
        let lines = self.lines.get_or_init(|| (0..self.cores).map(|_| Line::default()).collect());
        debug_assert!(core < lines.len(), "core {core} of {}", lines.len());
        lines.get(core)
    }
}

impl Position {
    fn bits(self) -> u32 {
        let weight = |weight: Percent| SET | u32::from(weight.hundredths()) << WEIGHT_SHIFT;
        u32::from(self.step) | if self.is_braked { BRAKED } else { 0 } | self.weight.map_or(0, weight)
    }

    fn of(bits: u32) -> Self {
        let weight = (bits & SET != 0).then_some((bits >> WEIGHT_SHIFT) as u16);
        Self {
            step: bits as u8,
            is_braked: bits & BRAKED != 0,
            weight: weight.and_then(Percent::from_hundredths),
        }
    }
}

impl From<&CanaryState> for Position {
    fn from(state: &CanaryState) -> Self {
        Self {
            step: state.step,
            is_braked: state.braked.is_some(),
            weight: state.set_weight.as_ref().map(|set| set.weight),
        }
    }
}

impl Pair {
    fn add_to(&self, sum: Counts) -> Counts {
        Counts {
            successes: sum.successes + self.successes.load(Ordering::Relaxed),
            failures: sum.failures + self.failures.load(Ordering::Relaxed),
        }
    }
}

/// Adds one by a load and a store instead of an atomic addition: a line has one writer.
#[inline]
fn add_one(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

const BRAKED: u32 = 1 << 8;
const SET: u32 = 1 << 9;
const WEIGHT_SHIFT: u32 = 16;

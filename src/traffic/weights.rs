//! Order in which endpoints of unlike weights get requests: a precomputed cycle.
//!
//! Each endpoint has its share in every part of the cycle, so that a heavy one gets no bursts: after `k`
//! picks from the start, it has had less than one more or less than `k · weight / sum`. The picks of an
//! endpoint have windows, `[⌊j / share⌋, ⌈(j + 1) / share⌉)` for the `j`th, and the earliest deadline of an
//! open window comes first; on one resource that meets all deadlines (Baruah et al., Proportionate Progress,
//! 1996).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::limits::SEQUENCE_LENGTH_MAX;

/// Cycle of endpoints, by their index in the pool. Never empty, and without endpoints of weight 0.
#[derive(Debug, PartialEq, Eq)]
pub struct Sequence(Box<[u16]>);

/// Shares of the endpoints of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shares {
    /// All have the same.
    Equal,
    /// Each has its weight's part. A sum beyond 4,096, once common factors are removed, is scaled down to
    /// it; each weight above 0 keeps a share of one at least.
    Weighted(Arc<Sequence>),
    /// All weights are 0: no endpoint takes a request.
    None,
}

impl Shares {
    /// Returns the shares of endpoints with these weights. Cost: a fifth of a millisecond at most.
    pub fn new(weights: &[u16]) -> Self {
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            return match weights.first() {
                Some(0) => Self::None,
                _ => Self::Equal,
            };
        }
        Self::Weighted(Arc::new(Sequence::new(&scaled(weights))))
    }
}

impl Sequence {
    /// Number of picks until the cycle begins again.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Index of the endpoint at a position of the cycle.
    #[inline]
    pub(crate) fn at(&self, position: usize) -> usize {
        self.0[position % self.0.len()].into()
    }

    /// Position at which a core starts: cores that start together would all begin with the same endpoints.
    /// Multiples of the golden ratio are spread evenly, however many there are.
    pub(crate) fn start_of(&self, core: u16) -> usize {
        const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;
        let fraction = u64::from(core).wrapping_mul(GOLDEN_RATIO);
        ((u128::from(fraction) * self.0.len() as u128) >> 64) as usize
    }

    fn new(weights: &[u64]) -> Self {
        let sum: u64 = weights.iter().sum();
        // Windows by their begin, and those that have begun by their end.
        let mut later: BinaryHeap<Reverse<(u64, usize, u64)>> = BinaryHeap::new();
        let mut open = BinaryHeap::new();
        for (index, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0) {
            open.push(Reverse((sum.div_ceil(*weight), index, 0_u64)));
        }
        let mut cycle = Vec::with_capacity(sum as usize);
        for position in 0..sum {
            while let Some(Reverse((begin, index, picks))) = later.peek().copied()
                && begin <= position
            {
                later.pop();
                open.push(Reverse((((picks + 1) * sum).div_ceil(weights[index]), index, picks)));
            }
            // There is one at each position: the shares of all add up to it.
            let Some(Reverse((_, index, picks))) = open.pop() else { continue };
            cycle.push(index as u16);
            let picks = picks + 1;
            if picks < weights[index] {
                later.push(Reverse((picks * sum / weights[index], index, picks)));
            }
        }
        Self(cycle.into())
    }
}

/// Divides weights by their common factor, and scales them so that their sum is no longer than a sequence.
fn scaled(weights: &[u16]) -> Vec<u64> {
    let factor = weights.iter().fold(0, |factor, weight| gcd(factor, u64::from(*weight))).max(1);
    let mut weights: Vec<u64> = weights.iter().map(|weight| u64::from(*weight) / factor).collect();
    let sum: u64 = weights.iter().sum();
    if sum <= SEQUENCE_LENGTH_MAX {
        return weights;
    }
    for weight in weights.iter_mut().filter(|weight| **weight > 0) {
        *weight = (*weight * SEQUENCE_LENGTH_MAX / sum).max(1);
    }
    weights
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
#[path = "weights_tests.rs"]
mod tests;

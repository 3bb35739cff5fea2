//! Verdict on a trial from request counts: whether its core fails more requests than the others. Pure.
//!
//! A rate of failures is worse when it is higher by a percentage point, and by four standard errors, than
//! that of the other cores now and than that of the minute before. Failures come in bursts: the variance is
//! multiplied by the dispersion of the minute before. Simulated (`gate_tests.rs`): of harmless changes below
//! 1 % are reverted, while half of all requests failing is found within seconds.

use super::Tally;

/// Request counts that a trial is compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Baseline {
    /// Sum over all cores.
    pub(crate) total: Tally,
    /// Variance of the failures per core and second, relative to that of independent failures; at least 1.
    pub(crate) dispersion: f64,
}

impl Default for Baseline {
    fn default() -> Self {
        Self { total: Tally::default(), dispersion: 1.0 }
    }
}

impl Baseline {
    /// Summarises counts per core and second.
    pub(crate) fn new(cells: impl Iterator<Item = Tally> + Clone) -> Self {
        let mut total = Tally::default();
        cells.clone().for_each(|cell| total.add(cell));
        let rate = total.rate();
        let busy = cells.filter(|cell| cell.requests > 0);
        let (mut sum, mut count) = (0.0, 0.0);
        for cell in busy {
            let expected = cell.requests as f64 * rate;
            sum += (cell.errors as f64 - expected).powi(2) / (expected * (1.0 - rate)).max(1e-9);
            count += 1.0;
        }
        Self { total, dispersion: if count > 0.0 { (sum / count).max(1.0) } else { 1.0 } }
    }
}

/// Comparison of a trial's counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Comparison {
    /// Whether the trial is worse.
    pub(crate) is_worse: bool,
    /// The lower of the z scores; `None` without enough requests to compare.
    pub(crate) z: Option<f64>,
}

/// Compares the requests of the trial's core with those of the other cores at the same time, and with the
/// minute before. Either comparison is left out when it has too few requests; without both there is none.
pub(crate) fn compare(trial: Tally, others: Tally, before: &Baseline) -> Comparison {
    let mut references = Vec::with_capacity(2);
    if others.requests >= REQUESTS_MIN {
        references.push(others);
    }
    if before.total.requests >= REQUESTS_MIN {
        // The others may have changed too: their requests count as well.
        let mut total = before.total;
        total.add(others);
        references.push(total);
    }
    if fails_alone(trial, others, before.total) {
        return Comparison { is_worse: true, z: None };
    }
    if trial.requests < REQUESTS_MIN || references.is_empty() {
        return Comparison { is_worse: false, z: None };
    }
    let is_over = |reference: &Tally| trial.rate() - reference.rate() > RATE_MARGIN;
    let z = references.iter().map(|reference| z(trial, *reference, before.dispersion));
    let z = z.fold(f64::INFINITY, f64::min);
    let is_worse = trial.errors >= ERRORS_MIN && references.iter().all(is_over) && z > Z_MIN;
    Comparison { is_worse, z: Some(z) }
}

/// Whether every request of the trial failed, and hardly any elsewhere: too few to compare rates, and enough
/// to see that nothing works.
fn fails_alone(trial: Tally, others: Tally, before: Tally) -> bool {
    let works = |tally: Tally| tally.requests >= ERRORS_MIN && tally.errors * 10 <= tally.requests;
    let fails = |tally: Tally| tally.requests > 0 && !works(tally);
    trial.errors >= ERRORS_MIN
        && trial.errors == trial.requests
        && (works(others) || works(before))
        && !(fails(others) && others.requests >= ERRORS_MIN)
}

/// Difference of two rates in standard errors (Agresti and Caffo, one more success and failure in each).
fn z(trial: Tally, reference: Tally, dispersion: f64) -> f64 {
    let variance = |tally: Tally| tally.rate() * (1.0 - tally.rate()) / (tally.requests as f64 + 2.0);
    let error = (dispersion * (variance(trial) + variance(reference))).sqrt();
    (trial.rate() - reference.rate()) / error
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.errors += other.errors;
    }

    /// Counts since an earlier reading of the same counters.
    pub(crate) fn since(self, earlier: Self) -> Self {
        let requests = self.requests.saturating_sub(earlier.requests);
        Self { requests, errors: self.errors.saturating_sub(earlier.errors).min(requests) }
    }

    /// Estimated rate of failures, never 0 or 1.
    fn rate(self) -> f64 {
        (self.errors as f64 + 1.0) / (self.requests as f64 + 2.0)
    }
}

/// Requests without which a count is not compared.
const REQUESTS_MIN: u64 = 20;
/// Failed requests without which a trial is not worse: a handful of requests proves nothing.
const ERRORS_MIN: u64 = 5;
/// Least difference of the rates: a smaller one is significant at high load, and harmless.
const RATE_MARGIN: f64 = 0.01;
/// Least difference in standard errors.
const Z_MIN: f64 = 4.0;

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;

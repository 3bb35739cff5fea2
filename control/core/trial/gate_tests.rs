//! The gate on simulated traffic: rates of wrong and right verdicts, by fixed seeds.

use super::*;

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 50.0 {
            let normal =
                (-2.0 * self.unit().max(1e-300).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
            return (mean + mean.sqrt() * normal).round().max(0.0) as u64;
        }
        let (limit, mut count, mut product) = ((-mean).exp(), 0, 1.0);
        loop {
            product *= self.unit();
            if product < limit {
                return count;
            }
            count += 1;
        }
    }

    /// Requests of a core in a time, of which some fail, in bursts.
    fn cell(&mut self, traffic: Traffic, seconds: f64) -> Tally {
        let requests = self.poisson(traffic.rps * seconds);
        let bursts = self.poisson(requests as f64 * traffic.failing / traffic.burst as f64);
        Tally { requests, errors: requests.min(traffic.burst * bursts) }
    }
}

/// Requests per second of one core, the share of them that fails, and how many fail at once.
#[derive(Clone, Copy)]
struct Traffic {
    rps: f64,
    failing: f64,
    burst: u64,
}

/// Result of many simulated trials.
#[derive(Debug)]
struct Rates {
    reverted: f64,
    /// Of the reverted ones, in seconds.
    median: f64,
}

const BAKE: f64 = 15.0;
/// Interval of the readings.
const STEP: f64 = 0.25;

/// Runs 400 trials of a change that makes the share `failing` of requests fail.
fn simulate(cores: usize, traffic: Traffic, failing: f64) -> Rates {
    const RUNS: u64 = 400;
    let mut found = Vec::new();
    for seed in 0..RUNS {
        let mut rng = Rng(seed * 1_000_003);
        let cells: Vec<Tally> = (0..60 * cores).map(|_| rng.cell(traffic, 1.0)).collect();
        let before = Baseline::new(cells.iter().copied());
        let (mut trial, mut others) = (Tally::default(), Tally::default());
        let mut at = 0.0;
        while at < BAKE {
            at += STEP;
            trial.add(rng.cell(Traffic { failing, ..traffic }, STEP));
            for _ in 1..cores {
                others.add(rng.cell(traffic, STEP));
            }
            if compare(trial, others, &before).is_worse {
                found.push(at);
                break;
            }
        }
    }
    found.sort_by(f64::total_cmp);
    Rates {
        reverted: found.len() as f64 / RUNS as f64,
        median: found.get(found.len() / 2).copied().unwrap_or(f64::NAN),
    }
}

#[test]
fn harmless_changes_stay() {
    for cores in [1, 2, 4] {
        for rps in [5.0, 50.0, 500.0] {
            for failing in [0.001, 0.01, 0.05] {
                let rates = simulate(cores, Traffic { rps, failing, burst: 1 }, failing);
                assert!(rates.reverted <= 0.005, "{cores} cores, {rps}/s, {failing}: {rates:?}");
            }
        }
    }
}

#[test]
fn harmless_changes_stay_when_failures_come_in_bursts() {
    for cores in [2, 4] {
        for rps in [5.0, 50.0, 500.0] {
            for failing in [0.001, 0.01, 0.05] {
                for (burst, limit) in [(10, 0.04), (50, 0.08)] {
                    let rates = simulate(cores, Traffic { rps, failing, burst }, failing);
                    assert!(
                        rates.reverted <= limit,
                        "{cores} cores, {rps}/s, {failing} by {burst}: {rates:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn bad_changes_are_found() {
    let found = |cores, rps, failing, within: f64| {
        let rates = simulate(cores, Traffic { rps, failing: 0.001, burst: 1 }, failing);
        assert!(rates.reverted >= 0.99 && rates.median <= within, "{cores}, {rps}/s, {failing}: {rates:?}");
    };
    for cores in [1, 2, 4] {
        // Five requests a second need four seconds to be enough.
        found(cores, 5.0, 0.5, 5.0);
        found(cores, 5.0, 1.0, 5.0);
        found(cores, 50.0, 0.5, 1.0);
        found(cores, 500.0, 0.5, 1.0);
        found(cores, 500.0, 0.05, 2.0);
        let rates = simulate(cores, Traffic { rps: 50.0, failing: 0.001, burst: 1 }, 0.05);
        assert!(rates.reverted >= 0.85 && rates.median <= 10.0, "{cores}: {rates:?}");
    }
}

#[test]
fn a_trial_of_which_nothing_works_is_worse_at_any_load() {
    let nothing = Baseline::default();
    let tally = |requests, errors| Tally { requests, errors };
    assert!(compare(tally(10, 10), tally(10, 0), &nothing).is_worse);
    let before = Baseline { total: tally(30, 0), dispersion: 1.0 };
    assert!(compare(tally(5, 5), Tally::default(), &before).is_worse, "the minute before is enough");
    for (trial, others) in [
        (tally(4, 4), tally(10, 0)),
        (tally(10, 9), tally(10, 0)),
        (tally(10, 10), tally(10, 10)),
        (tally(10, 10), tally(10, 5)),
        (tally(10, 10), Tally::default()),
    ] {
        assert!(!compare(trial, others, &nothing).is_worse, "{trial:?} beside {others:?}");
    }
}

#[test]
fn quiet_traffic_gives_no_verdict() {
    let before = Baseline::default();
    let trial = Tally { requests: 19, errors: 18 };
    let others = Tally { requests: 1000, errors: 0 };
    assert_eq!(compare(trial, others, &before), Comparison { is_worse: false, z: None });
    let nothing = Tally::default();
    let trial = Tally { requests: 100, errors: 100 };
    assert_eq!(compare(trial, nothing, &before).z, None, "nothing to compare with");
    assert!(compare(trial, others, &before).is_worse, "the other cores are enough");
    let before = Baseline { total: others, dispersion: 1.0 };
    assert!(compare(trial, nothing, &before).is_worse, "the minute before is enough");
}

#[test]
fn both_references_count() {
    let trial = Tally { requests: 1000, errors: 200 };
    let good = Tally { requests: 1000, errors: 1 };
    let bad = Tally { requests: 1000, errors: 210 };
    let minute = |total| Baseline { total, dispersion: 1.0 };
    assert!(compare(trial, good, &minute(good)).is_worse);
    assert!(!compare(trial, bad, &minute(good)).is_worse, "an outage of all cores");
    assert!(!compare(trial, good, &minute(Tally { requests: 60_000, errors: 12_000 })).is_worse, "as before");
}

#[test]
fn dispersion_is_that_of_bursts() {
    let even = (0..100).map(|_| Tally { requests: 100, errors: 1 });
    assert_eq!(Baseline::new(even).dispersion, 1.0);
    let bursts = (0..100).map(|n| Tally { requests: 100, errors: if n % 25 == 0 { 25 } else { 0 } });
    assert!(Baseline::new(bursts).dispersion > 20.0);
    let none = Baseline::new(std::iter::empty());
    assert_eq!((none.total, none.dispersion), (Tally::default(), 1.0));
}

#[test]
fn counters_that_restart_count_nothing() {
    let earlier = Tally { requests: 10, errors: 5 };
    assert_eq!(Tally::default().since(earlier), Tally::default());
    assert_eq!(Tally { requests: 12, errors: 9 }.since(earlier), Tally { requests: 2, errors: 2 });
}

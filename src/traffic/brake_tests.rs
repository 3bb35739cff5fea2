use proptest::prelude::*;
use ringway_model::Tick;

use super::*;

fn counts(attempts: u64, failures: u64) -> Counts {
    Counts { successes: attempts - failures, failures }
}

fn compare(stable: (u64, u64), canary: (u64, u64)) -> Comparison {
    Totals { stable: counts(stable.0, stable.1), canary: counts(canary.0, canary.1) }.compare()
}

#[test]
fn a_canary_that_fails_alone_is_worse() {
    assert!(compare((900, 1), (100, 50)).is_worse());
    assert!(compare((450, 0), (50, 50)).is_worse());
    assert!(!compare((900, 1), (100, 4)).is_worse(), "four failures prove nothing");
    assert!(!compare((900, 90), (100, 12)).is_worse(), "both fail");
    assert!(!compare((900, 900), (100, 100)).is_worse(), "both fail always");
    assert!(!compare((0, 0), (100, 100)).is_worse(), "there is nothing to compare with");
    assert!(!compare((900, 0), (0, 0)).is_worse());
}

#[test]
fn a_small_difference_under_high_load_is_no_reason() {
    let significant = compare((9_000_000, 9_000), (1_000_000, 9_000));
    assert!(significant.p_value.is_some_and(|p| p < 1e-100));
    assert!(!significant.is_worse(), "0.8 points");
    assert!(compare((9_000_000, 9_000), (1_000_000, 12_000)).is_worse(), "1.1 points");
}

#[test]
fn a_step_waits_for_its_time_traffic_and_a_good_comparison() {
    let minute = Duration::from_secs(60);
    let look = |window, since_step| Look { window, since_step };
    let good = compare((9_000, 9), (1_000, 1));
    assert_eq!(take_step(minute, minute, &look(good, good)), Ok(()));
    let early = take_step(minute, Duration::from_secs(59), &look(good, good));
    assert_eq!(early, Err(Hold::Time { left: Duration::from_secs(1) }));
    let few = compare((9_000, 9), (99, 0));
    assert_eq!(take_step(minute, minute, &look(good, few)), Err(Hold::Traffic));
    let silent = compare((9_000, 9), (0, 0));
    assert_eq!(take_step(minute, minute, &look(silent, good)), Err(Hold::Traffic));
    let alone = compare((0, 0), (1_000, 1));
    assert_eq!(take_step(minute, minute, &look(alone, alone)), Err(Hold::Traffic));
    let suspicious = compare((9_000, 9), (1_000, 8));
    assert!(!suspicious.is_worse());
    assert_eq!(take_step(minute, minute, &look(suspicious, good)), Err(Hold::Failures));
    assert_eq!(take_step(minute, minute, &look(good, suspicious)), Err(Hold::Failures));
}

#[test]
fn a_watch_forgets_what_is_older_than_its_window() {
    let mut watch = Watch::new(Tick(0), Totals::default());
    let mut totals = Totals { stable: counts(900, 0), canary: counts(100, 80) };
    assert!(watch.look(Tick(10_000), totals).window.is_worse());
    for second in (20..=60).step_by(10) {
        totals.stable.successes += 1;
        assert!(watch.look(Tick(second * 1_000 + 3), totals).window.is_worse(), "{second} s");
    }
    let look = watch.look(Tick(70_002), totals);
    assert!(!look.window.is_worse(), "the burst was in the first ten seconds");
    assert_eq!(look.since_step.totals, totals);
    watch.begin_step(Tick(80_000), totals);
    assert_eq!(
        watch.look(Tick(90_000), totals),
        Look { window: Totals::default().compare(), since_step: Totals::default().compare() }
    );
}

#[test]
fn a_watch_keeps_few_readings_however_often_one_looks() {
    let mut watch = Watch::new(Tick(0), Totals::default());
    for look in 0..100_000 {
        watch.look(Tick(look * 10), Totals::default());
    }
    assert!(watch.readings() <= 64, "{}", watch.readings());
}

proptest! {
    #[test]
    fn no_counts_break_a_comparison(stable: (u32, u32), canary: (u32, u32)) {
        let of = |(successes, failures): (u32, u32)| Counts {
            successes: successes.into(), failures: failures.into(),
        };
        let comparison = Totals { stable: of(stable), canary: of(canary) }.compare();
        prop_assert!(comparison.p_value.is_none_or(|p| (0.0..=1.0).contains(&p)));
        if comparison.is_worse() {
            prop_assert!(failure_rate(of(canary)) > failure_rate(of(stable)));
        }
    }
}

// --- Simulated time ----------------------------------------------------------------------------------------

/// Requests per second to a route, the canary's share of them, and the shares of failures of both.
#[derive(Clone, Copy, Debug)]
struct Load {
    rate: u64,
    weight: f64,
    stable: f64,
    canary: f64,
}

/// Time after which the brake took a canary back; `None` when it did not.
fn brake_after(load: Load, time: Duration, seed: u64) -> Option<Duration> {
    let Load { rate, weight, stable, canary } = load;
    let mut rng = Rng(seed);
    let mut totals = Totals::default();
    let mut watch = Watch::new(Tick(0), totals);
    let looks = time.as_secs() / BRAKE_INTERVAL.as_secs();
    (1..=looks).map(|look| BRAKE_INTERVAL * look as u32).find(|now| {
        let requests = rate * BRAKE_INTERVAL.as_secs();
        let of_canary = rng.binomial(requests, weight);
        for (counts, attempts, chance) in
            [(&mut totals.stable, requests - of_canary, stable), (&mut totals.canary, of_canary, canary)]
        {
            let failures = rng.binomial(attempts, chance);
            counts.failures += failures;
            counts.successes += attempts - failures;
        }
        watch.look(Tick(0).after(*now), totals).window.is_worse()
    })
}

const HOUR: Duration = Duration::from_secs(3_600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);

#[test]
fn a_healthy_canary_is_left_alone_for_a_week() {
    for (seed, (rate, weight, failing)) in
        [(5, 0.1, 0.001), (5, 0.1, 0.03), (50, 0.1, 0.003), (50, 0.1, 0.01), (50, 0.5, 0.01)]
            .into_iter()
            .enumerate()
    {
        let load = Load { rate, weight, stable: failing, canary: failing };
        assert_eq!(brake_after(load, WEEK, seed as u64), None, "{load:?}, seed {seed}");
    }
}

#[test]
fn a_common_cause_brakes_nothing() {
    for (seed, failing) in [0.2, 0.5, 0.9, 1.0].into_iter().enumerate() {
        let load = Load { rate: 50, weight: 0.1, stable: failing, canary: failing };
        assert_eq!(brake_after(load, 4 * HOUR, seed as u64), None, "{load:?}, seed {seed}");
    }
}

#[test]
fn a_canary_that_always_fails_is_braked_at_once() {
    for seed in 0..50 {
        for (rate, weight, within) in [(5, 0.1, 40), (50, 0.1, 10), (500, 0.01, 10), (500, 0.5, 10)] {
            let load = Load { rate, weight, stable: 0.001, canary: 1.0 };
            let after = brake_after(load, HOUR, seed);
            assert!(after.is_some_and(|after| after.as_secs() <= within), "{load:?}, seed {seed}: {after:?}");
        }
    }
}

#[test]
fn a_canary_that_sometimes_fails_is_braked_within_minutes() {
    for seed in 0..20 {
        for (stable, canary) in [(0.01, 0.2), (0.001, 0.1), (0.01, 0.05)] {
            let load = Load { rate: 50, weight: 0.1, stable, canary };
            let after = brake_after(load, HOUR, seed);
            assert!(after.is_some_and(|after| after.as_secs() <= 900), "{load:?}, seed {seed}: {after:?}");
        }
    }
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (((bits ^ (bits >> 31)) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Successes among independent trials, by the gaps between them.
    fn binomial(&mut self, trials: u64, chance: f64) -> u64 {
        if chance > 0.5 {
            return trials - self.binomial(trials, 1.0 - chance);
        }
        if chance <= 0.0 {
            return 0;
        }
        let (mut at, mut successes) = (0.0, 0);
        loop {
            at += (self.uniform().ln() / (-chance).ln_1p()).floor() + 1.0;
            if at > trials as f64 {
                return successes;
            }
            successes += 1;
        }
    }
}

//! Experiment on the canary brake: healthy canaries for a simulated week, and failing ones until they are
//! taken back. Drives the product's own test and window; only requests and time are simulated.
//!
//! A healthy canary fails as often as the stable variant. Traffic may be even, or follow the hours of a day
//! with outages of ten minutes that fail both variants alike.

use std::collections::BTreeSet;

use ringway_model::Tick;
use ringway_traffic::brake::{Totals, Watch, failure_rate};
use ringway_traffic::tally::Counts;

/// Interval at which the control plane looks.
const LOOK_S: u64 = 10;
const WEEK_S: u64 = 7 * 24 * 3600;
/// Longest wait for the brake.
const PATIENCE_S: u64 = 3600;
const RUNS: u64 = 200;

/// Traffic of a route and its failures, as shares of the requests.
#[derive(Clone, Copy)]
struct Traffic {
    per_second: f64,
    weight: f64,
    stable: f64,
    canary: f64,
    /// Requests follow the hours of the day, and both variants fail for ten minutes of every twelve hours.
    is_uneven: bool,
}

/// Prints one JSON object per experiment.
pub(crate) fn run() {
    for (per_second, weight) in [(5.0, 0.1), (50.0, 0.1), (500.0, 0.1), (500.0, 0.01)] {
        for share in [0.0, 0.001, 0.01, 0.05] {
            for is_uneven in [false, true] {
                let traffic = Traffic { per_second, weight, stable: share, canary: share, is_uneven };
                healthy(traffic);
            }
        }
    }
    for (per_second, weight) in [(5.0, 0.1), (50.0, 0.1), (500.0, 0.01)] {
        for (stable, canary) in [(0.0, 1.0), (0.01, 1.0), (0.001, 0.25), (0.01, 0.05), (0.01, 0.02)] {
            failing(Traffic { per_second, weight, stable, canary, is_uneven: false });
        }
    }
}

fn healthy(traffic: Traffic) {
    let mut rng = Rng(0xC0FFEE);
    let mut naive_hours = BTreeSet::new();
    let braked = brakes(traffic, &mut rng, WEEK_S, End::Never, |now, window| {
        if is_twice_as_bad(window) {
            naive_hours.insert(now / 3600);
        }
    });
    let looks = WEEK_S / LOOK_S;
    println!(
        "{{\"kind\":\"healthy\",\"per_second\":{},\"weight\":{},\"failing\":{},\"uneven\":{},\"looks\":{looks},\"brakes\":{},\"naive_hours\":{}}}",
        traffic.per_second,
        traffic.weight,
        traffic.stable,
        traffic.is_uneven,
        braked.len(),
        naive_hours.len()
    );
}

fn failing(traffic: Traffic) {
    let mut times = Vec::new();
    for run in 0..RUNS {
        let mut rng = Rng(run);
        times.extend(brakes(traffic, &mut rng, PATIENCE_S, End::AtTheFirst, |_, _| {}));
    }
    times.sort_unstable();
    let at = |share: u64| times.get((times.len() as u64 * share / 100) as usize).copied();
    let text = |time: Option<u64>| time.map_or("null".to_owned(), |time| time.to_string());
    println!(
        "{{\"kind\":\"failing\",\"per_second\":{},\"weight\":{},\"stable\":{},\"canary\":{},\"runs\":{RUNS},\"braked\":{},\"median_s\":{},\"p95_s\":{}}}",
        traffic.per_second,
        traffic.weight,
        traffic.stable,
        traffic.canary,
        times.len(),
        text(at(50)),
        text(at(95))
    );
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    AtTheFirst,
    /// The canary goes on with its weight after a brake, in a new window.
    Never,
}

/// Seconds after which the brake acted.
fn brakes(
    traffic: Traffic,
    rng: &mut Rng,
    seconds: u64,
    end: End,
    mut seen: impl FnMut(u64, &Totals),
) -> Vec<u64> {
    let tick = |seconds: u64| Tick(seconds * 1_000);
    let mut totals = Totals::default();
    let mut watch = Watch::new(tick(0), totals);
    let mut braked = Vec::new();
    for now in (LOOK_S..=seconds).step_by(LOOK_S as usize) {
        let hour = now as f64 / 3600.0;
        let day = 0.55 - 0.45 * (std::f64::consts::TAU * hour / 24.0).cos();
        let requests = traffic.per_second * LOOK_S as f64 * if traffic.is_uneven { day } else { 1.0 };
        let is_outage = traffic.is_uneven && now % (12 * 3600) < 600;
        let share = |failing: f64| if is_outage { failing.max(0.4) } else { failing };
        add(&mut totals.canary, requests * traffic.weight, share(traffic.canary), rng);
        add(&mut totals.stable, requests * (1.0 - traffic.weight), share(traffic.stable), rng);
        let window = watch.look(tick(now), totals).window;
        seen(now, &window.totals);
        if window.is_worse() {
            braked.push(now);
            if end == End::AtTheFirst {
                break;
            }
            watch = Watch::new(tick(now), totals);
        }
    }
    braked
}

/// The usual rule, for comparison: twice the stable variant's failures, after twenty requests.
fn is_twice_as_bad(window: &Totals) -> bool {
    let Totals { stable, canary } = window;
    canary.total() >= 20 && canary.failures > 0 && failure_rate(*canary) >= 2.0 * failure_rate(*stable)
}

/// Adds requests that arrive and fail independently of each other.
fn add(counts: &mut Counts, requests: f64, failing: f64, rng: &mut Rng) {
    counts.failures += rng.poisson(requests * failing);
    counts.successes += rng.poisson(requests * (1.0 - failing));
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    /// Within 0 (excluded) and 1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (((z ^ (z >> 31)) >> 11) as f64 + 1.0) / (1u64 << 53) as f64
    }

    /// Poisson's distribution: exactly for small means, by the normal one for large ones.
    fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 500.0 {
            let normal = (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
            return (mean + mean.sqrt() * normal).round().max(0.0) as u64;
        }
        let (limit, mut product, mut count) = ((-mean).exp(), self.unit(), 0);
        while product > limit {
            product *= self.unit();
            count += 1;
        }
        count
    }
}

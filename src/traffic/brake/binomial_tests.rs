use proptest::prelude::*;

use super::upper_tail;

/// The tail by its definition: the sum of all terms, each a product of factors.
fn by_definition(at_least: u64, trials: u64, chance: f64) -> f64 {
    let term = |k: u64| {
        let mut term = 1.0;
        for factor in 0..k {
            term *= (trials - factor) as f64 / (k - factor) as f64 * chance;
        }
        term * (1.0 - chance).powi((trials - k) as i32)
    };
    (at_least..=trials).map(term).sum()
}

proptest! {
    #[test]
    fn the_tail_is_that_of_the_definition(trials in 1_u64..60, share in 0.0..=1.0, chance in 0.001..0.999) {
        let at_least = (share * trials as f64) as u64;
        let (found, expected) = (upper_tail(at_least, trials, chance), by_definition(at_least, trials, chance));
        prop_assert!((found - expected).abs() <= expected * 1e-8 + 1e-14, "{found} {expected}");
    }

    #[test]
    fn the_tail_falls_and_stays_a_probability(
        trials in 1_u64..2_000_000_000, share in 0.0..1.0, chance in 1e-9..0.999_999,
    ) {
        let at_least = (share * trials as f64) as u64;
        let (tail, next) = (upper_tail(at_least, trials, chance), upper_tail(at_least + 1, trials, chance));
        prop_assert!((0.0..=1.0).contains(&tail), "{tail}");
        prop_assert!(next <= tail + 1e-9, "{next} after {tail}");
    }
}

#[test]
fn the_ends_are_certain_and_impossible() {
    assert_eq!(upper_tail(0, 0, 0.5), 1.0);
    assert_eq!(upper_tail(0, 10, 0.5), 1.0);
    assert_eq!(upper_tail(11, 10, 0.5), 0.0);
    assert!((upper_tail(10, 10, 0.1) - 1e-10).abs() < 1e-20);
    assert!((upper_tail(1, 10, 0.1) - (1.0 - 0.9_f64.powi(10))).abs() < 1e-12);
}

#[test]
fn huge_counts_neither_overflow_nor_vanish() {
    // Half of a billion: by symmetry just above one half.
    let half = upper_tail(500_000_000, 1_000_000_000, 0.5);
    assert!((half - 0.5).abs() < 1e-4, "{half}");
    // Six standard deviations above the mean.
    let deviation = (1e9_f64 * 0.25).sqrt();
    let six = upper_tail(500_000_000 + (6.0 * deviation) as u64, 1_000_000_000, 0.5);
    assert!((9.0e-10..1.1e-9).contains(&six), "{six}");
    assert_eq!(upper_tail(900_000_000, 1_000_000_000, 0.5), 0.0);
}

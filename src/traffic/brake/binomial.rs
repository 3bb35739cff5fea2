//! Tail of the binomial distribution, for counts of any size.

/// Probability that at least `at_least` of `trials` independent trials succeed, each with the probability
/// `chance`, which is above 0 and below 1.
///
/// Sums the terms from the largest one on, whose logarithm is computed by Stirling's series, so that neither
/// powers nor factorials overflow. Exact to about nine digits. The cost follows the standard deviation:
/// about 10 µs for a million trials.
pub(super) fn upper_tail(at_least: u64, trials: u64, chance: f64) -> f64 {
    if at_least == 0 {
        return 1.0;
    }
    if at_least > trials {
        return 0.0;
    }
    let odds = chance / (1.0 - chance);
    let (n, k) = (trials as f64, at_least as f64);
    if k > n * chance {
        // Each term is smaller than the one before it.
        let sum = falling_sum(trials - at_least, |step| (n - k - step) / (k + step + 1.0) * odds);
        return (ln_term(k, n, chance).exp() * sum).min(1.0);
    }
    let below = k - 1.0;
    let sum = falling_sum(at_least - 1, |step| (below - step) / (n - below + step + 1.0) / odds);
    (1.0 - ln_term(below, n, chance).exp() * sum).clamp(0.0, 1.0)
}

/// Sum of a series that begins with 1 and has `terms` more, each `ratio` times the one before it.
fn falling_sum(terms: u64, ratio: impl Fn(f64) -> f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for step in 0..terms {
        term *= ratio(step as f64);
        sum += term;
        if term < sum * NEGLIGIBLE {
            break;
        }
    }
    sum
}

/// Logarithm of the probability of exactly `k` successes in `n` trials (Loader's form, whose parts do not
/// cancel).
fn ln_term(k: f64, n: f64, chance: f64) -> f64 {
    if k == 0.0 {
        return n * (-chance).ln_1p();
    }
    if k == n {
        return n * chance.ln();
    }
    let rest = n - k;
    let deviance = k * (k / (n * chance)).ln() + rest * (rest / (n * (1.0 - chance))).ln();
    let size = 0.5 * (n / (std::f64::consts::TAU * k * rest)).ln();
    size + stirling_error(n) - stirling_error(k) - stirling_error(rest) - deviance
}

/// Difference between the logarithm of `n!` and Stirling's approximation of it.
fn stirling_error(n: f64) -> f64 {
    if n < 16.0 {
        let factorial: f64 = (2..=n as u64).map(|factor| factor as f64).product();
        return factorial.ln() - (n * n.ln() - n + 0.5 * (std::f64::consts::TAU * n).ln());
    }
    let square = n * n;
    (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1260.0 * square)) / square) / n
}

/// Share of a sum below which its next terms do not matter.
const NEGLIGIBLE: f64 = 1e-13;

#[cfg(test)]
#[path = "binomial_tests.rs"]
mod tests;

//! A clock and a loop: calibrates how many calls make a batch, times batches, prints a line.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// How long one batch should take: long against the clock's own cost, short against a time slice.
const BATCH: Duration = Duration::from_millis(2);
/// Batches per line.
const BATCHES: usize = 101;

/// Runs what its filter lets through.
pub(crate) struct Harness {
    filter: Option<String>,
}

impl Harness {
    pub(crate) fn new(filter: Option<String>) -> Self {
        println!("{:<58} {:>12} {:>12}", "what", "median", "fastest");
        Self { filter }
    }

    /// Whether a line of this name is wanted; for what is costly to prepare.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| name.contains(filter))
    }

    /// Times `call`; its result is used, so that the compiler cannot leave it out.
    pub(crate) fn line<T>(&mut self, name: &str, mut call: impl FnMut() -> T) {
        if !self.wants(name) {
            return;
        }
        let mut calls = 1u32;
        loop {
            let begin = Instant::now();
            for _ in 0..calls {
                black_box(call());
            }
            if begin.elapsed() >= BATCH || calls >= 1 << 30 {
                break;
            }
            calls *= 2;
        }
        let mut nanos: Vec<f64> = (0..BATCHES)
            .map(|_| {
                let begin = Instant::now();
                for _ in 0..calls {
                    black_box(call());
                }
                begin.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
            })
            .collect();
        nanos.sort_unstable_by(f64::total_cmp);
        println!("{name:<58} {:>12} {:>12}", text(nanos[BATCHES / 2]), text(nanos[0]));
    }
}

fn text(nanos: f64) -> String {
    match nanos {
        0.0..100.0 => format!("{nanos:.1} ns"),
        100.0..10_000.0 => format!("{nanos:.0} ns"),
        10_000.0..10_000_000.0 => format!("{:.1} us", nanos / 1e3),
        _ => format!("{:.1} ms", nanos / 1e6),
    }
}

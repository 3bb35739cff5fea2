//! Harness of the benchmarks: measures time, or runs a fixed number of calls under callgrind.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Duration of a batch: long against the cost of reading the clock, short against a time slice.
const BATCH: Duration = Duration::from_millis(2);
/// Batches per line.
const BATCHES: usize = 101;
/// Warm-up calls: tables are filled and branches taken once.
const WARM_UP: u32 = 64;
/// Measured calls: enough for differences between calls to even out.
const COUNTED: u32 = 4096;

/// Runs the benchmarks that its filter selects.
pub(crate) struct Harness {
    filter: Option<String>,
    mode: Mode,
    domains_max: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Measures and prints nanoseconds.
    Time,
    /// Prints names and calls; callgrind counts the instructions of [`counted`].
    Count,
}

impl Harness {
    pub(crate) fn timing(filter: Option<String>) -> Self {
        println!("{:<58} {:>12} {:>12}", "what", "median", "fastest");
        Self { filter, mode: Mode::Time, domains_max: usize::MAX }
    }

    /// Harness for `bench/count`, with fewer domains: under callgrind a million take minutes to register.
    pub(crate) fn counting(domains_max: usize) -> Self {
        Self { filter: None, mode: Mode::Count, domains_max }
    }

    /// Whether the filter selects this benchmark; for those with an expensive preparation.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| name.contains(filter))
    }

    /// Whether benchmarks with this number of domains run.
    pub(crate) fn has_time_for(&self, domains: usize) -> bool {
        domains <= self.domains_max
    }

    /// Whether instructions are counted; then a benchmark must not wait for another thread.
    pub(crate) fn is_counting(&self) -> bool {
        self.mode == Mode::Count
    }

    /// Measures `call`, whose result is used, because the compiler would drop it otherwise.
    pub(crate) fn line<T>(&mut self, name: &str, mut call: impl FnMut() -> T) {
        if !self.wants(name) {
            return;
        }
        match self.mode {
            Mode::Time => time(name, call),
            Mode::Count => {
                let mut call = || drop(black_box(call()));
                for _ in 0..WARM_UP {
                    call();
                }
                println!("{COUNTED}\t{name}");
                counted(COUNTED, &mut call);
            }
        }
    }
}

/// The function whose instructions, with those of its callees, callgrind collects; one call per benchmark.
#[inline(never)]
fn counted(calls: u32, call: &mut dyn FnMut()) {
    for _ in 0..calls {
        call();
    }
}

fn time<T>(name: &str, mut call: impl FnMut() -> T) {
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

fn text(nanos: f64) -> String {
    match nanos {
        0.0..100.0 => format!("{nanos:.1} ns"),
        100.0..10_000.0 => format!("{nanos:.0} ns"),
        10_000.0..10_000_000.0 => format!("{:.1} us", nanos / 1e3),
        _ => format!("{:.1} ms", nanos / 1e6),
    }
}

//! Microbenchmarks: what a request, a change and a wake-up cost where no kernel is involved.
//!
//! ```text
//! cargo run --profile bench -p ringway-bench            all, in nanoseconds
//! cargo run --profile bench -p ringway-bench -- route   those whose name contains "route"
//! bench/count                                           all, in instructions, compared with bench/baseline.txt
//! ```
//! Each line of the first two is the median of several batches, and the fastest: on a shared machine the
//! fastest says what the code costs, the distance to the median how busy the machine was. Instructions are
//! the same however busy it is.
#![forbid(unsafe_code)]

mod bridge;
mod harness;
mod telemetry;
mod traffic;
mod wire;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut bench = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--count"] => harness::Harness::counting(5_000),
        ["--count", "--all"] => harness::Harness::counting(usize::MAX),
        _ => harness::Harness::timing(words.into_iter().next()),
    };
    wire::run(&mut bench);
    traffic::run(&mut bench);
    telemetry::run(&mut bench);
    bridge::run(&mut bench);
}

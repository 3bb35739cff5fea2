//! Microbenchmarks: cost of a request, a change and a wake-up without the kernel.
//!
//! ```text
//! cargo run --profile bench -p ringway-bench            all, in nanoseconds
//! cargo run --profile bench -p ringway-bench -- route   those with "route" in their name
//! bench/count                                           all, in instructions, compared with bench/baseline.txt
//! ```
//! The first two print the median and the fastest of several batches: on a shared machine the fastest is the
//! cost of the code, the distance to the median is the load of the machine. Instructions do not depend on the
//! load.
#![forbid(unsafe_code)]

mod bridge;
mod cache;
mod forward;
mod harness;
mod policies;
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
    policies::run(&mut bench);
    cache::run(&mut bench);
    forward::run(&mut bench);
    telemetry::run(&mut bench);
    bridge::run(&mut bench);
}

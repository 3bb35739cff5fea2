//! Microbenchmarks: what a request, a change and a wake-up cost where no kernel is involved.
//!
//! ```text
//! cargo run --profile bench -p ringway-bench            all
//! cargo run --profile bench -p ringway-bench -- route   those whose name contains "route"
//! ```
//! Each line is the median of several batches, and the fastest: on a shared machine the fastest says what the code
//! costs, the distance to the median how busy the machine was.
#![forbid(unsafe_code)]

mod bridge;
mod harness;
mod traffic;
mod wire;

fn main() {
    let mut bench = harness::Harness::new(std::env::args().nth(1));
    wire::run(&mut bench);
    traffic::run(&mut bench);
    bridge::run(&mut bench);
}

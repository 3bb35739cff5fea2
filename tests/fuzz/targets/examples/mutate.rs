//! Fuzzing without coverage, for a toolchain that has no libFuzzer: seeded mutations of a corpus for some
//! seconds.
//!
//! ```text
//! cargo run --release -p ringway-fuzz-targets --example mutate -- TARGET SECONDS [SEED] [FOLDER…]
//! ```
//! It reaches code a few changes away from the inputs of the folders, and no deeper. An input that fails is
//! written to `crash-TARGET`, and its seed is printed: the same seed reproduces it.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use ringway_fuzz_targets::{Mutator, run};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(target), Some(seconds)) = (arguments.next(), arguments.next()) else {
        return Err("mutate TARGET SECONDS [SEED] [FOLDER…]".into());
    };
    let first: u64 = arguments.next().as_deref().unwrap_or("1000000").parse()?;
    let mut folders: Vec<String> = arguments.collect();
    if folders.is_empty() {
        folders.push(format!("{}/../corpus/{target}", env!("CARGO_MANIFEST_DIR")));
    }
    let mut corpus = Vec::new();
    for folder in folders {
        let mut paths: Vec<_> = std::fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_, std::io::Error>>()?;
        paths.sort();
        for path in paths {
            corpus.push(std::fs::read(path)?);
        }
    }
    let end = Instant::now() + Duration::from_secs(seconds.parse()?);
    let mut seed = first;
    while Instant::now() < end {
        for _ in 0..64 {
            let input = Mutator::new(seed).next(&corpus);
            if catch_unwind(AssertUnwindSafe(|| run(&target, &input))).is_err() {
                std::fs::write(format!("crash-{target}"), &input)?;
                return Err(format!("{target}: seed {seed}: b\"{}\"", input.escape_ascii()).into());
            }
            seed += 1;
        }
    }
    println!("{target}: {} inputs, no finding", seed - first);
    Ok(())
}

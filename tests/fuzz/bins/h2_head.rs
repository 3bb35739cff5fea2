//! See `targets/h2_head.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringway_fuzz_targets::run("h2_head", bytes));

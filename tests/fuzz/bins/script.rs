//! See `targets/script.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringway_fuzz_targets::run("script", bytes));

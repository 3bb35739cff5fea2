//! See `targets/cache_dates.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringway_fuzz_targets::run("cache_dates", bytes));

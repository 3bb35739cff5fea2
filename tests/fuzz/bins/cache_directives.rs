//! See `targets/cache_directives.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringway_fuzz_targets::run("cache_directives", bytes));

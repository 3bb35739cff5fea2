//! See `targets/structured_fields.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ringway_fuzz_targets::run("structured_fields", bytes));

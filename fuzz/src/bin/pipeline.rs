//! Fuzzes [`fuzz::targets::pipeline`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::pipeline(data));

#![no_main]

#[path = "../properties/filter.rs"]
mod filter;

libfuzzer_sys::fuzz_target!(|data: &[u8]| filter::check(data));

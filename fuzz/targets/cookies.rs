#![no_main]

#[path = "../properties/cookies.rs"]
mod cookies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| cookies::check(data));

#![no_main]

#[path = "../properties/hello.rs"]
mod hello;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hello::check(data));

#![no_main]

#[path = "../properties/frames.rs"]
mod frames;
#[path = "../properties/stream.rs"]
mod stream;

libfuzzer_sys::fuzz_target!(|data: &[u8]| frames::check(data));

#![no_main]

#[path = "../properties/hello.rs"]
mod hello;
#[path = "../properties/stream.rs"]
mod stream;

libfuzzer_sys::fuzz_target!(|data: &[u8]| hello::check(data));

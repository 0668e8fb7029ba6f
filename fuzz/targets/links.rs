#![no_main]

#[path = "../properties/links.rs"]
mod links;

libfuzzer_sys::fuzz_target!(|data: &[u8]| links::check(data));

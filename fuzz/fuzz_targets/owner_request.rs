#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| testkit::parsers::owner_request(bytes));

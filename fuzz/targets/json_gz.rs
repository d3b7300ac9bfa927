//! A gzip file of one JSON document: an error at most, and a cut one is never whole.

#![no_main]

use refloat_engine::catalog::parse_json_gz;
use refloat_model::Results;

libfuzzer_sys::fuzz_target!(|packed: &[u8]| {
    let _ = parse_json_gz::<Results>(packed);
    let _ = parse_json_gz::<serde_json::Value>(packed);
});

//! Credentials files of every provider: no panic, and no error that quotes the file.

#![no_main]

use refloat_store::fuzzing::read_credentials;

libfuzzer_sys::fuzz_target!(|file: &[u8]| {
    for error in read_credentials(file).into_iter().filter_map(Result::err) {
        // Each word of the file that is long enough to be a secret and is none of ours.
        let text = String::from_utf8_lossy(file);
        let secrets = text
            .split(|c: char| c.is_whitespace() || c == '=')
            .filter(|word| word.chars().count() >= 16);
        for secret in secrets {
            assert!(!error.contains(secret), "{error}");
        }
    }
});

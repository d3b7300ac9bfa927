//! Durations as Go writes them: what is read is printed so that it is read as the same.

#![no_main]

use refloat_model::GoDuration;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(duration) = text.parse::<GoDuration>() {
        let printed = duration.to_string();
        assert_eq!(
            printed.parse::<GoDuration>().as_ref(),
            Ok(&duration),
            "{text:?} is printed as {printed:?}"
        );
    }
});

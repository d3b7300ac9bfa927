//! Storage URLs of the command line: no panic, and no password in an error or a name.

#![no_main]

use refloat_store::LocationConfig;

libfuzzer_sys::fuzz_target!(|url: &str| {
    let parsed = url::Url::parse(url);
    // This setting names a file that is read; any file of this machine is not a good input.
    if parsed
        .as_ref()
        .is_ok_and(|url| url.query_pairs().any(|(key, _)| key == "caCert"))
    {
        return;
    }
    let password = parsed.ok().and_then(|url| url.password().map(str::to_owned));
    let result = LocationConfig::from_url(url);
    if let Some(password) = password.filter(|password| password.len() >= 8) {
        // Where the rest of the URL has the same word, it is no secret.
        if url.matches(&password).count() != 1 {
            return;
        }
        let error = result.expect_err("a URL with a password is refused").to_string();
        assert!(!error.contains(&password), "{error}");
    } else if let Ok(location) = result {
        assert!(!location.provider.is_empty());
        let _ = location.display_name();
    }
});

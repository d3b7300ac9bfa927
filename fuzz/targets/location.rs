//! Opening a location with any settings and credentials: an error at most. Nothing is asked over the network.

#![no_main]

use std::cell::RefCell;

use refloat_store::{LocationConfig, ObjectStore, Store};

thread_local! {
    static RUNTIME: RefCell<tokio::runtime::Runtime> = RefCell::new(
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime without threads"),
    );
}

/// Settings that name files of this machine.
const FILES: [&str; 3] = ["credentialsFile", "customerKeyEncryptionFile", "path"];

libfuzzer_sys::fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let provider = lines.next().unwrap_or_default();
    if provider.ends_with("filesystem") {
        return;
    }
    let mut location = LocationConfig {
        provider: provider.to_owned(),
        bucket: lines.next().unwrap_or_default().to_owned(),
        prefix: lines.next().unwrap_or_default().to_owned(),
        ..LocationConfig::default()
    };
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        if !FILES.contains(&key) {
            location.config.insert(key.to_owned(), value.to_owned());
        }
    }
    location.credential = Some(lines.collect::<Vec<_>>().join("\n").into_bytes());
    if provider.ends_with("aws") && location.config.get("region").is_none_or(String::is_empty) {
        // Without a region Amazon would be asked for it.
        location
            .config
            .insert("region".to_owned(), "eu-central-1".to_owned());
    }
    RUNTIME.with_borrow(|runtime| {
        if let Ok(store) = runtime.block_on(Store::open(&location)) {
            assert!(!store.display_name().is_empty());
        }
    });
});

//! Names of the entries in a tarball: nothing that leaves the folder is an object, and our own paths are read back.

#![no_main]

use refloat_model::archive::{self, Entry};

libfuzzer_sys::fuzz_target!(|path: &str| {
    match archive::parse(path) {
        Ok(Entry::Object { resource, name }) => {
            let written = archive::object_path(&resource, &name);
            assert_eq!(
                archive::parse(&written),
                Ok(Entry::Object { resource, name }),
                "{path:?}"
            );
            assert!(
                !written.contains("..") || !written.split('/').any(|part| part == ".."),
                "{path:?}"
            );
        }
        Ok(Entry::Versioned {
            resource,
            version,
            preferred: true,
            name,
        }) => {
            let written = archive::preferred_path(&resource, &version, &name);
            let entry = Entry::Versioned {
                resource,
                version,
                preferred: true,
                name,
            };
            assert_eq!(archive::parse(&written), Ok(entry), "{path:?}");
        }
        Ok(_) => {}
        Err(_) => assert!(path != archive::VERSION_ENTRY),
    }
});

//! Any text as the policies of a backup, and what it takes, added to a spec: an error at most.

#![no_main]

use refloat_model::BackupSpec;
use refloat_plan::resource_policy::ResourcePolicies;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let data = [("policies.yaml".to_owned(), text.to_owned())].into();
    let Ok(policies) = ResourcePolicies::read(&data) else {
        return;
    };
    let spec = policies.complement(&BackupSpec::default(), &[]);
    assert!(spec.included_resources.is_empty() && spec.excluded_resources.is_empty());
});

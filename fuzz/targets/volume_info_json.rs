//! `*-volumeinfo.json.gz`: what is read and written again is read as the same.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| refloat_fuzz::document::<
    Vec<refloat_model::volume_info::BackupVolumeInfo>,
>(data));

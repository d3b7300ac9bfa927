//! Doors for the fuzz targets in `fuzz/`; not part of the crate's interface.

use crate::credentials::{AwsProfiles, parse_env_file};

/// Reads a credentials file as every form there is. An error must not quote the file, so it is handed out.
pub fn read_credentials(file: &[u8]) -> [Result<(), String>; 2] {
    [AwsProfiles::parse(file).map(drop), parse_env_file(file).map(drop)]
}

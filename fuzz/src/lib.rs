//! What the fuzz targets for JSON documents of a bucket have in common.

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};

/// Reads a document. If it is accepted, then what we write of it is read back as the same.
///
/// # Panics
/// If not: that is the finding.
pub fn document<T: DeserializeOwned + Serialize + Debug>(data: &[u8]) {
    let Ok(first) = serde_json::from_slice::<T>(data) else {
        return;
    };
    let written = serde_json::to_string(&first).expect("what was read can be written");
    let second: T = match serde_json::from_str(&written) {
        Ok(second) => second,
        Err(error) => panic!("what we wrote is not read: {error}\n{written}"),
    };
    let again = serde_json::to_string(&second).expect("what was read can be written");
    assert_eq!(again, written);
}

//! Reading Go's JSON, where an absent list, an empty list and `null` mean the same.

use serde::{Deserialize, Deserializer};

/// Reads `null` as the type's default. For use with `#[serde(default, deserialize_with = …)]`.
///
/// # Errors
/// Whatever the value's own deserialisation reports.
pub fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Whether a value equals its default; for `skip_serializing_if`, as Go's `omitempty` does.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

//! PriorityLevelConfiguration to `flowcontrol.apiserver.k8s.io/v1`: the share has another name.

use serde_json::{Map, Value};

use super::at;

#[expect(clippy::unnecessary_wraps, reason = "as all changes")]
pub(super) fn convert(level: &mut Map<String, Value>, _: &mut Vec<String>) -> Result<(), String> {
    let limited = at(level, "spec").and_then(|spec| at(spec, "limited"));
    if let Some(limited) = limited
        && let Some(shares) = limited.shift_remove("assuredConcurrencyShares")
        && !limited.contains_key("nominalConcurrencyShares")
    {
        limited.insert("nominalConcurrencyShares".to_owned(), shares);
    }
    Ok(())
}

//! EndpointSlice to `discovery.k8s.io/v1`: of an endpoint's topology, node and zone have fields of their
//! own.

use serde_json::{Map, Value};

use super::each;

#[expect(clippy::unnecessary_wraps, reason = "as all changes")]
pub(super) fn convert(slice: &mut Map<String, Value>, notes: &mut Vec<String>) -> Result<(), String> {
    let mut lost = false;
    for endpoint in each(slice, "endpoints") {
        let Some(Value::Object(mut topology)) = endpoint.shift_remove("topology") else {
            continue;
        };
        for (label, field) in [
            ("kubernetes.io/hostname", "nodeName"),
            ("topology.kubernetes.io/zone", "zone"),
        ] {
            if let Some(value) = topology.shift_remove(label)
                && endpoint.get(field).is_none_or(Value::is_null)
            {
                endpoint.insert(field.to_owned(), value);
            }
        }
        topology.shift_remove("topology.kubernetes.io/region");
        lost |= !topology.is_empty();
        if !topology.is_empty() {
            endpoint.insert("deprecatedTopology".to_owned(), Value::Object(topology));
        }
    }
    if lost {
        notes.push("other topology than node and zone went into deprecatedTopology".to_owned());
    }
    // It once could be left out and meant IP addresses of either family.
    if let Some(kind) = slice.get_mut("addressType")
        && kind == "IP"
    {
        *kind = "IPv4".into();
        notes.push("its address type IP became IPv4".to_owned());
    }
    Ok(())
}

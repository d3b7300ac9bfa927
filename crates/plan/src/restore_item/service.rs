//! Services: addresses and ports that the cluster had assigned are assigned anew.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::json;

/// What `kubectl apply` was given.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Clears the cluster addresses (unless headless) and, unless they are to be kept, the node ports
/// that nobody chose.
pub(super) fn rewrite(service: &mut Value, managed_fields: Option<&Value>, preserve_node_ports: bool) {
    let chosen = (!preserve_node_ports).then(|| Chosen::find(service, managed_fields));
    let Some(spec) = json::object_mut(service, &["spec"]) else {
        return;
    };
    if spec.get("clusterIP").and_then(Value::as_str) != Some("None") {
        spec.retain(|key, _| !matches!(key.as_str(), "clusterIP" | "clusterIPs"));
    }
    if let Some(chosen) = chosen {
        chosen.clear_others(spec);
    }
}

/// Which ports a user has chosen.
enum Chosen {
    /// As `kubectl apply` has them.
    Applied {
        names: HashSet<String>,
        unnamed: HashSet<String>,
        health_check: bool,
    },
    /// As the field managers have them: keys of ports.
    Managed {
        keys: HashSet<String>,
        health_check: bool,
    },
}

impl Chosen {
    fn find(service: &Value, managed_fields: Option<&Value>) -> Self {
        let entries = managed_fields
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let managed_health = entries
            .iter()
            .any(|entry| json::object(entry, &["fieldsV1", "f:spec", "f:healthCheckNodePort"]).is_some());
        let annotations = json::object(service, &["metadata", "annotations"]);
        let applied = annotations
            .and_then(|map| map.get(LAST_APPLIED))
            .and_then(Value::as_str);
        // An annotation that is no JSON says nothing about ports: the field managers may.
        match applied.and_then(|text| serde_json::from_str::<Value>(text).ok()) {
            Some(applied) => Self::applied(&applied, managed_health),
            None => Self::Managed {
                keys: managed_ports(entries),
                health_check: managed_health,
            },
        }
    }

    fn applied(applied: &Value, managed_health: bool) -> Self {
        let mut names = HashSet::new();
        let mut unnamed = HashSet::new();
        for port in json::list(applied, &["spec", "ports"]) {
            let Some(number) = json::get(port, &["nodePort"]).and_then(port_number) else {
                continue;
            };
            match json::get(port, &["name"]) {
                Some(Value::String(name)) if !name.is_empty() => drop(names.insert(name.clone())),
                _ => drop(unnamed.insert(number)),
            }
        }
        let own = json::get(applied, &["spec", "healthCheckNodePort"])
            .and_then(port_number)
            .is_some();
        Self::Applied {
            names,
            unnamed,
            health_check: own || managed_health,
        }
    }

    fn clear_others(&self, spec: &mut Map<String, Value>) {
        let text =
            |spec: &Map<String, Value>, key: &str| spec.get(key).and_then(Value::as_str).map(str::to_owned);
        let kind = text(spec, "type");
        if kind.as_deref() != Some("ExternalName") {
            let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
            for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
                if !self.keeps(port) {
                    port.shift_remove("nodePort");
                }
            }
        }
        let local = text(spec, "externalTrafficPolicy").as_deref() == Some("Local");
        let (Self::Applied { health_check, .. } | Self::Managed { health_check, .. }) = self;
        if local && kind.as_deref() == Some("LoadBalancer") && !health_check {
            spec.shift_remove("healthCheckNodePort");
        }
    }

    fn keeps(&self, port: &Map<String, Value>) -> bool {
        match self {
            Self::Applied { names, unnamed, .. } => match port.get("name") {
                Some(Value::String(name)) if !name.is_empty() => names.contains(name),
                _ => port
                    .get("nodePort")
                    .and_then(port_number)
                    .is_some_and(|number| unnamed.contains(&number)),
            },
            Self::Managed { keys, .. } => !keys.is_empty() && keys.contains(&port_key(port)),
        }
    }
}

/// The keys of ports whose node port a field manager owns.
fn managed_ports(entries: &[Value]) -> HashSet<String> {
    let ports = entries
        .iter()
        .filter_map(|entry| json::object(entry, &["fieldsV1", "f:spec", "f:ports"]));
    let owned = ports
        .flatten()
        .filter(|(_, port)| json::get(port, &["f:nodePort"]).is_some());
    owned.map(|(key, _)| key.clone()).collect()
}

/// A port as field managers name it.
fn port_key(port: &Map<String, Value>) -> String {
    let number = port
        .get("port")
        .and_then(port_number)
        .unwrap_or_else(|| "0".to_owned());
    let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or_default();
    format!(r#"k:{{"port":{number},"protocol":"{protocol}"}}"#)
}

/// A port's number in digits, if it is one and not 0. Users also write it as text.
fn port_number(value: &Value) -> Option<String> {
    let digits = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    let plain = digits.strip_suffix(".0").unwrap_or(&digits);
    plain
        .parse::<u16>()
        .ok()
        .filter(|number| *number > 0)
        .map(|number| number.to_string())
}

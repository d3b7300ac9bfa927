//! Lists: those whose elements have a name are compared by name, others by place.

use std::collections::HashSet;

use serde_json::Value;

use super::{FieldChange, values};

/// What names an element of Kubernetes' lists, the most telling first.
const KEYS: [&str; 6] = ["name", "mountPath", "containerPort", "port", "key", "type"];

/// Adds in what two lists differ.
pub(super) fn compare(at: &str, from: &[Value], to: &[Value], changes: &mut Vec<FieldChange>) {
    if from == to {
        return;
    }
    let key = KEYS.iter().find(|key| {
        let (from, to) = (names(from, key), names(to, key));
        from.is_some() && to.is_some()
    });
    match key {
        Some(key) => by_name(at, key, from, to, changes),
        None => by_place(at, from, to, changes),
    }
}

/// The elements' names, if all have one and no two have the same.
fn names(list: &[Value], key: &str) -> Option<Vec<String>> {
    let name = |element: &Value| match element.as_object()?.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let names: Vec<String> = list.iter().map(name).collect::<Option<_>>()?;
    let distinct: HashSet<&String> = names.iter().collect();
    (distinct.len() == names.len()).then_some(names)
}

fn by_name(at: &str, key: &str, from: &[Value], to: &[Value], changes: &mut Vec<FieldChange>) {
    let (Some(old), Some(new)) = (names(from, key), names(to, key)) else {
        return;
    };
    let before = changes.len();
    for (name, element) in old.iter().zip(from) {
        let path = format!("{at}[{name}]");
        match new.iter().position(|other| other == name) {
            Some(place) => values(&path, element, &to[place], changes),
            None => changes.push(FieldChange {
                path,
                from: Some(element.clone()),
                to: None,
            }),
        }
    }
    for (name, element) in new.iter().zip(to).filter(|(name, _)| !old.contains(name)) {
        changes.push(FieldChange {
            path: format!("{at}[{name}]"),
            from: None,
            to: Some(element.clone()),
        });
    }
    // The order of containers, variables and the like has a meaning, if a small one.
    if changes.len() == before && old != new {
        changes.push(FieldChange {
            path: format!("{at} (order)"),
            from: Some(old.into()),
            to: Some(new.into()),
        });
    }
}

/// What is the same at both ends is passed over; in between, places are compared.
fn by_place(at: &str, from: &[Value], to: &[Value], changes: &mut Vec<FieldChange>) {
    let start = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    let (old, new) = (&from[start..], &to[start..]);
    let end = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (old, new) = (&old[..old.len() - end], &new[..new.len() - end]);
    for place in 0..old.len().max(new.len()) {
        let path = format!("{at}[{}]", start + place);
        match (old.get(place), new.get(place)) {
            (Some(old), Some(new)) => values(&path, old, new, changes),
            (old, new) => changes.push(FieldChange {
                path,
                from: old.cloned(),
                to: new.cloned(),
            }),
        }
    }
}

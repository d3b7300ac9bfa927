//! Which storage location is the default.

use refloat_model::BackupStorageLocation;

/// At the start of a server: the location that becomes the default, that is, the one named
/// `configured` where none is the default.
pub(crate) fn first_choice(locations: &[BackupStorageLocation], configured: &str) -> Option<String> {
    if locations.iter().any(|location| location.spec.default) {
        return None;
    }
    locations
        .iter()
        .map(name)
        .find(|name| !name.is_empty() && name == configured)
}

/// Those that are the default no longer, because of several the one that was created last is it.
pub(crate) fn superseded(locations: &[BackupStorageLocation]) -> Vec<String> {
    let mut defaults: Vec<_> = locations
        .iter()
        .filter(|location| location.spec.default)
        .collect();
    defaults.sort_by_key(|location| (location.metadata.creation_timestamp.clone(), name(location)));
    defaults.pop();
    defaults.into_iter().map(name).collect()
}

fn name(location: &BackupStorageLocation) -> String {
    location.metadata.name.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn location(name: &str, default: bool, created: i64) -> BackupStorageLocation {
        let mut location = BackupStorageLocation::new(name, Default::default());
        location.spec.default = default;
        location.metadata.creation_timestamp = Some(Time(Timestamp::from_second(created).unwrap()));
        location
    }

    #[test]
    fn the_configured_one_becomes_the_default_only_where_there_is_none() {
        let none = [location("a", false, 1), location("default", false, 2)];
        assert_eq!(first_choice(&none, "default").as_deref(), Some("default"));
        assert_eq!(first_choice(&none, "other"), None);
        let one = [location("a", true, 1), location("default", false, 2)];
        assert_eq!(first_choice(&one, "default"), None);
        assert!(superseded(&one).is_empty() && superseded(&none).is_empty());
        assert_eq!(first_choice(&[], "default"), None);
    }

    #[test]
    fn of_several_the_youngest_stays() {
        let several = [
            location("new", true, 3),
            location("old", true, 1),
            location("mid", true, 2),
        ];
        assert_eq!(superseded(&several), ["old", "mid"]);
    }
}

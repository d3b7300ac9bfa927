//! Which storage location is the default.

use refloat_model::BackupStorageLocation;

/// What has to be changed so that at most one location is the default: of several the one created
/// last stays; where there is none, the one named `configured` becomes it, if it exists.
pub(crate) fn default_changes(locations: &[BackupStorageLocation], configured: &str) -> Vec<(String, bool)> {
    let name = |location: &BackupStorageLocation| location.metadata.name.clone().unwrap_or_default();
    let mut defaults: Vec<_> = locations
        .iter()
        .filter(|location| location.spec.default)
        .collect();
    if defaults.is_empty() {
        let chosen = locations.iter().find(|location| name(location) == configured);
        return chosen
            .map(|location| (name(location), true))
            .into_iter()
            .collect();
    }
    defaults.sort_by_key(|location| (location.metadata.creation_timestamp.clone(), name(location)));
    defaults.pop();
    defaults
        .into_iter()
        .map(|location| (name(location), false))
        .collect()
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
        assert_eq!(default_changes(&none, "default"), [("default".to_owned(), true)]);
        assert!(default_changes(&none, "other").is_empty());
        let one = [location("a", true, 1), location("default", false, 2)];
        assert!(default_changes(&one, "default").is_empty());
        assert!(default_changes(&[], "default").is_empty());
    }

    #[test]
    fn of_several_the_youngest_stays() {
        let several = [
            location("new", true, 3),
            location("old", true, 1),
            location("mid", true, 2),
        ];
        assert_eq!(
            default_changes(&several, "old"),
            [("old".to_owned(), false), ("mid".to_owned(), false)]
        );
    }
}

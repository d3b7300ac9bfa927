//! Stopping work on request: an annotation on a Backup or Restore names who wants it.
//!
//! The object ends as `Failed`, because Velero knows no other phase for it.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use refloat_model::labels;

/// The longest name that is repeated.
const LONGEST: usize = 200;

/// Why the work is to stop; absent: it is not.
pub(crate) fn requested(metadata: &ObjectMeta) -> Option<String> {
    let who = metadata.annotations.as_ref().and_then(who)?;
    Some(format!("cancelled by {who}"))
}

fn who(annotations: &BTreeMap<String, String>) -> Option<String> {
    let text = annotations.get(labels::CANCELLED_BY)?;
    let short: String = text.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    let short = short.trim();
    Some(
        if short.is_empty() {
            "an unknown user"
        } else {
            short
        }
        .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_annotation_names_who_wants_it() {
        let with = |text: &str| ObjectMeta {
            annotations: Some([(labels::CANCELLED_BY.to_owned(), text.to_owned())].into()),
            ..ObjectMeta::default()
        };
        assert_eq!(requested(&ObjectMeta::default()), None);
        assert_eq!(requested(&with("anna")).as_deref(), Some("cancelled by anna"));
        assert_eq!(
            requested(&with("")).as_deref(),
            Some("cancelled by an unknown user")
        );
    }
}

//! What is wrong with a spec, before anything is done: one message for each fault, naming the field
//! and the remedy. Where users know Velero's words for a fault the message begins with them.

use refloat_model::{BackupSpec, RestoreSpec, backup::TypedLocalReference, schedule::ScheduleSpec};
use serde_json::Value;

use crate::{
    filter::{NameSet, check_namespace_pattern},
    json,
    restore::NOT_RESTORABLE,
    schedule::cron::Cron,
    selector::compile_all,
};

/// Checks a backup's spec by itself; whether its locations exist is the caller's to find out. No
/// message: it can be planned.
#[must_use]
pub fn validate_backup(spec: &BackupSpec) -> Vec<String> {
    let mut faults = Faults::default();
    if crate::backup::mixes_filters(spec) {
        faults.add(
            "include-resources, exclude-resources and include-cluster-resources are old filter parameters; \
             include/exclude-cluster-scoped-resources and include/exclude-namespace-scoped-resources are new \
             filter parameters. They cannot be used together: remove either spec.includedResources, \
             spec.excludedResources and spec.includeClusterResources, or spec.includedClusterScopedResources, \
             spec.excludedClusterScopedResources, spec.includedNamespaceScopedResources and \
             spec.excludedNamespaceScopedResources",
        );
    }
    let old = ["spec.includedResources", "spec.excludedResources"];
    faults.kinds(
        "resource",
        old,
        &spec.included_resources,
        &spec.excluded_resources,
        false,
    );
    faults.kinds(
        "cluster-scoped resource",
        [
            "spec.includedClusterScopedResources",
            "spec.excludedClusterScopedResources",
        ],
        &spec.included_cluster_scoped_resources,
        &spec.excluded_cluster_scoped_resources,
        true,
    );
    faults.kinds(
        "namespace-scoped resource",
        [
            "spec.includedNamespaceScopedResources",
            "spec.excludedNamespaceScopedResources",
        ],
        &spec.included_namespace_scoped_resources,
        &spec.excluded_namespace_scoped_resources,
        true,
    );
    faults.namespaces(&spec.included_namespaces, &spec.excluded_namespaces);
    match (&spec.label_selector, spec.or_label_selectors.is_empty()) {
        (Some(_), false) => faults.two_selectors("backup"),
        _ => faults.take(compile_all(
            spec.label_selector.as_ref(),
            &spec.or_label_selectors,
        )),
    }
    faults.config_map("spec.resourcePolicy", spec.resource_policy.as_ref());
    for (kind, order) in &spec.ordered_resources {
        faults.order(kind, order);
    }
    if spec
        .uploader_config
        .as_ref()
        .is_some_and(|config| config.parallel_files_upload < 0)
    {
        faults.add("spec.uploaderConfig.parallelFilesUpload is negative; use 0 for the default, or more");
    }
    for (at, set) in spec.hooks.resources.iter().enumerate() {
        let field = format!("spec.hooks.resources[{at}]");
        faults
            .take(compile_all(set.label_selector.as_ref(), &[]).map_err(|error| format!("{field}: {error}")));
        for (list, hooks) in [("pre", &set.pre), ("post", &set.post)] {
            for (index, _) in hooks
                .iter()
                .enumerate()
                .filter(|(_, hook)| hook.exec.command.is_empty())
            {
                faults.add(format!(
                    "{field}.{list}[{index}].exec.command is empty; name the program to run"
                ));
            }
        }
    }
    faults.0
}

/// Checks a restore's spec by itself; whether the backup exists is the caller's to find out. No
/// message: it can be planned.
#[must_use]
pub fn validate_restore(spec: &RestoreSpec) -> Vec<String> {
    let mut faults = Faults::default();
    match (spec.backup_name.is_empty(), spec.schedule_name.is_empty()) {
        (false, true) | (true, false) => {}
        _ => faults.add(
            "Either a backup or schedule must be specified as a source for the restore, but not both: set \
             exactly one of spec.backupName and spec.scheduleName",
        ),
    }
    for kind in &spec.included_resources {
        if NOT_RESTORABLE.contains(&kind.as_str()) {
            faults.add(format!(
                "{kind} are non-restorable resources: remove {kind:?} from spec.includedResources"
            ));
        }
    }
    let fields = ["spec.includedResources", "spec.excludedResources"];
    faults.kinds(
        "resource",
        fields,
        &spec.included_resources,
        &spec.excluded_resources,
        false,
    );
    faults.namespaces(&spec.included_namespaces, &spec.excluded_namespaces);
    match (&spec.label_selector, spec.or_label_selectors.is_empty()) {
        (Some(_), false) => faults.two_selectors("restore"),
        _ => faults.take(compile_all(
            spec.label_selector.as_ref(),
            &spec.or_label_selectors,
        )),
    }
    if !matches!(
        spec.existing_resource_policy.as_str(),
        "" | "none" | "update" | "recreate"
    ) {
        faults.add(format!(
            "Invalid ExistingResourcePolicy: {:?}; set spec.existingResourcePolicy to none, update or recreate, \
             or leave it out",
            spec.existing_resource_policy
        ));
    }
    for (from, to) in &spec.namespace_mapping {
        for name in [from, to] {
            if let Err(reason) = namespace_name(name) {
                faults.add(format!(
                    "spec.namespaceMapping: {name:?} is no name of a namespace: {reason}"
                ));
            }
        }
    }
    if let Some(status) = &spec.restore_status {
        let fields = [
            "spec.restoreStatus.includedResources",
            "spec.restoreStatus.excludedResources",
        ];
        faults.kinds(
            "status resource",
            fields,
            &status.included_resources,
            &status.excluded_resources,
            false,
        );
    }
    faults.config_map("spec.resourceModifier", spec.resource_modifier.as_ref());
    // Velero's releases know no such field, and to restore all where a policy says which does harm.
    if spec.resource_policy.is_some() {
        faults.add(
            "spec.resourcePolicy: restores have no resource policies; leave it out and choose by \
             spec.includedResources and spec.excludedResources",
        );
    }
    if spec
        .uploader_config
        .as_ref()
        .is_some_and(|config| config.parallel_files_download < 0)
    {
        faults.add("spec.uploaderConfig.parallelFilesDownload is negative; use 0 for the default, or more");
    }
    faults.restore_hooks(spec);
    faults.0
}

/// Checks a schedule: its times and its template.
#[must_use]
pub fn validate_schedule(spec: &ScheduleSpec) -> Vec<String> {
    read_schedule(spec).err().unwrap_or_default()
}

/// The times of a schedule that is right; else what is wrong with it.
pub(crate) fn read_schedule(spec: &ScheduleSpec) -> Result<Cron, Vec<String>> {
    let times = spec.schedule.parse::<Cron>();
    let fault = times
        .as_ref()
        .err()
        .map(|reason| format!("invalid schedule: spec.schedule {:?}: {reason}", spec.schedule));
    let mut faults: Vec<String> = fault.into_iter().collect();
    let template = validate_backup(&spec.template);
    faults.extend(
        template
            .into_iter()
            .map(|fault| fault.replace("spec.", "spec.template.")),
    );
    match times {
        Ok(cron) if faults.is_empty() => Ok(cron),
        _ => Err(faults),
    }
}

#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, message: impl Into<String>) {
        self.0.push(message.into());
    }

    fn take<T>(&mut self, checked: Result<T, impl ToString>) {
        if let Err(error) = checked {
            self.add(error.to_string());
        }
    }

    fn two_selectors(&mut self, what: &str) {
        self.add(format!(
            "encountered labelSelector as well as orLabelSelectors in {what} spec, only one can be specified: \
             remove spec.labelSelector or spec.orLabelSelectors"
        ));
    }

    fn kinds(
        &mut self,
        what: &str,
        fields: [&'static str; 2],
        includes: &[String],
        excludes: &[String],
        exclude_all: bool,
    ) {
        self.lists(what, fields, includes, excludes, exclude_all);
        for (field, names) in fields.into_iter().zip([includes, excludes]) {
            self.take(NameSet::new(field, names.iter().map(String::as_str)));
            if names.iter().any(|name| name.trim().is_empty()) {
                self.add(format!("{field} has an empty entry; remove it"));
            }
        }
    }

    fn namespaces(&mut self, includes: &[String], excludes: &[String]) {
        let fields = ["spec.includedNamespaces", "spec.excludedNamespaces"];
        self.lists("namespace", fields, includes, excludes, false);
        for (field, names) in fields.into_iter().zip([includes, excludes]) {
            for name in names.iter().filter(|name| !name.is_empty()) {
                let plain = name.replace(['*', '?', '[', ']'], "x");
                let checked = check_namespace_pattern(name).and_then(|()| namespace_name(&plain));
                if let Err(reason) = checked {
                    self.add(format!(
                        "Invalid included/excluded namespace lists: {field}: {name:?}: {reason}"
                    ));
                }
            }
        }
    }

    /// Rules for any pair of lists. `exclude_all`: the second list may be `*` alone.
    fn lists(
        &mut self,
        what: &str,
        [include_field, exclude_field]: [&str; 2],
        includes: &[String],
        excludes: &[String],
        exclude_all: bool,
    ) {
        let mut fault = |text: String| self.add(format!("Invalid included/excluded {what} lists: {text}"));
        let all = |names: &[String]| names.iter().any(|name| name == "*");
        if includes.len() > 1 && all(includes) {
            fault(format!(
                "includes list must either contain '*' only, or a non-empty list of items: remove '*' or the \
                 others from {include_field}"
            ));
        }
        match (all(excludes), exclude_all) {
            (true, false) => {
                fault(format!(
                    "excludes list cannot contain '*': remove it from {exclude_field}"
                ));
            }
            (true, true) if excludes.len() > 1 => fault(format!(
                "excludes list must either contain '*' only, or a non-empty list of items: remove '*' or the \
                 others from {exclude_field}"
            )),
            (true, true) if !includes.is_empty() => fault(format!(
                "when exclude is '*', include cannot have value: remove '*' from {exclude_field} or all from \
                 {include_field}"
            )),
            _ => {}
        }
        for both in excludes
            .iter()
            .filter(|name| *name != "*" && includes.contains(name))
        {
            fault(format!(
                "excludes list cannot contain an item in the includes list: {both}: remove it from \
                 {include_field} or from {exclude_field}"
            ));
        }
    }

    fn config_map(&mut self, field: &str, reference: Option<&TypedLocalReference>) {
        let Some(reference) = reference else { return };
        if !reference.kind.eq_ignore_ascii_case("configmap") {
            self.add(format!(
                "{field}.kind is {:?}; it must be ConfigMap",
                reference.kind
            ));
        }
        if reference.name.is_empty() {
            self.add(format!("{field}.name is empty; name the ConfigMap"));
        }
    }

    fn order(&mut self, kind: &str, order: &str) {
        let field = format!("spec.orderedResources[{kind:?}]");
        if kind.trim().is_empty() {
            self.add("spec.orderedResources has an empty kind; use the plural, for example pods");
        }
        // An empty entry, as a comma at the end leaves, harms nothing: a warning of the plan.
        for entry in order.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let mut parts = entry.split('/');
            let good = parts.by_ref().take(2).all(|part| !part.is_empty()) && parts.next().is_none();
            if !good {
                self.add(format!(
                    "{field}: {entry:?} names no object; write namespace/name, or name for cluster-scoped \
                     objects, separated by commas"
                ));
            }
        }
    }

    fn restore_hooks(&mut self, spec: &RestoreSpec) {
        for (at, set) in spec.hooks.resources.iter().enumerate() {
            let field = format!("spec.hooks.resources[{at}]");
            self.take(
                compile_all(set.label_selector.as_ref(), &[]).map_err(|error| format!("{field}: {error}")),
            );
            for (index, hook) in set.post_hooks.iter().enumerate() {
                let field = format!("{field}.postHooks[{index}]");
                match (&hook.exec, &hook.init) {
                    (Some(exec), None) if exec.command.is_empty() => {
                        self.add(format!("{field}.exec.command is empty; name the program to run"));
                    }
                    (Some(_), None) => {}
                    (None, Some(init)) => self.init_containers(&field, &init.init_containers),
                    _ => self.add(format!("{field} must have exactly one of exec and init")),
                }
            }
        }
    }

    fn init_containers(&mut self, field: &str, containers: &[Value]) {
        for (index, container) in containers.iter().enumerate() {
            for key in ["name", "image"] {
                if json::text(container, &[key]).is_none_or(str::is_empty) {
                    self.add(format!(
                        "{field}.init.initContainers[{index}].{key} is missing; set it"
                    ));
                }
            }
        }
    }
}

/// Checks the name of a namespace.
fn namespace_name(name: &str) -> Result<(), String> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let bytes = name.as_bytes();
    let good = (1..=63).contains(&bytes.len())
        && bytes.iter().all(|byte| inner(*byte))
        && !name.starts_with('-')
        && !name.ends_with('-');
    if good {
        Ok(())
    } else {
        Err(
            "use at most 63 lower-case letters, digits and '-', with a letter or digit at both ends"
                .to_owned(),
        )
    }
}

#[cfg(test)]
mod tests;

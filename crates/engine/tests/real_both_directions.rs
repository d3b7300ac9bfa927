//! Both directions with real Velero: its backups restored by us, ours restored by it, on a namespace
//! with objects of more than 40 kinds. The results equal the originals and each other after taking
//! away what either is meant to change, and the tarballs of both hold the same.

#[path = "peers/compare.rs"]
mod compare;
#[path = "real_both_directions/field.rs"]
mod field;
#[path = "peers/scene.rs"]
mod scene;
#[path = "peers/tarball.rs"]
mod tarball;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use refloat_model::{BackupSpec, RestoreSpec};
use serde_json::Value;

use compare::{Normalisation, differences, normalised, without};
use field::{Field, State};
use scene::{Target, nothing_to_report, run};

/// What a restore changes, or the cluster on its own once the objects are there.
const CHANGES: &[Normalisation] = &[
    without(&["*"], "metadata/uid", "each life of an object has its own"),
    without(&["*"], "metadata/resourceVersion", "the server's"),
    without(&["*"], "metadata/generation", "starts again"),
    without(&["*"], "metadata/creationTimestamp", "it was created now"),
    without(
        &["*"],
        "metadata/managedFields",
        "times, and names of controllers",
    ),
    without(
        &["*"],
        "metadata/ownerReferences",
        "their UIDs are gone; controllers adopt again",
    ),
    without(&["*"], "metadata/generateName", "the name is known"),
    without(
        &["*"],
        "metadata/labels/velero.io~1*",
        "a restore says what it made",
    ),
    without(&["*"], "status", "controllers write it; restored on request only"),
    without(&["services"], "spec/clusterIP*", "assigned by the cluster"),
    without(
        &["services"],
        "spec/ports/*/nodePort",
        "nobody chose it; assigned by the cluster",
    ),
    without(&["services"], "spec/healthCheckNodePort", "the same"),
    without(
        &["persistentvolumes"],
        "spec/claimRef/uid",
        "the claim's new life",
    ),
    without(
        &["persistentvolumes"],
        "spec/claimRef/resourceVersion",
        "the same",
    ),
    without(
        &["persistentvolumeclaims"],
        "metadata/annotations/volume.kubernetes.io~1storage-provisioner",
        "the volume controller writes it when it tries to provision",
    ),
    without(
        &["persistentvolumeclaims"],
        "metadata/annotations/volume.beta.kubernetes.io~1storage-provisioner",
        "the same",
    ),
    without(
        &["persistentvolumes"],
        "metadata/annotations/pv.kubernetes.io~1bound-by-controller",
        "the restored volume waits for its claim",
    ),
    without(
        &["secrets"],
        "data/token",
        "signed anew for the account's new life",
    ),
    without(
        &["secrets"],
        "metadata/annotations/kubernetes.io~1service-account.uid",
        "the same",
    ),
    without(
        &["jobs.batch"],
        "spec/selector/matchLabels/batch.kubernetes.io~1controller-uid",
        "the job's new life",
    ),
    without(
        &["jobs.batch"],
        "spec/template/metadata/labels/batch.kubernetes.io~1controller-uid",
        "the same",
    ),
    without(
        &["jobs.batch"],
        "spec/template/metadata/labels/controller-uid",
        "the same",
    ),
];

/// Objects with names by chance that controllers make anew: the kind, a label, and why.
const MADE_ANEW: &[(&str, &str, &str)] = &[
    (
        "endpointslices.discovery.k8s.io",
        "endpointslice.kubernetes.io/managed-by",
        "the service's controller makes new ones and removes what is not its own",
    ),
    (
        "pods",
        "batch.kubernetes.io/job-name",
        "a job counts only pods with its new UID",
    ),
];

/// What of a tarball's object may differ because the backups were made one after the other.
const DRIFT: &[Normalisation] = &[
    without(
        &["*"],
        "metadata/resourceVersion",
        "a controller wrote the status in between",
    ),
    without(&["*"], "metadata/managedFields", "the same"),
    without(&["*"], "status", "the same"),
];

#[test]
fn each_restores_what_the_other_backed_up() -> Result<()> {
    let field = Field::set_up()?;
    let original = field.settled()?;
    field.remember(&original);
    let kinds: BTreeSet<_> = original
        .values()
        .map(|(target, _)| &target.api.group_resource)
        .collect();
    ensure!(kinds.len() >= 40, "only {} kinds", kinds.len());
    for (name, spec) in [("plain", field.plain_spec()), ("all", field.labelled_spec())] {
        field.velero_backup(&format!("velero-{name}"), &spec)?;
        our_backup(&field, &format!("ours-{name}"), &spec)?;
        compare_tarballs(&field, name).with_context(|| format!("the tarballs of {name}"))?;
    }
    let mut restored = BTreeMap::new();
    let mut now = original.clone();
    for (who, backup) in [
        ("us", "velero-all"),
        ("velero", "ours-all"),
        ("us", "ours-all"),
        ("velero", "velero-all"),
    ] {
        field.delete(&now)?;
        let name = format!("{backup}-by-{who}");
        match who {
            "us" => our_restore(&field, backup, &name)?,
            _ => field.velero_restore(backup, &name)?,
        }
        now = field.settled()?;
        restored.insert(name, now.clone());
    }
    let mut problems = Vec::new();
    for (name, state) in &restored {
        let found = compare_states(&original, state);
        problems.extend(found.into_iter().map(|line| format!("{name}: {line}")));
    }
    let reference = &restored["velero-all-by-velero"];
    for (name, state) in &restored {
        let found = compare_states(reference, state);
        problems.extend(
            found
                .into_iter()
                .map(|line| format!("Velero itself | {name}: {line}")),
        );
    }
    ensure!(
        problems.is_empty(),
        "{} differences\n{}",
        problems.len(),
        problems.join("\n")
    );
    field.delete(&now)?;
    field.tear_down()
}

fn our_backup(field: &Field, name: &str, spec: &BackupSpec) -> Result<()> {
    let mut spec = spec.clone();
    refloat_plan::backup::add_default_excludes(&mut spec);
    let report = run(field.scene.backup(&field.location, name, spec))?;
    nothing_to_report(&report.results)
}

fn our_restore(field: &Field, backup: &str, name: &str) -> Result<()> {
    let report = run(field
        .scene
        .restore(&field.location, backup, name, RestoreSpec::default()))?;
    nothing_to_report(&report.results)
}

fn compare_states(original: &State, restored: &State) -> Vec<String> {
    let mut problems = Vec::new();
    for (key, (target, old)) in original.iter().filter(|(_, one)| !is_made_anew(one)) {
        let kind = target.api.group_resource.to_string();
        match restored.get(key) {
            None => problems.push(format!("{key} is missing")),
            Some((_, new)) => {
                let found = differences(&normalised(CHANGES, &kind, old), &normalised(CHANGES, &kind, new));
                problems.extend(found.into_iter().map(|line| format!("{key}: {line}")));
            }
        }
    }
    let new = restored
        .iter()
        .filter(|(key, one)| !original.contains_key(*key) && !is_made_anew(one));
    problems.extend(new.map(|(key, _)| format!("{key} is new")));
    problems
}

fn is_made_anew((target, object): &(Target, Value)) -> bool {
    let kind = target.api.group_resource.to_string();
    MADE_ANEW
        .iter()
        .any(|(made, label, _)| kind == *made && !object["metadata"]["labels"][*label].is_null())
}

/// The tarballs have the same entries, and the same objects in them.
fn compare_tarballs(field: &Field, name: &str) -> Result<()> {
    let read = |who: &str| run(tarball::objects(&field.location, &format!("{who}-{name}")));
    let (velero, ours) = (read("velero")?, read("ours")?);
    let event = |path: &&String| path.starts_with("resources/events");
    let paths = |all: &BTreeMap<String, Value>| {
        all.keys()
            .filter(|path| !event(path))
            .cloned()
            .collect::<BTreeSet<_>>()
    };
    let (velero_paths, our_paths) = (paths(&velero), paths(&ours));
    let mut problems: Vec<String> = velero_paths
        .difference(&our_paths)
        .map(|path| format!("only Velero has {path}"))
        .collect();
    problems.extend(
        our_paths
            .difference(&velero_paths)
            .map(|path| format!("only we have {path}")),
    );
    for path in velero_paths.intersection(&our_paths) {
        let kind = path.split('/').nth(1).unwrap_or_default();
        let found = differences(
            &normalised(DRIFT, kind, &velero[path]),
            &normalised(DRIFT, kind, &ours[path]),
        );
        problems.extend(found.into_iter().map(|line| format!("{path}: {line}")));
    }
    ensure!(
        problems.is_empty(),
        "{} differences\n{}",
        problems.len(),
        problems.join("\n")
    );
    Ok(())
}

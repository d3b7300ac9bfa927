//! Carries out a plan that was made before: checks that the cluster still is what the plan saw, and
//! then does with each object what the plan says or nothing.
//!
//! The check goes through all objects before anything is written. What changes after that is noticed object by
//! object: one whose decision is another by now is left alone, with an error in the results.

use std::collections::HashMap;

use refloat_cluster::ClusterError;
use refloat_model::{
    GroupResource, ObjectName,
    resource::ApiResource,
    restore_plan::{PlanAction, PlanHead, PlanLine, PlanObject},
};
use refloat_plan::{
    decision::{self, action_of, agrees},
    existing::{Existing, decide_existing},
    restore_item::PreparedItem,
};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{
    RestoreJob,
    execute::{Fate, Run, create, failed},
    existing::{carry_out as carry_out_existing, read},
    listing::stream_plan,
    planning::{applied, decide_all, head},
};
use crate::EngineError;

/// How many differences are named when a plan is refused.
const NAMED: usize = 5;

/// What the plan says of each object, in eight bytes each, by its place among the backup's objects of
/// its kind.
pub(super) struct Expected {
    plan: String,
    head: PlanHead,
    kinds: HashMap<GroupResource, Vec<(Said, u32)>>,
}

/// What the plan says of one object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Said {
    /// Nothing.
    #[default]
    Nothing,
    /// Create it; whether it would be there could not be checked.
    Unchecked,
    Create,
    Same,
    Patch,
    Conflict,
    Blocked,
    Skip,
}

impl Said {
    fn of(object: &PlanObject) -> Self {
        match object.action {
            PlanAction::Create if !object.checked => Self::Unchecked,
            PlanAction::Create => Self::Create,
            PlanAction::Same => Self::Same,
            PlanAction::Patch => Self::Patch,
            PlanAction::Conflict => Self::Conflict,
            PlanAction::Blocked => Self::Blocked,
            PlanAction::Skip => Self::Skip,
        }
    }
}

impl Expected {
    /// Reads the plan that a restore applies; absent: it applies none.
    ///
    /// # Errors
    /// If the plan is gone, damaged or not the one whose hash the restore names.
    pub(super) async fn load(job: &RestoreJob) -> Result<Option<Self>, EngineError> {
        let Some((plan, hash)) = applied(job) else {
            return Ok(None);
        };
        let mut lines = stream_plan(&job.location, &plan).await?;
        let mut head = None;
        let mut kinds: HashMap<GroupResource, Vec<(Said, u32)>> = HashMap::new();
        let mut of_kind: Option<(String, GroupResource)> = None;
        while let Some(line) = lines.recv().await {
            match line? {
                PlanLine::Head(found) => head = Some(found),
                PlanLine::Object(object) => {
                    if of_kind.as_ref().is_none_or(|(name, _)| *name != object.resource) {
                        let kind = GroupResource::parse(&object.resource);
                        of_kind = Some((object.resource.clone(), kind));
                    }
                    let Some((_, kind)) = &of_kind else { continue };
                    let said = kinds.entry(kind.clone()).or_default();
                    let place = usize::try_from(object.i).unwrap_or(usize::MAX);
                    if place >= said.len().saturating_add(MOST_LEFT_OUT) {
                        let key = refloat_model::layout::plan_listing(&plan);
                        return Err(EngineError::damaged(&key, "an object has no place in the backup"));
                    }
                    if place >= said.len() {
                        said.resize(place + 1, (Said::Nothing, 0));
                    }
                    said[place] = (Said::of(&object), mark(&object));
                }
                PlanLine::End(end) => check_hash(&plan, &hash, &end.hash)?,
            }
        }
        // A file without a head has been refused by its reader.
        Ok(head.map(|head| Self { plan, head, kinds }))
    }

    fn said(&self, kind: &GroupResource, place: usize) -> Said {
        self.both(kind, place).0
    }

    fn both(&self, kind: &GroupResource, place: usize) -> (Said, u32) {
        let said = self.kinds.get(kind).and_then(|all| all.get(place));
        said.copied().unwrap_or_default()
    }
}

/// The beginning of the hash of a difference: enough to see that it is another.
fn mark(object: &PlanObject) -> u32 {
    let digits = object.difference.get(..8);
    digits
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .unwrap_or_default()
}

/// How many objects in a row a plan may leave out; a bound for what a damaged file can ask for.
const MOST_LEFT_OUT: usize = 100_000_000;

fn check_hash(plan: &str, wanted: &str, found: &str) -> Result<(), EngineError> {
    if wanted.is_empty() || wanted == found {
        return Ok(());
    }
    Err(EngineError::Moved {
        plan: plan.to_owned(),
        differences: format!("its hash is {found} and not {wanted}: it was made again"),
    })
}

/// Makes the plan of a restore again and compares it with the one that the restore is to apply.
/// Nothing is written. A restore that applies no plan is fine.
///
/// # Errors
/// [`EngineError::Moved`] with the first differences; else as [`super::run_plan`].
pub async fn check_plan(job: &RestoreJob) -> Result<(), EngineError> {
    let Some((plan, hash)) = applied(job) else {
        return Ok(());
    };
    let cancel = job.cancel.clone();
    tokio::select! {
        () = cancel.cancelled() => Err(EngineError::Cancelled),
        checked = check(job, &plan, &hash) => checked,
    }
}

async fn check(job: &RestoreJob, plan: &str, hash: &str) -> Result<(), EngineError> {
    let mut stored = stream_plan(&job.location, plan).await?;
    let Some(PlanLine::Head(before)) = stored.recv().await.transpose()? else {
        let key = refloat_model::layout::plan_listing(plan);
        return Err(EngineError::damaged(&key, "it is empty"));
    };
    let now = head(job, before.salt.clone()).await?;
    for (what, before, now) in [
        ("backup", &before.backup, &now.backup),
        ("contents of the backup", &before.contents, &now.contents),
        ("specification of the restore", &before.spec, &now.spec),
        ("cluster", &before.cluster, &now.cluster),
    ] {
        if before != now {
            return Err(EngineError::Moved {
                plan: plan.to_owned(),
                differences: format!("it was made for another {what}"),
            });
        }
    }
    let (sender, mut fresh) = mpsc::channel(64);
    let comparing = async {
        let mut differences = Vec::new();
        loop {
            let planned = match stored.recv().await.transpose()? {
                Some(PlanLine::Object(object)) => Some(object),
                Some(PlanLine::End(end)) => {
                    check_hash(plan, hash, &end.hash)?;
                    None
                }
                _ => None,
            };
            let found: Option<PlanObject> = fresh.recv().await;
            match (planned, found) {
                (None, None) => break,
                (Some(planned), Some(found)) if agrees(&planned, &found) => {}
                (planned, found) => differences.push(told(planned.as_deref(), found.as_ref())),
            }
            if differences.len() >= NAMED {
                differences.push("…".to_owned());
                break;
            }
        }
        drop(fresh);
        Ok(differences)
    };
    let (decided, compared) = tokio::join!(decide_all(job, &now, sender), comparing);
    let differences: Vec<String> = compared?;
    if differences.is_empty() {
        return decided;
    }
    Err(EngineError::Moved {
        plan: plan.to_owned(),
        differences: differences.join("; "),
    })
}

/// One difference between the plan and the cluster, in words.
fn told(planned: Option<&PlanObject>, found: Option<&PlanObject>) -> String {
    let word = |object: &PlanObject| match object.code.as_str() {
        "" => object.action.word().to_owned(),
        code => format!("{} ({code})", object.action.word()),
    };
    match (planned, found) {
        (Some(planned), Some(found)) if planned.title() == found.title() => {
            let (before, now) = (word(planned), word(found));
            let how = if before == now {
                format!("{before}, but the cluster's object is another")
            } else {
                format!("{before} in the plan, {now} now")
            };
            format!("{}: {how}", planned.title())
        }
        (Some(planned), Some(found)) => format!("{} in the plan, {} now", planned.title(), found.title()),
        (Some(planned), None) => format!("{}: only in the plan", planned.title()),
        (None, Some(found)) => format!("{}: not in the plan", found.title()),
        (None, None) => String::new(),
    }
}

/// Whether the plan forbids to do anything with an object; says so in the results.
pub(super) fn is_refused(
    run: &Run,
    expected: &Expected,
    kind: &GroupResource,
    place: usize,
    name: &ObjectName,
) -> bool {
    let why = match expected.said(kind, place) {
        Said::Blocked => "the plan says that it is blocked, and why",
        Said::Nothing | Said::Skip => "it is not in the plan",
        _ => return false,
    };
    let plan = &expected.plan;
    let text = format!("error restoring {kind}/{name}: {why}: plan {plan}");
    run.log.error(&name.namespace, &text);
    true
}

/// Does with a prepared object what the plan says, if the cluster still allows it.
pub(super) async fn carry_out(
    run: &Run,
    expected: &Expected,
    api: &ApiResource,
    place: usize,
    name: &ObjectName,
    item: PreparedItem,
) -> Result<Fate, EngineError> {
    let kind = &api.group_resource;
    let (said, before) = expected.both(kind, place);
    if matches!(said, Said::Create | Said::Unchecked) {
        return create(run, api, place, name, item).await;
    }
    let live = match read(run, api, name).await {
        Ok(live) => live,
        // An earlier try of this restore may have died between deleting it and creating it again.
        Err(error) if error.is_not_found() && said == Said::Patch && run.context().recreates(kind) => {
            return create(run, api, place, name, item).await;
        }
        Err(error) if error.is_not_found() => return Ok(moved(run, expected, kind, name, "it is gone")),
        Err(error) => return failed(run, kind, name, error).await,
    };
    let existing = decide_existing(&run.context(), kind, &item.object, &live);
    let unchanged = || {
        let decision = decision::of_existing(&run.context(), kind, &item.object, &live);
        mark(&decision::line(
            &expected.head,
            kind,
            place as u64,
            name,
            decision,
        )) == before
    };
    match (said, action_of(&existing)) {
        (Said::Patch, PlanAction::Patch) if !unchanged() => {
            Ok(moved(run, expected, kind, name, "its difference is another"))
        }
        (Said::Same, PlanAction::Same)
        | (Said::Patch, PlanAction::Patch)
        | (Said::Conflict, PlanAction::Conflict) => {
            carry_out_existing(run, api, name, &item, &live, existing).await
        }
        (Said::Patch, _) if existing == Existing::AwaitDeletion => {
            carry_out_existing(run, api, name, &item, &live, existing).await
        }
        // The server refused the patch when it was asked.
        (Said::Conflict, PlanAction::Patch) => {
            let text = format!("{kind}/{name} is left as it is: the plan found that it cannot be updated");
            run.log.warn(&name.namespace, &text);
            Ok(Fate::Skipped)
        }
        // An earlier try of this restore has patched it.
        (Said::Patch, PlanAction::Same) if bears_our_label(run, &live) => Ok(Fate::Updated),
        (_, now) => {
            let how = format!("the restore would now {}", now.word());
            Ok(moved(run, expected, kind, name, &how))
        }
    }
}

/// An object that the plan would create is there. One of this restore, or one that a controller has made since
/// it began, is treated as without a plan; another came between.
pub(super) async fn came_between(
    run: &Run,
    expected: &Expected,
    api: &ApiResource,
    place: usize,
    name: &ObjectName,
    item: &PreparedItem,
    refusal: &ClusterError,
) -> Result<Fate, EngineError> {
    let kind = &api.group_resource;
    if expected.said(kind, place) == Said::Unchecked {
        return super::existing::settle(run, api, name, item, refusal).await;
    }
    let live = match read(run, api, name).await {
        Ok(live) => live,
        Err(error) if error.is_not_found() => {
            return Ok(moved(run, expected, kind, name, &refusal.server_message()));
        }
        Err(error) => return failed(run, kind, name, error).await,
    };
    let context = run.context();
    let existing = decide_existing(&context, kind, &item.object, &live);
    let created = live
        .pointer("/metadata/creationTimestamp")
        .and_then(Value::as_str);
    let created = created.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let since = created
        .zip(context.not_before)
        .is_some_and(|(created, began)| created >= began);
    if since || matches!(existing, Existing::Ours) {
        return carry_out_existing(run, api, name, item, &live, existing).await;
    }
    Ok(moved(run, expected, kind, name, "it is there by now"))
}

fn bears_our_label(run: &Run, live: &Value) -> bool {
    let labels = live.pointer("/metadata/labels");
    let own = labels.and_then(|all| all.get(refloat_model::labels::RESTORE_NAME));
    own.and_then(Value::as_str) == Some(run.context().restore_label())
}

fn moved(run: &Run, expected: &Expected, kind: &GroupResource, name: &ObjectName, how: &str) -> Fate {
    let text = format!(
        "error restoring {kind}/{name}: it has changed since plan {} was checked ({how}); it is left as it is",
        expected.plan
    );
    run.log.error(&name.namespace, &text);
    Fate::Failed
}

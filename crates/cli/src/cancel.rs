//! Asking the server to stop a backup or restore: an annotation that says who wants it.

use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use refloat_cluster::{
    Cluster,
    apply::WriteOptions,
    typed::{Object, Objects},
};
use refloat_model::{GroupResource, ObjectName, labels, resource::ApiResource};
use serde_json::{Value, json};

use crate::{
    exit::{self, Outcome},
    output::say,
    select,
};

/// Which objects to stop.
#[derive(Args, Clone, Debug)]
pub struct NamesFlags {
    /// Their names
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
}

/// Asks the server to stop the named objects. `phase` is the phase of one, and whether it is final.
///
/// # Errors
/// Where the server cannot be asked.
pub async fn request<K: Object>(
    cluster: &Cluster,
    objects: &Objects<K>,
    flags: &NamesFlags,
    phase: impl Fn(&K) -> (String, bool),
) -> Result<Outcome> {
    let who = who(cluster).await;
    let kind = K::kind_name().to_lowercase();
    let (mut done, mut failures) = (0, 0);
    for name in &flags.names {
        let failed = match objects.get(name).await {
            Err(error) => Some(exit::chain(&error.into())),
            Ok(object) => {
                let (phase, ended) = phase(&object);
                let patch = json!({ "metadata": {
                    "uid": object.object_uid(), "annotations": { labels::CANCELLED_BY: who },
                } });
                if ended {
                    Some(format!(
                        "{kind} {name:?} is {phase} already; there is nothing to cancel"
                    ))
                } else {
                    let asked = objects.merge_patch(name, &patch).await;
                    asked.err().map(|error| exit::chain(&error.into()))
                }
            }
        };
        match failed {
            None => {
                done += 1;
                say(&format!(
                    "Request to cancel {kind} {name:?} submitted successfully. It ends as Failed, with the reason \
                     \"cancelled by {who}\"."
                ))?;
            }
            Some(problem) => {
                failures += 1;
                exit::complain(&format!("error: {problem}"));
            }
        }
    }
    Ok(select::outcome(done, failures))
}

/// Our name as the API server knows it; else the name of the user on this machine.
async fn who(cluster: &Cluster) -> String {
    let review = ApiResource {
        group_resource: GroupResource::new("selfsubjectreviews", "authentication.k8s.io"),
        version: "v1".into(),
        kind: "SelfSubjectReview".into(),
        namespaced: false,
        aliases: Vec::new(),
        verbs: Vec::new(),
    };
    let body = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    let body = Bytes::from(body.to_string());
    let asked = cluster
        .create(&review, &ObjectName::new("", ""), body, WriteOptions::default())
        .await;
    let known = asked.ok().and_then(|bytes| {
        let review: Value = serde_json::from_slice(&bytes).ok()?;
        review
            .pointer("/status/userInfo/username")?
            .as_str()
            .map(str::to_owned)
    });
    known
        .or_else(|| std::env::var("USER").ok())
        .unwrap_or_else(|| "an unknown user".into())
}

//! Kubernetes Events about what became of backups, restores and locations: what
//! `kubectl describe` shows. Best effort; nothing depends on them.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use refloat_cluster::{Cluster, typed::Object};
use tracing::debug;

use crate::error::chain;

/// The reporting controller.
const CONTROLLER: &str = "velero.io/refloat";
/// The longest note that Kubernetes takes, in bytes.
const LONGEST_NOTE: usize = 1024;
/// How long writing one may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Whether an event deserves attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Writes events about objects of one namespace.
#[derive(Clone)]
pub(crate) struct Events {
    cluster: Cluster,
    namespace: String,
    instance: String,
}

impl Events {
    /// Events of the server `instance`.
    pub(crate) fn new(cluster: Cluster, namespace: &str, instance: &str) -> Self {
        Self {
            cluster,
            namespace: namespace.to_owned(),
            instance: instance.to_owned(),
        }
    }

    /// Writes an event about `object`. `action` and `reason` are single words in CamelCase. The note
    /// must hold no secret.
    pub(crate) async fn tell<K: Object>(
        &self,
        object: &K,
        tone: Tone,
        action: &str,
        reason: &str,
        note: &str,
    ) {
        let event = self.event(object, tone, action, reason, note);
        let events = self.cluster.objects::<Event>(&self.namespace);
        match tokio::time::timeout(LIMIT, events.create(&event)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => debug!(error = %chain(&error), reason, "cannot write an event"),
            Err(_) => debug!(reason, "writing an event took too long"),
        }
    }

    fn event<K: Object>(&self, object: &K, tone: Tone, action: &str, reason: &str, note: &str) -> Event {
        let name = object.object_name();
        Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", cut(name, 200).trim_end_matches('.'))),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(Timestamp::now())),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(cut(&self.instance, 128).to_owned()),
            action: Some(action.to_owned()),
            reason: Some(cut(reason, 128).to_owned()),
            type_: Some(if tone == Tone::Normal { "Normal" } else { "Warning" }.to_owned()),
            note: Some(cut(note, LONGEST_NOTE).to_owned()),
            regarding: Some(ObjectReference {
                api_version: Some(K::api_version_name()),
                kind: Some(K::kind_name()),
                name: Some(name.to_owned()),
                namespace: Some(self.namespace.clone()),
                uid: Some(object.object_uid().to_owned()),
                ..ObjectReference::default()
            }),
            ..Event::default()
        }
    }
}

fn cut(text: &str, longest: usize) -> &str {
    &text[..text.floor_char_boundary(longest)]
}

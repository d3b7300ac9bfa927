//! What the API server serves, asked anew for each backup and restore.
//!
//! Discovery documents lag behind: the server publishes a new kind a moment after its definition
//! is established. So the definitions themselves are listed too, and those that discovery does not
//! show yet are added. A kind made a second ago is in the backup.

use std::collections::HashSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use refloat_model::resource::{ApiResource, GroupResource};
use serde::Deserialize;

use crate::{Cluster, ClusterError};

/// All kinds in their preferred versions, and what could not be asked.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// In the server's order: core first, then the groups as the server lists them.
    pub resources: Vec<ApiResource>,
    /// The same kinds in the other versions that are served.
    pub other_versions: Vec<ApiResource>,
    /// What did not answer: its objects cannot be seen.
    pub unavailable: Vec<Unavailable>,
}

/// A version of an API group that did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// The group.
    pub group: String,
    /// The version.
    pub version: String,
    /// Whether another server than the API server answers for it (an aggregated API, such as metrics).
    pub aggregated: bool,
}

/// As much of an `APIService` as tells who answers for a group.
#[derive(Deserialize)]
struct ApiService {
    spec: ApiServiceSpec,
}

#[derive(Deserialize)]
struct ApiServiceSpec {
    #[serde(default)]
    service: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct GroupList {
    #[serde(default)]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    name: String,
    preferred_version: Version,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
struct Version {
    group_version: String,
    version: String,
}

#[derive(Deserialize)]
struct ResourceList {
    #[serde(default)]
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    name: String,
    #[serde(default)]
    singular_name: String,
    namespaced: bool,
    kind: String,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    short_names: Vec<String>,
}

impl Cluster {
    /// Asks for all kinds, each in its group's preferred version (a kind that only another version
    /// has is listed in that version).
    ///
    /// # Errors
    /// If the core API or the list of groups cannot be read; a group that does not answer is
    /// reported in [`Discovery::unavailable`] instead.
    pub async fn discover(&self) -> Result<Discovery, ClusterError> {
        let groups: GroupList = self.get_json("list the API groups", "/apis").await?;
        let core: ResourceList = self.get_json("list the core API's kinds", "/api/v1").await?;
        let mut found = Discovery::default();
        let mut seen = HashSet::new();
        found.add("", "v1", core, &mut seen);
        let documents = futures::future::join_all(groups.groups.iter().map(|group| self.group(group))).await;
        for (group, versions) in groups.groups.iter().zip(documents) {
            for (version, document) in versions {
                match document {
                    Ok(document) => found.add(&group.name, &version, document, &mut seen),
                    Err((error, aggregated)) => {
                        tracing::warn!(group = group.name, version, %error, "an API group does not answer");
                        found.unavailable.push(Unavailable {
                            group: group.name.clone(),
                            version,
                            aggregated,
                        });
                    }
                }
            }
        }
        self.add_fresh_definitions(&mut found, &mut seen).await?;
        Ok(found)
    }

    /// The documents of a group's versions, the preferred one first.
    async fn group(&self, group: &Group) -> Vec<(String, Result<ResourceList, (ClusterError, bool)>)> {
        let mut versions = vec![group.preferred_version.clone()];
        versions.extend(
            group
                .versions
                .iter()
                .filter(|other| other.version != group.preferred_version.version)
                .cloned(),
        );
        let asked = versions.into_iter().map(|version| async move {
            let document = self.kinds_of(&group.name, &version).await;
            (version.version, document)
        });
        futures::future::join_all(asked).await
    }

    /// A version's document; the error comes with whether the API is an aggregated one. Such a server that is away
    /// is not waited for.
    async fn kinds_of(&self, group: &str, version: &Version) -> Result<ResourceList, (ClusterError, bool)> {
        let action = format!("list the kinds of {}", version.group_version);
        let path = format!("/apis/{}", version.group_version);
        match self.get_json_once(&action, &path).await {
            Err(error) if error.code() == Some(503) && self.is_aggregated(group, &version.version).await => {
                Err((error, true))
            }
            Err(error) if error.is_retryable() => {
                let again = self.get_json(&action, &path).await;
                again.map_err(|error| (error, false))
            }
            other => other.map_err(|error| (error, false)),
        }
    }

    /// Whether another server answers for an API; where that cannot be found out, it counts as the API
    /// server's own.
    async fn is_aggregated(&self, group: &str, version: &str) -> bool {
        let path = format!("/apis/apiregistration.k8s.io/v1/apiservices/{version}.{group}");
        let action = format!("find out who serves {group}/{version}");
        let service: Result<ApiService, _> = self.get_json(&action, &path).await;
        service.is_ok_and(|service| service.spec.service.is_some())
    }

    /// Adds kinds whose definition is established but which discovery does not show yet.
    async fn add_fresh_definitions(
        &self,
        found: &mut Discovery,
        seen: &mut HashSet<GroupResource>,
    ) -> Result<(), ClusterError> {
        let mut listing = self.list_pages(&definitions(), None, None, 250);
        loop {
            let object = match listing.next().await {
                Ok(Some(object)) => object,
                Ok(None) => return Ok(()),
                // Without leave to read definitions, discovery alone has to do.
                Err(error) if matches!(error.code(), Some(403 | 404)) => return Ok(()),
                Err(error) => return Err(error),
            };
            let Ok(definition) = serde_json::from_slice::<CustomResourceDefinition>(&object) else {
                continue;
            };
            let versions = served(&definition);
            if let Some(first) = versions.first()
                && seen.insert(first.group_resource.clone())
            {
                tracing::debug!(resource = %first.group_resource, "taken from its definition");
                let mut versions = versions.into_iter();
                found.resources.extend(versions.next());
                found.other_versions.extend(versions);
            }
        }
    }
}

impl Discovery {
    fn add(&mut self, group: &str, version: &str, document: ResourceList, seen: &mut HashSet<GroupResource>) {
        for resource in document.resources {
            if resource.name.contains('/') {
                continue; // a subresource
            }
            let group_resource = GroupResource::new(resource.name, group);
            let mut aliases = resource.short_names;
            aliases.extend(Some(resource.singular_name).filter(|name| !name.is_empty()));
            let preferred = seen.insert(group_resource.clone());
            let found = ApiResource {
                group_resource,
                version: version.to_owned(),
                kind: resource.kind,
                namespaced: resource.namespaced,
                aliases,
                verbs: resource.verbs,
            };
            if preferred {
                self.resources.push(found);
            } else {
                self.other_versions.push(found);
            }
        }
    }

    /// The served kind of that name, if any.
    #[must_use]
    pub fn find(&self, group_resource: &GroupResource) -> Option<&ApiResource> {
        self.resources
            .iter()
            .find(|resource| resource.group_resource == *group_resource)
    }
}

/// The kind of custom resource definitions themselves.
#[must_use]
pub fn definitions() -> ApiResource {
    ApiResource {
        group_resource: GroupResource::new("customresourcedefinitions", "apiextensions.k8s.io"),
        version: "v1".into(),
        kind: "CustomResourceDefinition".into(),
        namespaced: false,
        aliases: vec!["crd".into(), "crds".into(), "customresourcedefinition".into()],
        verbs: ["list", "create", "get", "delete"].map(String::from).to_vec(),
    }
}

/// The kind that an established definition makes: first in the version that it stores, then in the
/// others that are served.
fn served(definition: &CustomResourceDefinition) -> Vec<ApiResource> {
    let conditions = definition
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let is = |kind: &str| {
        conditions.is_some_and(|conditions| {
            conditions
                .iter()
                .any(|found| found.type_ == kind && found.status == "True")
        })
    };
    if !is("Established") || !is("NamesAccepted") {
        return Vec::new();
    }
    let names = &definition.spec.names;
    let mut aliases = names.short_names.clone().unwrap_or_default();
    aliases.extend(names.singular.clone());
    let mut versions: Vec<_> = definition
        .spec
        .versions
        .iter()
        .filter(|version| version.served)
        .collect();
    versions.sort_by_key(|version| !version.storage);
    let made = versions.into_iter().map(|version| ApiResource {
        group_resource: GroupResource::new(names.plural.clone(), definition.spec.group.clone()),
        version: version.name.clone(),
        kind: names.kind.clone(),
        namespaced: definition.spec.scope == "Namespaced",
        aliases: aliases.clone(),
        verbs: ["list", "create", "get", "delete", "patch", "update", "watch"]
            .map(String::from)
            .to_vec(),
    });
    made.collect()
}

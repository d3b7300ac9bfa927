//! The cluster as it is now, in the shape of a backup: what a backup with the same spec would hold.
//!
//! Nothing is written and nothing is run in pods; objects are listed as the backup lists them. Objects
//! that a backup holds only because others refer to them are read one by one.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use refloat_cluster::{Cluster, ClusterError, Discovery};
use refloat_model::{Backup, GroupResource, ObjectName, archive, resource::ApiResource};
use refloat_plan::{
    backup::{BackupPlan, ListScope, Listing, Verdict, plan_backup},
    backup_action::{self, RbacIndex},
    diff::Scope,
};
use tokio::sync::mpsc;

use crate::{
    EngineError,
    backup::{Item, namespace_facts},
    error::chain,
    spool::Spool,
};

/// What a comparison with the cluster needs to know before it lists.
pub(super) struct Live<'a> {
    pub(super) discovery: Discovery,
    cluster: &'a Cluster,
    page_size: u32,
    plan: BackupPlan,
    backup: String,
}

/// An object on its way into the spool.
type Found = (Arc<GroupResource>, ObjectName, Bytes);

impl<'a> Live<'a> {
    /// Asks what the cluster serves and plans what a backup like `backup` would list.
    pub(super) async fn find_out(
        cluster: &'a Cluster,
        page_size: u32,
        backup: &Backup,
    ) -> Result<Self, EngineError> {
        let failed = |source| EngineError::cluster("cannot find out what the cluster serves", source);
        let discovery = cluster.discover().await.map_err(failed)?;
        let facts = namespace_facts(cluster, page_size).await?;
        let plan =
            plan_backup(&backup.spec, &discovery.resources, &facts).map_err(|error| EngineError::Plan {
                doing: "cannot plan what to compare the backup with".into(),
                source: error.into(),
            })?;
        Ok(Self {
            discovery,
            cluster,
            page_size: page_size.max(1),
            plan,
            backup: backup.metadata.name.clone().unwrap_or_default(),
        })
    }

    /// Lists everything in the scope into a spool; `stored` is the backup. What cannot be listed is
    /// a problem, and its objects count as removed.
    pub(super) async fn collect(
        &self,
        scope: &Scope,
        stored: &Spool,
        problems: &mut Vec<String>,
    ) -> Result<Spool, EngineError> {
        let (sender, mut receiver) = mpsc::channel::<Found>(64);
        let filling = tokio::task::spawn_blocking(move || {
            let mut spool = Spool::create()?;
            while let Some((resource, name, json)) = receiver.blocking_recv() {
                spool.add(&resource, &name, &json)?;
            }
            spool.seal()?;
            Ok(spool)
        });
        let listed = self.list_all(scope, stored, &sender, problems).await;
        drop(sender);
        let filled = filling
            .await
            .unwrap_or_else(|error| Err(EngineError::damaged("the scratch file", error)));
        listed.and(filled)
    }

    async fn list_all(
        &self,
        scope: &Scope,
        stored: &Spool,
        sender: &mpsc::Sender<Found>,
        problems: &mut Vec<String>,
    ) -> Result<(), EngineError> {
        let inventory = stored.inventory();
        for api in &self.discovery.unavailable {
            // An API of which the backup holds nothing (metrics, mostly) is not missed.
            if inventory.iter().any(|held| held.resource.group == api.group) {
                problems.push(format!(
                    "API group {}/{} does not answer; its objects count as removed",
                    api.group, api.version
                ));
            }
        }
        let namespace_kind = self.plan.namespace_kind.as_ref();
        let namespaces = namespace_kind.filter(|kind| scope.kind(&kind.group_resource));
        let mut occupied = HashSet::new();
        let mut listed = BTreeSet::new();
        for listing in &self.plan.listings {
            let kind = &listing.resource.group_resource;
            listed.insert(kind.clone());
            // Namespaces are there because of what is in them, so that all kinds are listed for them.
            if scope.kind(kind) || (namespaces.is_some() && listing.resource.namespaced) {
                let asked = self.list(listing, scope, sender, &mut occupied).await;
                if let Err(error) = asked {
                    self.tell(kind, error, problems).await?;
                }
            }
        }
        if let Some(kind) = namespaces {
            listed.insert(kind.group_resource.clone());
            self.namespaces(kind, scope, sender, &occupied).await?;
        }
        for held in inventory {
            if !listed.contains(&held.resource) && scope.kind(&held.resource) {
                self.read_each(&held.resource, stored, sender, problems).await?;
            }
        }
        Ok(())
    }

    /// Lists one kind where the plan says.
    async fn list(
        &self,
        listing: &Listing,
        scope: &Scope,
        sender: &mpsc::Sender<Found>,
        occupied: &mut HashSet<String>,
    ) -> Result<(), ClusterError> {
        let resource = Arc::new(listing.resource.group_resource.clone());
        let wanted = scope.kind(&resource);
        let namespaces: Vec<Option<&str>> = match &listing.scope {
            ListScope::Cluster | ListScope::AllNamespaces => vec![None],
            ListScope::Namespaces(names) => names.iter().map(|name| Some(name.as_str())).collect(),
        };
        let selectors: Vec<Option<&str>> = match listing.label_selectors.as_slice() {
            [] => vec![None],
            some => some.iter().map(|selector| Some(selector.as_str())).collect(),
        };
        let mut seen = HashSet::new();
        for namespace in namespaces {
            for selector in &selectors {
                let mut pages =
                    self.cluster
                        .list_pages(&listing.resource, namespace, *selector, self.page_size);
                while let Some(json) = pages.next().await? {
                    let Some(name) = self.kept(&resource, &json) else {
                        continue;
                    };
                    if !occupied.contains(&*name.namespace) {
                        occupied.insert(name.namespace.to_string());
                    }
                    let again = selectors.len() > 1 && !seen.insert(name.clone());
                    if wanted && !again && scope.object(&resource, &name) {
                        self.send(&listing.resource, &resource, name, json, sender).await;
                    }
                }
            }
        }
        Ok(())
    }

    /// The object's name, if a backup would keep it.
    fn kept(&self, resource: &GroupResource, json: &[u8]) -> Option<ObjectName> {
        let item: Item<'_> = serde_json::from_slice(json).ok()?;
        let meta = item.meta();
        let keep = matches!(self.plan.verdict(resource, &meta), Verdict::Keep);
        let name = keep.then(|| ObjectName::new(meta.namespace, meta.name));
        name.filter(archive::can_hold)
    }

    /// Hands an object on in the form in which a backup stores it.
    async fn send(
        &self,
        api: &ApiResource,
        resource: &Arc<GroupResource>,
        name: ObjectName,
        json: Bytes,
        sender: &mpsc::Sender<Found>,
    ) {
        let json = match serde_json::from_slice::<Item<'_>>(&json) {
            Ok(item) if item.api_version.is_none() => {
                Bytes::from([&crate::backup::type_prefix(api)[..], &json[1..]].concat())
            }
            _ => json,
        };
        let json = if backup_action::needs_parsing(resource)
            && let Ok(mut value) = serde_json::from_slice(&json)
        {
            let outcome = backup_action::act(&self.backup, &RbacIndex::default(), resource, &mut value);
            if outcome.changed {
                Bytes::from(value.to_string())
            } else {
                json
            }
        } else {
            json
        };
        // If the spool is gone it has failed, and says so itself.
        let _ = sender.send((resource.clone(), name, json)).await;
    }

    /// The namespace objects that a backup would hold.
    async fn namespaces(
        &self,
        kind: &ApiResource,
        scope: &Scope,
        sender: &mpsc::Sender<Found>,
        occupied: &HashSet<String>,
    ) -> Result<(), EngineError> {
        let resource = Arc::new(kind.group_resource.clone());
        let failed = |error| EngineError::cluster("cannot compare the namespaces", error);
        let mut pages = self.cluster.list_pages(kind, None, None, self.page_size);
        while let Some(json) = pages.next().await.map_err(failed)? {
            let Some(name) = self.kept(&resource, &json) else {
                continue;
            };
            let belongs = self
                .plan
                .keeps_namespace(&name.name, occupied.contains(&name.name));
            if belongs && scope.object(&resource, &name) {
                self.send(kind, &resource, name, json, sender).await;
            }
        }
        Ok(())
    }

    /// Reads the objects of a kind that the backup does not list but holds.
    async fn read_each(
        &self,
        kind: &GroupResource,
        stored: &Spool,
        sender: &mpsc::Sender<Found>,
        problems: &mut Vec<String>,
    ) -> Result<(), EngineError> {
        let Some(api) = self.discovery.find(kind) else {
            problems.push(format!(
                "the cluster does not serve {kind}; its objects count as removed"
            ));
            return Ok(());
        };
        let resource = Arc::new(kind.clone());
        for block in stored.blocks(kind) {
            for record in stored.read(block)? {
                match self.cluster.get(api, &record.name).await {
                    Ok(json) => self.send(api, &resource, record.name, json, sender).await,
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return self.tell(kind, error, problems).await,
                }
            }
        }
        Ok(())
    }

    /// A list that failed is data, unless the API server is gone.
    async fn tell(
        &self,
        kind: &GroupResource,
        error: ClusterError,
        problems: &mut Vec<String>,
    ) -> Result<(), EngineError> {
        match error.code() {
            Some(404 | 405) => Ok(()),
            _ if self.cluster.answers_others(&error).await => {
                problems.push(format!("{kind} cannot be compared: {}", chain(&error)));
                Ok(())
            }
            _ => Err(EngineError::cluster("the comparison ended early", error)),
        }
    }
}

//! Leader election over a `coordination.k8s.io/v1` Lease, as the Kubernetes components do it.
//!
//! Promise: of all candidates with the same lease at most one believes to lead, as long as clocks
//! run at about the same speed. A leader that cannot renew gives up `renew_deadline` after its last
//! renewal, which is before anyone else may take over (`duration` after it).

use std::time::Duration;

use futures::{StreamExt, pin_mut};
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, api::PostParams, runtime::WatchStreamExt};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{Cluster, ClusterError, client::from_kube};

/// Which lease, as whom and how patient.
#[derive(Clone, Debug)]
pub struct LeaseOptions {
    /// The lease's namespace.
    pub namespace: String,
    /// The lease's name.
    pub name: String,
    /// Who we are; different for every candidate.
    pub identity: String,
    /// How long a leader that says nothing is believed to live.
    pub duration: Duration,
    /// How long a leader tries to renew before it gives up; shorter than `duration`.
    pub renew_deadline: Duration,
    /// The pause between tries.
    pub retry_period: Duration,
}

impl LeaseOptions {
    /// Kubernetes' own timings: 15 s, 10 s, 2 s.
    #[must_use]
    pub fn new(namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

/// A lease that is held. It is renewed in the background until it is released or lost; dropping it
/// stops the renewal and lets it run out.
pub struct Leadership {
    lost: CancellationToken,
    stop: CancellationToken,
    renewal: tokio::task::JoinHandle<Candidate>,
}

impl Leadership {
    /// Cancelled once the lease is no longer ours: everything that writes must stop at once.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Gives the lease back, so that another candidate takes over without waiting for it to run
    /// out. To be called after all work has stopped.
    ///
    /// # Errors
    /// Whatever the request reports; the lease then runs out by itself.
    pub async fn release(mut self) -> Result<(), ClusterError> {
        self.stop.cancel();
        let Ok(mut candidate) = (&mut self.renewal).await else {
            return Ok(());
        };
        if self.lost.is_cancelled() {
            return Ok(());
        }
        let limit = Instant::now() + candidate.options.retry_period * 2;
        timeout_at(limit, candidate.give_back()).await.unwrap_or(Ok(()))
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.stop.cancel();
        self.renewal.abort();
    }
}

/// Waits until the lease is ours; `None` where `stop` is cancelled first. Errors of the API server
/// are logged and tried again: a candidate waits as long as it takes.
pub async fn acquire(
    cluster: &Cluster,
    options: LeaseOptions,
    stop: &CancellationToken,
) -> Option<Leadership> {
    let api = Api::namespaced(cluster.client(), &options.namespace);
    let watch = kube::runtime::watcher::watch_object::<Lease>(api.clone(), &options.name).default_backoff();
    pin_mut!(watch);
    let mut candidate = Candidate {
        api,
        options,
        seen: None,
        held: None,
    };
    let mut known_holder = String::new();
    loop {
        let limit = Instant::now() + candidate.options.renew_deadline;
        let began = Began::now();
        match timeout_at(limit, candidate.try_once(began)).await {
            Ok(Ok(Holder::Us)) => return Some(candidate.lead(began)),
            Ok(Ok(Holder::Other(name))) if name != known_holder => {
                info!(holder = %name, lease = %candidate.options.name, "another server leads; standing by");
                known_holder = name;
            }
            Ok(Ok(Holder::Other(_))) => {}
            Ok(Err(error)) if error.is_conflict() || error.is_already_exists() => {
                debug!("another candidate was faster");
            }
            Ok(Err(error)) => warn!(error = %chain(&error), "cannot get the leader lease; trying again"),
            Err(_) => warn!("no answer about the leader lease in time; trying again"),
        }
        // The watch makes a released lease known at once; the pause is for all other cases.
        let pause = sleep(candidate.options.retry_period);
        tokio::select! {
            () = stop.cancelled() => return None,
            () = pause => {}
            () = released(&mut watch) => {}
        }
    }
}

/// Ends when the lease is seen without a holder (or is gone).
async fn released<S>(watch: &mut S)
where
    S: futures::Stream<Item = Result<Option<Lease>, kube::runtime::watcher::Error>> + Unpin,
{
    while let Some(event) = watch.next().await {
        let free = match event {
            Ok(Some(lease)) => holder(&lease).is_empty(),
            Ok(None) => true,
            Err(_) => false,
        };
        if free {
            return;
        }
    }
    std::future::pending::<()>().await;
}

enum Holder {
    Us,
    Other(String),
}

/// An instant on both clocks: the monotonic one stands still while a machine sleeps, the wall
/// clock may be set. Whichever has moved further counts.
#[derive(Clone, Copy)]
struct Began {
    monotonic: Instant,
    wall: Timestamp,
}

impl Began {
    fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: Timestamp::now(),
        }
    }

    fn elapsed(&self) -> Duration {
        let wall = Timestamp::now().duration_since(self.wall);
        self.monotonic.elapsed().max(wall.try_into().unwrap_or_default())
    }
}

/// The record of the holder, and when it was first seen so by our own clock.
struct Seen {
    renewals: (String, Option<MicroTime>),
    since: Instant,
}

struct Candidate {
    api: Api<Lease>,
    options: LeaseOptions,
    seen: Option<Seen>,
    held: Option<Lease>,
}

impl Candidate {
    /// Takes or renews the lease where that is allowed; tells who holds it now.
    async fn try_once(&mut self, now: Began) -> Result<Holder, ClusterError> {
        let current = match self.held.take() {
            Some(lease) => lease,
            None => match self.api.get_opt(&self.options.name).await {
                Ok(Some(lease)) => lease,
                Ok(None) => {
                    let lease = self.claim(None, now.wall);
                    let created = self.api.create(&PostParams::default(), &lease).await;
                    self.held = Some(created.map_err(|error| self.failed("create", error))?);
                    return Ok(Holder::Us);
                }
                Err(error) => return Err(self.failed("read", error)),
            },
        };
        let name = holder(&current).to_owned();
        let ours = name == self.options.identity;
        if !ours && !name.is_empty() && !self.has_run_out(&current, now.monotonic) {
            return Ok(Holder::Other(name));
        }
        let lease = self.claim(Some(&current), now.wall);
        let written = self
            .api
            .replace(&self.options.name, &PostParams::default(), &lease)
            .await;
        self.held = Some(written.map_err(|error| self.failed("take", error))?);
        Ok(Holder::Us)
    }

    /// Whether the holder has not renewed for its lease's duration, by our clock alone.
    fn has_run_out(&mut self, lease: &Lease, now: Instant) -> bool {
        let spec = lease.spec.clone().unwrap_or_default();
        let renewals = (holder(lease).to_owned(), spec.renew_time);
        match &self.seen {
            Some(seen) if seen.renewals == renewals => {
                let seconds = spec
                    .lease_duration_seconds
                    .and_then(|seconds| u64::try_from(seconds).ok());
                let duration = seconds.map_or(self.options.duration, Duration::from_secs);
                now.saturating_duration_since(seen.since) > duration
            }
            _ => {
                self.seen = Some(Seen { renewals, since: now });
                false
            }
        }
    }

    /// The lease as it is when we hold it. It keeps its `resourceVersion`, so that of two
    /// candidates one gets a conflict.
    fn claim(&self, current: Option<&Lease>, now: Timestamp) -> Lease {
        let metadata = current.map_or_else(
            || ObjectMeta {
                name: Some(self.options.name.clone()),
                ..ObjectMeta::default()
            },
            |lease| lease.metadata.clone(),
        );
        let old = current.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let ours = old.holder_identity.as_deref() == Some(&self.options.identity);
        let transitions = old.lease_transitions.unwrap_or(0) + i32::from(current.is_some() && !ours);
        let spec = LeaseSpec {
            holder_identity: Some(self.options.identity.clone()),
            lease_duration_seconds: i32::try_from(self.options.duration.as_secs().max(1)).ok(),
            acquire_time: if ours {
                old.acquire_time
            } else {
                Some(MicroTime(now))
            },
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        };
        Lease {
            metadata,
            spec: Some(spec),
        }
    }

    fn lead(self, began: Began) -> Leadership {
        info!(lease = %self.options.name, identity = %self.options.identity, "this server leads");
        let (lost, stop) = (CancellationToken::new(), CancellationToken::new());
        let renewal = tokio::spawn(self.renew(began, lost.clone(), stop.clone()));
        Leadership { lost, stop, renewal }
    }

    async fn renew(mut self, mut renewed: Began, lost: CancellationToken, stop: CancellationToken) -> Self {
        loop {
            tokio::select! {
                () = stop.cancelled() => return self,
                () = sleep(self.options.retry_period) => {}
            }
            let began = Began::now();
            // A process that was paused finds here that its time is over, before it does anything else.
            let Some(left) = self.options.renew_deadline.checked_sub(renewed.elapsed()) else {
                break;
            };
            match timeout_at(Instant::now() + left, self.try_once(began)).await {
                Ok(Ok(Holder::Us)) => renewed = began,
                Ok(Ok(Holder::Other(name))) => {
                    warn!(holder = %name, "another server has taken the leader lease");
                    break;
                }
                Ok(Err(error)) => {
                    warn!(error = %chain(&error), "cannot renew the leader lease; trying again");
                }
                Err(_) => break,
            }
        }
        warn!(lease = %self.options.name, "this server no longer leads");
        lost.cancel();
        self
    }

    async fn give_back(&mut self) -> Result<(), ClusterError> {
        let lease = match self.held.take() {
            Some(lease) => lease,
            None => self
                .api
                .get(&self.options.name)
                .await
                .map_err(|error| self.failed("read", error))?,
        };
        if holder(&lease) != self.options.identity {
            return Ok(());
        }
        let mut spec = lease.spec.unwrap_or_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        let lease = Lease {
            metadata: lease.metadata,
            spec: Some(spec),
        };
        let written = self
            .api
            .replace(&self.options.name, &PostParams::default(), &lease)
            .await;
        written.map_err(|error| self.failed("release", error)).map(|_| ())
    }

    fn failed(&self, verb: &str, error: kube::Error) -> ClusterError {
        from_kube(
            &format!("{verb} lease {}/{}", self.options.namespace, self.options.name),
            error,
        )
    }
}

fn holder(lease: &Lease) -> &str {
    lease
        .spec
        .as_ref()
        .and_then(|spec| spec.holder_identity.as_deref())
        .unwrap_or_default()
}

/// An error and its causes in one line.
fn chain(error: &ClusterError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

//! The server: checks what it needs, answers HTTP, waits to lead, and runs the controllers while it
//! does.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use refloat_cluster::{
    Cluster,
    lease::{self, LeaseOptions},
};
use refloat_web::{Downloads, Listener, health, health::Vitals, key};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    ControllerError, ServerOptions,
    backup::BackupController,
    context::{Context, Shared},
    controller::{self, Pace, Reconciler},
    deletion::DeletionController,
    download::DownloadController,
    error::chain,
    events::Events,
    gc::{self, GcController, RetentionController},
    location::{LocationController, choose_default, sync::SyncController},
    metrics::Metrics,
    restore::RestoreController,
    restore_plan::RestorePlanController,
    schedule::ScheduleController,
    server_status::ServerStatusController,
    startup,
};

/// Runs the server until `stop` is cancelled. Everything that writes stops before this returns, and
/// the lease is given back, so that a successor takes over at once.
///
/// # Errors
/// What keeps it from starting (missing custom resources, a taken port, no API server), or
/// [`ControllerError::LeadershipLost`]: the process is to end then and may be started again.
pub async fn run(
    options: ServerOptions,
    cluster: Cluster,
    stop: CancellationToken,
) -> Result<(), ControllerError> {
    let priorities = startup::priorities(&options)?;
    startup::check_crds(&cluster).await?;
    startup::check_namespace(&cluster, &options.namespace).await?;
    let identity = identity(&options);
    let metrics = Metrics::new();
    let serving = stop.child_token();
    let mut servers = JoinSet::new();
    let vitals = Arc::new(ServerVitals {
        metrics: metrics.clone(),
        up: AtomicBool::new(false),
    });
    let listener = Listener::bind(options.metrics_address, None, "metrics", "--metrics-address").await?;
    info!(address = %listener.address(), "serving metrics and health");
    let router = health::router(Arc::clone(&vitals) as Arc<dyn Vitals>);
    servers.spawn(listener.serve(router, serving.clone()));
    let key = key::load_or_create(&cluster, &options.namespace).await?;
    let downloads = Downloads::new(
        cluster.clone(),
        &options.namespace,
        options.credential_file.clone(),
        key,
    );
    let tls = options.download_tls.as_ref();
    let listener = Listener::bind(options.download_address, tls, "downloads", "--download-address").await?;
    let download_base = options
        .download_advertise_url
        .clone()
        .unwrap_or_else(|| advertised(listener.address(), listener.is_tls(), pod_address()));
    info!(address = %listener.address(), url = %download_base, "serving downloads");
    servers.spawn(listener.serve(downloads.router(), serving.clone()));

    let events = Events::new(cluster.clone(), &options.namespace, &identity);
    let context = Arc::new(Context {
        cluster,
        metrics,
        events,
        downloads,
        download_base: download_base.trim_end_matches('/').to_owned(),
        priorities,
        options,
    });
    vitals.up.store(true, Ordering::Relaxed);
    let result = lead(&context, &identity, &stop).await;
    vitals.up.store(false, Ordering::Relaxed);
    serving.cancel();
    while servers.join_next().await.is_some() {}
    result
}

/// Works as long as it is this server's turn.
async fn lead(context: &Shared, identity: &str, stop: &CancellationToken) -> Result<(), ControllerError> {
    let options = &context.options;
    if !options.leader_elect {
        work(context, stop.child_token()).await;
        return Ok(());
    }
    let lease_options = LeaseOptions {
        duration: options.lease_duration,
        renew_deadline: options.lease_renew_deadline,
        retry_period: options.lease_retry_period,
        ..LeaseOptions::new(&options.namespace, &options.lease_name, identity)
    };
    let Some(leadership) = lease::acquire(&context.cluster, lease_options, stop).await else {
        return Ok(());
    };
    let lost = leadership.lost();
    let turn = stop.child_token();
    tokio::select! {
        biased;
        // What is going on is dropped where it is: a successor may begin in a few seconds, and tidying up would
        // then tidy up after it.
        () = lost.cancelled() => {
            turn.cancel();
            return Err(ControllerError::LeadershipLost);
        }
        () = work(context, turn.clone()) => {}
    }
    if let Err(error) = leadership.release().await {
        warn!(error = %chain(&error), "cannot give back the leader lease; it runs out by itself");
    }
    Ok(())
}

/// Runs all controllers until `stop`.
async fn work(context: &Shared, stop: CancellationToken) {
    const MINUTE: Duration = Duration::from_secs(60);
    let brief = |workers| Pace {
        workers,
        resync: MINUTE,
    };
    // A backup or restore that waits for its turn holds a worker; it is small.
    let jobs = Pace {
        workers: 1000,
        resync: 10 * MINUTE,
    };
    let mut controllers = JoinSet::new();
    controllers.spawn(choose_default(Arc::clone(context), stop.clone()));
    start(
        &mut controllers,
        context,
        LocationController::new(Arc::clone(context)),
        brief(4),
        &stop,
    );
    start(
        &mut controllers,
        context,
        SyncController::new(Arc::clone(context)),
        brief(2),
        &stop,
    );
    start(
        &mut controllers,
        context,
        BackupController::new(Arc::clone(context)),
        jobs,
        &stop,
    );
    start(
        &mut controllers,
        context,
        RestoreController::new(Arc::clone(context)),
        jobs,
        &stop,
    );
    start(
        &mut controllers,
        context,
        DownloadController::new(Arc::clone(context)),
        brief(8),
        &stop,
    );
    start(
        &mut controllers,
        context,
        DeletionController::new(Arc::clone(context)),
        brief(1),
        &stop,
    );
    start(
        &mut controllers,
        context,
        ScheduleController::new(Arc::clone(context)),
        brief(4),
        &stop,
    );
    let slow = Pace {
        workers: 2,
        resync: gc::frequency(context),
    };
    start(
        &mut controllers,
        context,
        GcController::new(Arc::clone(context)),
        slow,
        &stop,
    );
    start(
        &mut controllers,
        context,
        RetentionController::new(Arc::clone(context)),
        slow,
        &stop,
    );
    start(
        &mut controllers,
        context,
        ServerStatusController::new(Arc::clone(context)),
        brief(2),
        &stop,
    );
    if startup::has_own(&context.cluster).await {
        start(
            &mut controllers,
            context,
            RestorePlanController::new(Arc::clone(context)),
            brief(1),
            &stop,
        );
    }
    while controllers.join_next().await.is_some() {}
}

fn start<R: Reconciler>(
    controllers: &mut JoinSet<()>,
    context: &Shared,
    reconciler: R,
    pace: Pace,
    stop: &CancellationToken,
) {
    if context.options.runs(R::NAME) {
        controllers.spawn(controller::run(
            Arc::new(reconciler),
            context.objects(),
            pace,
            stop.clone(),
        ));
    } else {
        info!(controller = R::NAME, "this controller is turned off");
    }
}

struct ServerVitals {
    metrics: Metrics,
    up: AtomicBool,
}

impl Vitals for ServerVitals {
    fn metrics(&self) -> String {
        self.metrics.text()
    }

    fn ready(&self) -> Result<(), String> {
        let up = self.up.load(Ordering::Relaxed);
        if up {
            Ok(())
        } else {
            Err("starting or stopping".to_owned())
        }
    }
}

/// Our name in the lease: no two processes may share one.
fn identity(options: &ServerOptions) -> String {
    if !options.lease_identity.is_empty() {
        return options.lease_identity.clone();
    }
    let host = std::env::var("HOSTNAME")
        .ok()
        .or_else(|| std::fs::read_to_string("/etc/hostname").ok());
    let host = host
        .map(|host| host.trim().to_owned())
        .filter(|host| !host.is_empty());
    format!(
        "{}_{:016x}",
        host.as_deref().unwrap_or("refloat"),
        rand::random::<u64>()
    )
}

/// The pod's address: where the deployment passes it on that one, else in a cluster the one from which
/// the API server is reached. `velero install` passes none on.
fn pod_address() -> Option<IpAddr> {
    let address = |name: &str| std::env::var(name).ok()?.parse::<IpAddr>().ok();
    address("POD_IP").or_else(|| facing(address("KUBERNETES_SERVICE_HOST")?))
}

/// Our address on the way to `peer`. Nothing is sent: connecting a datagram socket only chooses a route.
fn facing(peer: IpAddr) -> Option<IpAddr> {
    let any = match peer {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((peer, 443)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The URL of our download server, where none was given: the address that it listens on, or where
/// that is all of them, the pod's, or this machine's own.
fn advertised(address: SocketAddr, tls: bool, pod: Option<IpAddr>) -> String {
    let host = match address.ip() {
        ip if ip.is_unspecified() => pod.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ip => ip,
    };
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{}", SocketAddr::new(host, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advertised_url_is_the_best_that_is_known() {
        let all: SocketAddr = "0.0.0.0:8086".parse().unwrap();
        let own: SocketAddr = "[fd00::1]:8086".parse().unwrap();
        let pod: IpAddr = "10.0.0.5".parse().unwrap();
        assert_eq!(advertised(all, false, Some(pod)), "http://10.0.0.5:8086");
        assert_eq!(advertised(all, true, None), "https://127.0.0.1:8086");
        assert_eq!(advertised(own, false, Some(pod)), "http://[fd00::1]:8086");
    }

    #[test]
    fn the_address_that_faces_a_peer_is_our_own() {
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(facing(loopback), Some(loopback));
    }

    #[test]
    fn two_processes_have_two_identities() {
        let options = ServerOptions::default();
        assert_ne!(identity(&options), identity(&options));
        let named = ServerOptions {
            lease_identity: "a".into(),
            ..options
        };
        assert_eq!(identity(&named), "a");
    }
}

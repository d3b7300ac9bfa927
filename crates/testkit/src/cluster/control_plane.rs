//! etcd, the API server, controller-manager, scheduler and MinIO: their credentials, arguments and readiness.

use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use super::{Cluster, ClusterOptions, minio, node, state};
use crate::pki::Pki;
use crate::testbed::{self, KUBERNETES_PROGRAMS, Part};

/// Every part that a cluster starts by itself.
const PARTS: [&str; 7] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "minio",
    "containerd",
    "kubelet",
];

const START_LIMIT: Duration = Duration::from_secs(90);

/// Whether a cluster starts this part by itself, and is broken without it.
pub(super) fn is_core(part: &str) -> bool {
    PARTS.contains(&part)
}

/// The parts of such a cluster that need a port, with the names the ports are kept under.
pub(super) fn ports(options: &ClusterOptions) -> Vec<&'static str> {
    let mut parts = vec![
        "etcd",
        "etcd-peer",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
    ];
    if options.minio {
        parts.push("minio");
    }
    if options.nodes > 0 {
        parts.extend(["kubelet", "kubelet-healthz"]);
    }
    parts
}

/// Builds all programs before anything is started, so that a cold cache costs no half-started cluster.
pub(super) fn build(options: &ClusterOptions) -> Result<()> {
    testbed::build(&Part::Etcd)?;
    for program in KUBERNETES_PROGRAMS
        .iter()
        .filter(|program| options.nodes > 0 || **program != "kubelet")
    {
        testbed::build(&Part::kubernetes(&options.kubernetes, program))?;
    }
    if options.minio {
        testbed::build(&Part::Minio)?;
    }
    Ok(())
}

/// Makes the authority, a certificate for each part and a kubeconfig for each client.
pub(super) fn write_credentials(cluster: &Cluster) -> Result<()> {
    let state = &cluster.state;
    let pki = Pki::create(&cluster.pki_folder())?;
    pki.issue("etcd", "etcd", "refloat", &["localhost", "127.0.0.1"])?;
    let gateway = state.gateway();
    let service = state.kubernetes_service();
    let mut names = vec!["localhost", "127.0.0.1", &gateway, &service];
    names.extend(["kubernetes", "kubernetes.default", "kubernetes.default.svc"]);
    pki.issue("kube-apiserver", "kube-apiserver", "refloat", &names)?;
    // The API server's right to ask the kubelet for logs and exec.
    pki.issue(
        "kubelet-client",
        "kube-apiserver-kubelet-client",
        "system:masters",
        &[],
    )?;
    let server = cluster.api_server()?;
    pki.kubeconfig(
        &cluster.kubeconfig_path(),
        &server,
        "admin",
        "kubernetes-admin",
        "system:masters",
    )?;
    for part in ["kube-controller-manager", "kube-scheduler"] {
        let path = cluster.folder.join(format!("{part}.kubeconfig"));
        pki.kubeconfig(&path, &server, part, &format!("system:{part}"), "refloat")?;
    }
    if state.nodes > 0 {
        node::write_credentials(cluster, &pki)?;
    }
    Ok(())
}

/// Starts everything and waits until it is ready. What does not depend on each other starts at the same time.
pub(super) fn start(cluster: &mut Cluster, options: &ClusterOptions) -> Result<()> {
    start_etcd(cluster)?;
    start_api_server(cluster, &options.api_server_args)?;
    if options.minio {
        let address = cluster.state.server_address();
        let minio = minio::launch(cluster, "minio", &address, cluster.state.port("minio")?, None)?;
        cluster.state = state::update(&cluster.folder, |state| state.minio = Some(minio))?;
    }
    if options.nodes > 0 {
        node::start_containerd(cluster)?;
    }
    let address = (
        cluster.state.server_address(),
        cluster.state.port("kube-apiserver")?,
    );
    cluster.wait_for("kube-apiserver", START_LIMIT, || {
        TcpStream::connect((address.0.as_str(), address.1)).is_ok()
            && cluster.kubectl(&["get", "--raw", "/readyz"]).is_ok()
    })?;
    start_client(
        cluster,
        "kube-controller-manager",
        controller_manager_args(cluster)?,
    )?;
    start_client(cluster, "kube-scheduler", scheduler_args(cluster)?)?;
    if options.nodes > 0 {
        node::start_kubelet(cluster)?;
    }
    if let Some(minio) = &cluster.state.minio {
        cluster.wait_for("minio", START_LIMIT, || minio.is_ready())?;
    }
    // Pods in `default` are refused until its service account is there.
    cluster.wait_for("kube-controller-manager", START_LIMIT, || {
        cluster
            .kubectl(&["get", "serviceaccount", "default", "-n", "default"])
            .is_ok()
    })
}

fn start_etcd(cluster: &Cluster) -> Result<()> {
    let etcd = cluster.etcd()?;
    let peer = format!("http://127.0.0.1:{}", cluster.state.port("etcd-peer")?);
    let mut args = vec![
        "--name=refloat".to_owned(),
        format!("--data-dir={}", etcd.data.display()),
        format!("--listen-client-urls={}", etcd.endpoint),
        format!("--advertise-client-urls={}", etcd.endpoint),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=refloat={peer}"),
        "--quota-backend-bytes=8589934592".to_owned(),
        // A test cluster need not survive a power cut.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    args.extend([
        format!("--cert-file={}", etcd.certificate.display()),
        format!("--key-file={}", etcd.key.display()),
        format!("--trusted-ca-file={}", etcd.ca.display()),
        "--client-cert-auth".to_owned(),
    ]);
    cluster.start_program("etcd", &testbed::build(&Part::Etcd)?, &args, &[])?;
    Ok(())
}

fn start_api_server(cluster: &Cluster, further: &[String]) -> Result<()> {
    let state = &cluster.state;
    let etcd = cluster.etcd()?;
    let address = state.server_address();
    let file = |name: &str| pki_file(cluster, name);
    let mut args = vec![
        format!("--etcd-servers={}", etcd.endpoint),
        format!("--etcd-cafile={}", etcd.ca.display()),
        format!("--etcd-certfile={}", etcd.certificate.display()),
        format!("--etcd-keyfile={}", etcd.key.display()),
        format!("--bind-address={address}"),
        format!("--advertise-address={address}"),
        format!("--secure-port={}", state.port("kube-apiserver")?),
        // Its address may be loopback, which is not allowed in an endpoint.
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--service-cluster-ip-range={}", state.service_range()),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--allow-privileged".to_owned(),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--tls-cert-file={}", file("kube-apiserver.crt")),
        format!("--tls-private-key-file={}", file("kube-apiserver.key")),
        format!("--kubelet-client-certificate={}", file("kubelet-client.crt")),
        format!("--kubelet-client-key={}", file("kubelet-client.key")),
        format!("--kubelet-certificate-authority={}", file("ca.crt")),
        // Nothing resolves the node's name.
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", file("sa.pub")),
        format!("--service-account-signing-key-file={}", file("sa.key")),
    ];
    args.extend_from_slice(further);
    start_client(cluster, "kube-apiserver", args)
}

fn controller_manager_args(cluster: &Cluster) -> Result<Vec<String>> {
    let mut args = controller_args(cluster, "kube-controller-manager")?;
    args.extend([
        // Created if missing, and the default is a folder of the whole machine.
        format!(
            "--flex-volume-plugin-dir={}",
            cluster.folder.join("flexvolumes").display()
        ),
        "--use-service-account-credentials".to_owned(),
        format!("--root-ca-file={}", pki_file(cluster, "ca.crt")),
        format!(
            "--service-account-private-key-file={}",
            pki_file(cluster, "sa.key")
        ),
        format!("--cluster-signing-cert-file={}", pki_file(cluster, "ca.crt")),
        format!("--cluster-signing-key-file={}", pki_file(cluster, "ca.key")),
    ]);
    Ok(args)
}

fn scheduler_args(cluster: &Cluster) -> Result<Vec<String>> {
    controller_args(cluster, "kube-scheduler")
}

fn controller_args(cluster: &Cluster, part: &str) -> Result<Vec<String>> {
    let kubeconfig = cluster.folder.join(format!("{part}.kubeconfig"));
    Ok(vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={}", cluster.state.port(part)?),
        "--leader-elect=false".to_owned(),
    ])
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the arguments are made for this one call"
)]
fn start_client(cluster: &Cluster, part: &'static str, args: Vec<String>) -> Result<()> {
    let program = testbed::build(&Part::kubernetes(&cluster.state.kubernetes, part))?;
    cluster.start_program(part, &program, &args, &[])?;
    Ok(())
}

fn pki_file(cluster: &Cluster, name: &str) -> String {
    let path: PathBuf = cluster.pki_folder().join(name);
    path.display().to_string()
}

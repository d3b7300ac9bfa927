//! The one node of a cluster: containerd and a kubelet on this machine, with a bridge for the pods' network.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::{Cluster, network, teardown};
use crate::image::{BUSYBOX, Image};
use crate::packages;
use crate::pki::Pki;
use crate::process;
use crate::testbed::{self, Part};

/// The node's name in the API.
pub(super) const NODE: &str = "node-1";
const PAUSE: &str = "refloat.invalid/pause:1";
const LIMIT: Duration = Duration::from_secs(90);

/// The kubelet's certificate (for both ways) and its kubeconfig.
pub(super) fn write_credentials(cluster: &Cluster, pki: &Pki) -> Result<()> {
    let gateway = cluster.state.gateway();
    pki.issue("kubelet", NODE, "system:nodes", &[NODE, &gateway])?;
    let path = cluster.folder.join("kubelet.kubeconfig");
    pki.kubeconfig(
        &path,
        &cluster.api_server()?,
        "kubelet-node",
        &format!("system:node:{NODE}"),
        "system:nodes",
    )
}

/// Starts containerd, waits for it and gives it the images that every node has.
pub(super) fn start_containerd(cluster: &Cluster) -> Result<()> {
    let folder = cluster.folder.join("containerd");
    fs::create_dir_all(&folder)?;
    write_cni(cluster)?;
    let config = folder.join("config.toml");
    fs::write(&config, containerd_config(&cluster.folder))?;
    let program = packages::find("containerd").context("containerd is not installed")?;
    let args: [&OsStr; 2] = ["--config".as_ref(), config.as_os_str()];
    cluster.start_program("containerd", &program, &args, &[])?;
    cluster.wait_for("containerd", LIMIT, || ctr(&cluster.folder, &["version"]).is_ok())?;
    import_image(&cluster.folder, BUSYBOX, &Image::busybox()?)?;
    let pause = Image::busybox()?
        .entrypoint(&["/bin/busybox", "sleep"])
        .command(&["2147483647"]);
    import_image(&cluster.folder, PAUSE, &pause)
}

/// Starts the kubelet; the API server must answer.
pub(super) fn start_kubelet(cluster: &Cluster) -> Result<()> {
    let root = cluster.folder.join("kubelet");
    fs::create_dir_all(&root)?;
    fs::write(cluster.folder.join("resolv.conf"), "")?;
    teardown::create_cgroups(&teardown::cgroup_name(&cluster.state.name))?;
    let config = root.join("config.json");
    fs::write(&config, serde_json::to_vec_pretty(&kubelet_config(cluster)?)?)?;
    let args = [
        format!("--config={}", config.display()),
        format!(
            "--kubeconfig={}",
            cluster.folder.join("kubelet.kubeconfig").display()
        ),
        format!("--root-dir={}", root.display()),
        format!("--hostname-override={NODE}"),
        format!("--node-ip={}", cluster.state.gateway()),
    ];
    let program = testbed::build(&Part::kubernetes(&cluster.state.kubernetes, "kubelet"))?;
    cluster.start_program("kubelet", &program, &args, &[])?;
    Ok(())
}

/// Waits until the node takes pods.
pub(super) fn wait_ready(cluster: &Cluster) -> Result<()> {
    const CONDITION: &str =
        r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}{.spec.taints[*].key}"#;
    cluster.wait_for("kubelet", LIMIT, || {
        cluster
            .kubectl(&["get", "node", NODE, "-o", CONDITION])
            .is_ok_and(|status| status == "True")
    })
}

/// Makes `image` known to the node's containerd under `name`.
pub(super) fn import_image(folder: &Path, name: &str, image: &Image) -> Result<()> {
    let safe: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let archive = folder.join(format!("image-{safe}.tar"));
    image.write_archive(name, &archive)?;
    let imported = ctr(folder, &["images", "import", &archive.to_string_lossy()]);
    fs::remove_file(&archive).with_context(|| format!("removing {}", archive.display()))?;
    imported.with_context(|| format!("importing the image {name}"))?;
    Ok(())
}

fn ctr(folder: &Path, args: &[&str]) -> Result<String> {
    let socket = socket(folder);
    let socket = socket.to_string_lossy();
    process::run(
        "ctr",
        ["--address", &socket, "--namespace", "k8s.io"].iter().chain(args),
    )
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("containerd/containerd.sock")
}

fn write_cni(cluster: &Cluster) -> Result<()> {
    let folder = cluster.folder.join("cni");
    fs::create_dir_all(folder.join("net.d"))?;
    let bridge = network::bridge(&cluster.state.name);
    let config = json!({
        "cniVersion": "0.4.0", "name": bridge,
        "plugins": [{
            "type": "bridge", "bridge": bridge, "isGateway": true,
            "ipam": {
                "type": "host-local", "dataDir": folder.join("networks"),
                "ranges": [[{"subnet": cluster.state.pod_range()}]], "routes": [{"dst": "0.0.0.0/0"}],
            },
        }],
    });
    fs::write(
        folder.join("net.d/10-bridge.conflist"),
        serde_json::to_vec_pretty(&config)?,
    )?;
    Ok(())
}

/// Everything that containerd, its shims and runc keep lies below the cluster's folder.
fn containerd_config(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"version = 2
root = "{folder}/containerd/root"
state = "{folder}/containerd/state"
[grpc]
address = "{folder}/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{folder}/cni/net.d"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{folder}/runc"
"#
    )
}

fn kubelet_config(cluster: &Cluster) -> Result<serde_json::Value> {
    let state = &cluster.state;
    let pki = cluster.pki_folder();
    let socket = format!("unix://{}", socket(&cluster.folder).display());
    Ok(json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "address": state.gateway(), "port": state.port("kubelet")?,
        "healthzBindAddress": "127.0.0.1", "healthzPort": state.port("kubelet-healthz")?,
        "authentication": {
            "anonymous": {"enabled": false}, "webhook": {"enabled": true},
            "x509": {"clientCAFile": pki.join("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": pki.join("kubelet.crt"), "tlsPrivateKeyFile": pki.join("kubelet.key"),
        "containerRuntimeEndpoint": socket, "imageServiceEndpoint": socket,
        "cgroupDriver": "cgroupfs", "cgroupRoot": format!("/{}", teardown::cgroup_name(&state.name)),
        "enforceNodeAllocatable": [], "failCgroupV1": false, "failSwapOn": false,
        // Beside other clusters on one machine: nothing global is touched, and a full disk evicts nobody.
        "makeIPTablesUtilChains": false,
        "podLogsDir": cluster.folder.join("pods"),
        "volumePluginDir": cluster.folder.join("kubelet/volumeplugins"),
        "resolvConf": cluster.folder.join("resolv.conf"),
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "maxPods": 250,
    }))
}

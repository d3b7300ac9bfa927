//! Free ports and networks, and the bridge of a cluster's node with the one rule that leads to its API server.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context, Result};
use rand::RngExt;
use sha2::{Digest, Sha256};

use super::state::State;
use crate::s3::hex;
use crate::{packages, process};

/// Below the range from which the kernel takes the ports of outgoing connections.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port for each of `parts` that nobody listens on and no other cluster has been given.
pub(crate) fn free_ports(parts: &[&str], others: &[State]) -> Result<BTreeMap<String, u16>> {
    let start = rand::rng().random_range(PORTS);
    let mut candidates = (start..PORTS.end).chain(PORTS.start..start).filter(|port| {
        !others
            .iter()
            .any(|other| other.ports.values().any(|taken| taken == port))
            && TcpListener::bind(("127.0.0.1", *port)).is_ok()
    });
    parts
        .iter()
        .map(|part| {
            Ok((
                (*part).to_owned(),
                candidates
                    .next()
                    .context("no free port between 20000 and 32000")?,
            ))
        })
        .collect()
}

/// A number N such that neither this machine nor another cluster uses `10.N.0.0/16`.
pub(crate) fn free_subnet(others: &[State]) -> Result<u8> {
    let used = process::run("ip", ["-4", "-o", "addr"])? + &process::run("ip", ["-4", "route"])?;
    (100..=250)
        .find(|n| !others.iter().any(|other| other.subnet == *n) && !used.contains(&format!(" 10.{n}.")))
        .context("every network from 10.100.0.0/16 to 10.250.0.0/16 is in use on this machine")
}

/// The bridge of the cluster `name`, which also marks its packet rule. It follows from the name alone, so that it
/// can be removed when all else about the cluster is lost. Names of devices have at most 15 bytes.
pub(crate) fn bridge(name: &str) -> String {
    format!("refloat{}", hex(&Sha256::digest(name)[..4]))
}

/// Creates the bridge and leads the address of the service `kubernetes` to the API server. There is no
/// kube-proxy, so this is the only service address that pods can reach.
pub(crate) fn create_bridge(state: &State) -> Result<()> {
    let bridge = bridge(&state.name);
    process::run("ip", ["link", "add", &bridge, "type", "bridge"])?;
    process::run(
        "ip",
        ["addr", "add", &format!("{}/17", state.gateway()), "dev", &bridge],
    )?;
    process::run("ip", ["link", "set", &bridge, "up"])?;
    let service = state.kubernetes_service();
    let target = format!("{}:{}", state.gateway(), state.port("kube-apiserver")?);
    for chain in ["PREROUTING", "OUTPUT"] {
        let place = [
            "-w", "-t", "nat", "-A", chain, "-d", &service, "-p", "tcp", "--dport", "443",
        ];
        let action = [
            "-m",
            "comment",
            "--comment",
            &bridge,
            "-j",
            "DNAT",
            "--to-destination",
            &target,
        ];
        process::run("iptables", place.iter().chain(&action))?;
    }
    Ok(())
}

/// Removes what [`create_bridge`] made and every pod's end of a cable on it. Nothing there is no error.
pub(crate) fn remove_bridge(name: &str) -> Result<()> {
    let bridge = bridge(name);
    if packages::find("iptables").is_some() {
        let rules = process::run("iptables", ["-w", "-t", "nat", "-S"])?;
        for rule in rules
            .lines()
            .filter(|rule| rule.split(' ').any(|word| word == bridge))
        {
            let words = rule.split(' ').map(|word| if word == "-A" { "-D" } else { word });
            process::run("iptables", ["-w", "-t", "nat"].into_iter().chain(words))?;
        }
    }
    if !Path::new("/sys/class/net").join(&bridge).exists() {
        return Ok(());
    }
    for port in fs::read_dir(Path::new("/sys/class/net").join(&bridge).join("brif"))
        .into_iter()
        .flatten()
        .flatten()
    {
        // A pod's end may vanish at the same moment, with its network namespace.
        let _ = process::run(
            "ip",
            ["link".as_ref(), "delete".as_ref(), port.file_name().as_os_str()],
        );
    }
    process::run("ip", ["link", "delete", &bridge])?;
    Ok(())
}

//! Free ports and networks, and the bridge of a cluster's node with the one rule that leads to its API server.

use std::collections::BTreeMap;
use std::net::TcpListener;

use anyhow::{Context, Result};
use rand::RngExt;

use super::state::State;
use crate::process;

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

/// Creates the bridge and leads the address of the service `kubernetes` to the API server. There is no
/// kube-proxy, so this is the only service address that pods can reach.
pub(crate) fn create_bridge(state: &State) -> Result<()> {
    let bridge = state.bridge();
    process::run("ip", ["link", "add", &bridge, "type", "bridge"])?;
    process::run(
        "ip",
        ["addr", "add", &format!("{}/17", state.gateway()), "dev", &bridge],
    )?;
    process::run("ip", ["link", "set", &bridge, "up"])?;
    for chain in ["PREROUTING", "OUTPUT"] {
        process::run("iptables", service_rule(state, "-A", chain)?)?;
    }
    Ok(())
}

/// Removes what [`create_bridge`] made and every pod's end of a cable on it. Nothing there is no error.
pub(crate) fn remove_bridge(state: &State) -> Result<()> {
    for chain in ["PREROUTING", "OUTPUT"] {
        let present = |action| -> Result<bool> {
            Ok(process::run("iptables", service_rule(state, action, chain)?).is_ok())
        };
        while present("-C")? {
            process::run("iptables", service_rule(state, "-D", chain)?)?;
        }
    }
    let bridge = state.bridge();
    let ports = process::run("ip", ["-o", "link", "show", "master", &bridge]).unwrap_or_default();
    for line in ports.lines() {
        if let Some(name) = line.split_whitespace().nth(1) {
            let name = name.trim_end_matches(':').split('@').next().unwrap_or(name);
            // A pod's end may vanish at the same moment, with its network namespace.
            let _ = process::run("ip", ["link", "delete", name]);
        }
    }
    if process::run("ip", ["link", "show", &bridge]).is_ok() {
        process::run("ip", ["link", "delete", &bridge])?;
    }
    Ok(())
}

fn service_rule(state: &State, action: &str, chain: &str) -> Result<Vec<String>> {
    let target = format!("{}:{}", state.gateway(), state.port("kube-apiserver")?);
    let rule = [
        "-w",
        "-t",
        "nat",
        action,
        chain,
        "-d",
        &state.kubernetes_service(),
        "-p",
        "tcp",
        "--dport",
        "443",
    ];
    let comment = [
        "-m",
        "comment",
        "--comment",
        &state.bridge(),
        "-j",
        "DNAT",
        "--to-destination",
        &target,
    ];
    Ok(rule.iter().chain(&comment).map(ToString::to_string).collect())
}

//! What the benchmark ran on, in words.

use std::fs;

use anyhow::{Context, Result};

/// Cores, memory and kernel.
pub(super) fn describe() -> Result<String> {
    let cores = std::thread::available_parallelism().context("counting cores")?;
    let model = field("/proc/cpuinfo", "model name")?.unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let memory = field("/proc/meminfo", "MemTotal")?;
    let kilobytes = memory.and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("reading the kernel's version")?;
    // Builds carry names of their makers behind the version.
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    Ok(format!(
        "{cores} cores ({model}), {:.0} GiB of memory, Linux {kernel}",
        f64::from(u32::try_from(kilobytes.unwrap_or_default() >> 10)?) / 1024.0
    ))
}

/// The first value of a key in one of the kernel's lists.
fn field(path: &str, key: &str) -> Result<Option<String>> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    let values = text.lines().filter_map(|line| line.split_once(':'));
    let mut values = values
        .filter(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim().to_owned());
    Ok(values.next())
}

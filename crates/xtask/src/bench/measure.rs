//! What a process costs: time, CPU and memory, as the kernel counts them.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use refloat_testkit::cluster::Cluster;
use refloat_testkit::process::ProcessId;

/// One measurement.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    /// From the request until its result is there.
    pub wall: Duration,
    /// CPU seconds of the process and of those that it started and that have ended.
    pub cpu: f64,
    /// The most memory that the process itself had, in bytes.
    pub peak_rss: u64,
    /// From start to completion as a server writes it into the status, in whole seconds.
    pub own_clock: Option<i64>,
    /// Bytes in the bucket afterwards; none for floors and restores.
    pub stored: Option<u64>,
    /// How busy the machine was with work that is not of this benchmark, as a share of all cores.
    pub foreign: f64,
}

/// Measures a server that runs on, from `start` to `finish`.
pub(super) struct Meter<'a> {
    cluster: &'a Cluster,
    process: ProcessId,
    cpu: f64,
    machine: Machine,
    started: Instant,
}

impl<'a> Meter<'a> {
    pub(super) fn start(cluster: &'a Cluster, process: &ProcessId) -> Result<Self> {
        let cpu = cpu_of(process.pid)?;
        let machine = Machine::now(cluster)?;
        Ok(Self {
            cluster,
            process: process.clone(),
            cpu,
            machine,
            started: Instant::now(),
        })
    }

    pub(super) fn finish(self) -> Result<Sample> {
        let wall = self.started.elapsed();
        let cpu = cpu_of(self.process.pid)? - self.cpu;
        let peak_rss = peak_rss(self.process.pid).context("the server has ended")?;
        let foreign = self.machine.foreign(self.cluster, wall)?;
        Ok(Sample {
            wall,
            cpu,
            peak_rss,
            own_clock: None,
            stored: None,
            foreign,
        })
    }
}

/// Runs a program to its end and measures it.
///
/// # Errors
/// It cannot be started or does not succeed; the error has its last words.
pub(super) fn run(cluster: &Cluster, command: &mut Command) -> Result<Sample> {
    let name = command.get_program().to_string_lossy().into_owned();
    let machine = Machine::now(cluster)?;
    let before = own_children()?;
    let started = Instant::now();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.with_context(|| format!("starting {name}"))?;
    let pid = child.id();
    let ended = AtomicBool::new(false);
    let (output, wall, peak_rss) = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut peak = 0;
            // The kernel forgets it when the process ends, so it is read until then.
            while !ended.load(Ordering::Relaxed) {
                peak = peak_rss_or(pid, peak);
                thread::sleep(Duration::from_millis(10));
            }
            peak
        });
        let output = child.wait_with_output();
        let wall = started.elapsed();
        ended.store(true, Ordering::Relaxed);
        (output, wall, watcher.join().unwrap_or_default())
    });
    let output = output.with_context(|| format!("waiting for {name}"))?;
    ensure!(
        output.status.success(),
        "{name} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let cpu = own_children()? - before;
    Ok(Sample {
        wall,
        cpu,
        peak_rss,
        own_clock: None,
        stored: None,
        foreign: machine.foreign(cluster, wall)?,
    })
}

/// Waits until the cluster has little to do, so that what was before does not count for what comes; gives up
/// after half a minute.
pub(super) fn settle(cluster: &Cluster) -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(500);
    for _ in 0..60 {
        let before = Machine::now(cluster)?.ours;
        thread::sleep(PAUSE);
        if Machine::now(cluster)?.ours - before < 0.1 * PAUSE.as_secs_f64() * cores() {
            break;
        }
    }
    Ok(())
}

/// CPU seconds spent so far, by everyone and by those that belong to this benchmark.
struct Machine {
    busy: f64,
    ours: f64,
}

impl Machine {
    fn now(cluster: &Cluster) -> Result<Self> {
        // Parts of the cluster include the servers that are measured.
        let parts = Cluster::status(cluster.name())?;
        let alive = parts.iter().filter(|part| part.alive);
        let parts: f64 = alive.filter_map(|part| cpu_of(part.pid).ok()).sum();
        Ok(Self {
            busy: busy()?,
            ours: parts + cpu_of(std::process::id())?,
        })
    }

    fn foreign(&self, cluster: &Cluster, wall: Duration) -> Result<f64> {
        let now = Self::now(cluster)?;
        let foreign = (now.busy - self.busy) - (now.ours - self.ours);
        Ok((foreign / (wall.as_secs_f64() * cores())).max(0.0))
    }
}

/// CPU seconds that all processes together have spent; not what the kernel does on its own account.
fn busy() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    // user, nice, system
    let ticks = line
        .split_whitespace()
        .skip(1)
        .take(3)
        .filter_map(|word| word.parse::<f64>().ok());
    Ok(ticks.sum::<f64>() / ticks_per_second())
}

/// CPU seconds of a process and of its children that have ended.
fn cpu_of(pid: u32) -> Result<f64> {
    Ok(stat(pid)?.iter().sum::<f64>() / ticks_per_second())
}

/// CPU seconds of this process's children that have ended.
fn own_children() -> Result<f64> {
    Ok(stat(std::process::id())?[2..].iter().sum::<f64>() / ticks_per_second())
}

/// utime, stime, cutime and cstime of `/proc/PID/stat`.
fn stat(pid: u32) -> Result<[f64; 4]> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).context("reading what a process has used")?;
    let fields = text
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().skip(11));
    let mut numbers = fields
        .context("/proc has another form")?
        .map(|word| word.parse().unwrap_or_default());
    Ok(std::array::from_fn(|_| numbers.next().unwrap_or_default()))
}

fn peak_rss(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .ok()
        .map(|kilobytes| kilobytes * 1024)
}

fn peak_rss_or(pid: u32, otherwise: u64) -> u64 {
    peak_rss(pid).map_or(otherwise, |now| now.max(otherwise))
}

#[expect(clippy::cast_precision_loss, reason = "a small number")]
fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

#[expect(clippy::cast_precision_loss, reason = "a small number")]
fn cores() -> f64 {
    thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64)
}

//! Programs that outlive the process that started them, and are found and ended again without ever touching a
//! stranger: a process is known by its id *and* its start time, because the kernel hands ids out again.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid};
use serde::{Deserialize, Serialize};

/// A process that was started, by id and start time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// The process id.
    pub pid: u32,
    /// Start time in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start: u64,
}

impl ProcessId {
    /// The process that has the id `pid` now; `None` if there is none, or only its unreaped remains.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command may contain anything, spaces and brackets included: count from its closing bracket.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let start = fields.nth(18)?.parse().ok()?;
        (!matches!(state, "Z" | "X")).then_some(Self { pid, start })
    }

    /// Whether this very process still runs.
    pub fn is_alive(&self) -> bool {
        self.reap();
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Sends `signal` if this very process still runs; a process that is gone is no error.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        // The descriptor is taken first and the start time checked after, so the id cannot change hands between.
        let Some(pid) = self.raw() else { return Ok(()) };
        let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else {
            return Ok(());
        };
        if Self::of(self.pid).as_ref() != Some(self) {
            return Ok(());
        }
        match pidfd_send_signal(descriptor, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(e) => {
                Err(io::Error::from(e)).with_context(|| format!("sending a signal to process {}", self.pid))
            }
        }
    }

    /// Ends the process: asks, waits up to `grace`, then kills it and waits until it is gone.
    pub fn stop(&self, grace: Duration) -> Result<()> {
        if self.is_alive() && !grace.is_zero() {
            self.signal(Signal::TERM)?;
            self.wait_gone(grace);
        }
        if self.is_alive() {
            self.signal(Signal::KILL)?;
            if !self.wait_gone(Duration::from_secs(20)) {
                bail!("process {} does not end, though it was killed", self.pid);
            }
        }
        Ok(())
    }

    /// Waits until the process is gone; false when `limit` passed first.
    pub fn wait_gone(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.is_alive() {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(20));
        }
        true
    }

    fn raw(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.pid).ok()?)
    }

    /// Collects the exit status if this is a child of ours; any other process is left to its own parent.
    fn reap(&self) {
        if let Some(pid) = self.raw() {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

/// Starts `program` in a process group of its own, with nothing on standard input and both outputs appended to
/// the file `log`, so that it lives on when the caller ends. `env` is added to the caller's environment.
pub fn start_detached<A, K, V>(
    program: &Path,
    args: impl IntoIterator<Item = A>,
    env: impl IntoIterator<Item = (K, V)>,
    log: &Path,
) -> Result<ProcessId>
where
    A: AsRef<OsStr>,
    K: AsRef<OsStr>,
    V: AsRef<OsStr>,
{
    let output = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("opening the log {}", log.display()))?;
    let child = Command::new(program)
        .args(args)
        .envs(env)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    let pid = child.id();
    ProcessId::of(pid).with_context(|| format!("{} ended at once; see {}", program.display(), log.display()))
}

/// Every process whose environment has the entry `key=value`, except the caller itself.
pub fn with_environment(key: &str, value: &Path) -> Vec<ProcessId> {
    let entry = [key.as_bytes(), b"=", value.as_os_str().as_encoded_bytes()].concat();
    all_pids()
        .filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|part| part == entry))
        })
        .filter_map(ProcessId::of)
        .collect()
}

fn all_pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Runs `program` to its end and returns its standard output.
///
/// # Errors
/// It cannot be started or fails; the error has its last words.
pub fn run<A: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: impl IntoIterator<Item = A>) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args);
    run_command(&mut command)
}

/// Like [`run`], for a command that needs more than arguments.
pub fn run_command(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {name}"))?;
    if !output.status.success() {
        let words: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        bail!(
            "`{name} {}` failed ({}): {}",
            words.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

//! Running one hook in a pod: what is written into the job's log about it, and why it failed.

use refloat_cluster::{
    Cluster,
    exec::{Captured, ExecEnd, ExecRequest},
};
use refloat_model::{GoDuration, ObjectName};
use refloat_plan::hooks::Hook;

use crate::{error::chain, job_log::JobLog};

/// How much of each output stream goes into the log.
const KEEP: usize = 16 * 1024;

/// Runs a hook to its end. What it writes goes into the job's log only: it is the user's, and may be
/// anything.
///
/// # Errors
/// Why it failed, in words for the results.
pub(crate) async fn run(
    cluster: &Cluster,
    log: &JobLog,
    pod: &ObjectName,
    hook: &Hook,
) -> Result<(), String> {
    let place = format!("hook {} in container {} of pod {pod}", hook.name, hook.container);
    if let Some(problem) = &hook.problem {
        return Err(format!("{place} did not run: {problem}"));
    }
    let limit = GoDuration(hook.timeout);
    log.info(&format!("{place} begins; it may take {limit}"));
    let request = ExecRequest {
        pod,
        container: &hook.container,
        command: &hook.command,
        timeout: hook.timeout,
        keep: KEEP,
    };
    let done = match cluster.exec(request).await {
        Ok(done) => done,
        Err(error) => return Err(format!("{place} did not run: {}", chain(&error))),
    };
    for (stream, output) in [("stdout", &done.stdout), ("stderr", &done.stderr)] {
        if !output.is_empty() {
            log.quote(&format!("{place}: {stream}: {}", output.text()));
        }
    }
    match done.end {
        ExecEnd::Success => {
            log.info(&format!("{place} has ended"));
            Ok(())
        }
        ExecEnd::Exit(code) => Err(format!(
            "{place} failed with exit code {code}{}",
            last_words(&done.stderr)
        )),
        ExecEnd::Failed(why) => Err(format!("{place} failed: {why}")),
        ExecEnd::TimedOut => Err(format!(
            "{place} timed out after {limit}: its connection was closed, but its process may still be running; \
             put `timeout` in front of the command to have it ended in the container as well"
        )),
    }
}

/// Where to read on.
fn last_words(stderr: &Captured) -> &'static str {
    if stderr.is_empty() {
        ""
    } else {
        "; the log has what it said"
    }
}

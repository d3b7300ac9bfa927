//! Running a command in a container, as `kubectl exec` does, with an end to its time and its output.
//!
//! The API server hands the connection on to the node's runtime (WebSocket, `v5.channel.k8s.io`, or `v4` where
//! the server has no other). Nobody but the runtime could end a process there, and it has no call for that:
//! when the time is over the connection is closed and the process may live on. A command that must not runs
//! under `timeout` in its container.

use std::time::Duration;

use futures::future::join3;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::api::{Api, AttachParams};
use refloat_model::ObjectName;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Instant, timeout_at},
};

use crate::{
    Cluster, ClusterError,
    client::{decode, from_kube},
};

/// A command to run.
#[derive(Clone, Copy, Debug)]
pub struct ExecRequest<'a> {
    /// The pod.
    pub pod: &'a ObjectName,
    /// The container in it.
    pub container: &'a str,
    /// The argument vector.
    pub command: &'a [String],
    /// How long it may take, the connecting included.
    pub timeout: Duration,
    /// How many bytes of each output stream are kept.
    pub keep: usize,
}

/// How a command went.
#[derive(Debug)]
pub struct Exec {
    /// How it ended.
    pub end: ExecEnd,
    /// What it wrote.
    pub stdout: Captured,
    /// What it wrote as errors.
    pub stderr: Captured,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecEnd {
    /// With exit code 0.
    Success,
    /// With another exit code.
    Exit(i32),
    /// It could not be started, or its end is not known; the runtime's words.
    Failed(String),
    /// Its time was over; the connection is closed.
    TimedOut,
}

/// The beginning and the end of an output stream.
#[derive(Debug)]
pub struct Captured {
    head: Vec<u8>,
    tail: Vec<u8>,
    half: usize,
    length: u64,
}

impl Captured {
    fn new(keep: usize) -> Self {
        Self {
            head: Vec::new(),
            tail: Vec::new(),
            half: keep / 2,
            length: 0,
        }
    }

    fn add(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        let fits = bytes.len().min(self.half - self.head.len());
        self.head.extend_from_slice(&bytes[..fits]);
        bytes = &bytes[fits..];
        self.tail.extend_from_slice(bytes);
        // Moved once in a while only.
        if self.tail.len() > 2 * self.half {
            self.tail.drain(..self.tail.len() - self.half);
        }
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// What is kept, with a note where something was left out. What is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        let tail = &self.tail[self.tail.len().saturating_sub(self.half)..];
        let kept = (self.head.len() + tail.len()) as u64;
        let (head, tail_text) = (String::from_utf8_lossy(&self.head), String::from_utf8_lossy(tail));
        if kept == self.length {
            let whole = [&*self.head, tail].concat();
            return String::from_utf8_lossy(&whole).into_owned();
        }
        let left_out = self.length - kept;
        format!("{head}\n[{left_out} bytes are left out]\n{tail_text}")
    }

    async fn fill(&mut self, stream: Option<impl AsyncRead + Unpin>) {
        let Some(mut stream) = stream else { return };
        let mut buffer = vec![0; 8 * 1024];
        // A stream that breaks is followed by a status, or by none; that is what tells.
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            self.add(&buffer[..read]);
        }
    }
}

impl Cluster {
    /// Runs a command in a container and waits for its end. Not tried again: it may have run. Dropping the
    /// future closes the connection.
    ///
    /// # Errors
    /// If the API server does not let it begin: no such pod, no right to `get` and `create` `pods/exec`, or the
    /// runtime refuses; or if there is no connection. How a command ended that began is no error.
    pub async fn exec(&self, request: ExecRequest<'_>) -> Result<Exec, ClusterError> {
        let ExecRequest { pod, container, .. } = request;
        let action = format!("run a command in container {container} of pod {pod}");
        let deadline = Instant::now() + request.timeout;
        let mut done = Exec {
            end: ExecEnd::TimedOut,
            stdout: Captured::new(request.keep),
            stderr: Captured::new(request.keep),
        };
        let pods: Api<Pod> = Api::namespaced(self.client(), &pod.namespace);
        let how = AttachParams {
            container: Some(container.to_owned()),
            ..AttachParams::default()
        };
        let connecting = pods.exec(&pod.name, request.command, &how);
        let mut process = match timeout_at(deadline, connecting).await {
            Err(_) => return Ok(done),
            Ok(Err(kube::Error::UpgradeConnection(error))) => return Err(decode(&action, error)),
            Ok(Err(error)) => return Err(from_kube(&action, error)),
            Ok(Ok(process)) => process,
        };
        let (stdout, stderr) = (process.stdout(), process.stderr());
        let status = process.take_status();
        let ending = async move {
            match status {
                Some(status) => status.await,
                None => None,
            }
        };
        let all = join3(done.stdout.fill(stdout), done.stderr.fill(stderr), ending);
        match timeout_at(deadline, all).await {
            Err(_) => process.abort(),
            Ok(((), (), Some(status))) => done.end = end_of(&status),
            Ok(((), (), None)) => {
                let why = match process.join().await {
                    Ok(()) => "the connection ended before the command did".to_owned(),
                    Err(error) => format!("the connection broke: {error}"),
                };
                done.end = ExecEnd::Failed(why);
            }
        }
        Ok(done)
    }
}

/// What the runtime says about the end of a command.
fn end_of(status: &Status) -> ExecEnd {
    if status.status.as_deref() == Some("Success") {
        return ExecEnd::Success;
    }
    let causes = status
        .details
        .as_ref()
        .and_then(|details| details.causes.as_ref());
    let code = causes
        .into_iter()
        .flatten()
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"))
        .and_then(|cause| cause.message.as_deref()?.parse().ok());
    match code {
        Some(code) => ExecEnd::Exit(code),
        None => ExecEnd::Failed(
            status
                .message
                .clone()
                .unwrap_or_else(|| "no reason is given".into()),
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn output_is_bounded_and_says_what_is_missing() {
        let mut output = Captured::new(8);
        assert!(output.is_empty());
        output.add("añ".as_bytes());
        output.add(b"bcdef");
        assert_eq!(output.text(), "añbcdef");
        for chunk in 0..1000_u32 {
            output.add(format!("{chunk:04}").as_bytes());
        }
        assert_eq!(output.text(), "añb\n[4000 bytes are left out]\n0999");
        assert!(output.tail.capacity() < 100);
    }

    #[test]
    fn the_end_of_a_command() {
        let end = |status: serde_json::Value| end_of(&serde_json::from_value(status).unwrap());
        assert_eq!(end(json!({ "status": "Success" })), ExecEnd::Success);
        let failed = json!({
            "status": "Failure", "reason": "NonZeroExitCode", "message": "command terminated with exit code 7",
            "details": { "causes": [{ "reason": "ExitCode", "message": "7" }] },
        });
        assert_eq!(end(failed), ExecEnd::Exit(7));
        let failed = json!({ "status": "Failure", "reason": "InternalError", "message": "no such file" });
        assert_eq!(end(failed), ExecEnd::Failed("no such file".into()));
    }
}

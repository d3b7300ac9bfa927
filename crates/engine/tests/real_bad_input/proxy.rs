//! Stands between us and the real API server, and answers a chosen request in its place, or does
//! something at that instant. `kubectl proxy` behind it takes care of TLS and credentials.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::Arc,
};

use anyhow::{Context, Result};
use refloat_testkit::cluster::Cluster as TestCluster;

/// Sees the path of each request with its query, and may have something happen instead of the server's answer.
pub(crate) type Watch = dyn Fn(&str) -> Option<Instead> + Send + Sync;

/// What happens instead of the server's answer.
pub(crate) enum Instead {
    /// This answer: a status and a JSON document.
    Answer(u16, String),
    /// None, while the client waits.
    Silence,
    /// The server's, of which so many bytes arrive.
    Cut(u64),
}

impl Instead {
    /// That a list's snapshot has expired.
    pub(crate) fn expired(body: String) -> Self {
        Self::Answer(410, body)
    }
}

/// The proxy; it ends when dropped.
pub(crate) struct Proxy {
    /// Leads through it.
    pub(crate) kubeconfig: PathBuf,
    behind: Child,
}

impl Proxy {
    pub(crate) fn start(test: &TestCluster, folder: &Path, watch: Arc<Watch>) -> Result<Self> {
        let mut command = test.kubectl_command()?;
        command.args(["proxy", "--port=0"]).stdout(Stdio::piped());
        let mut behind = command.spawn().context("starting kubectl proxy")?;
        let mut line = String::new();
        BufReader::new(behind.stdout.take().context("its output")?).read_line(&mut line)?;
        let upstream = line.trim().rsplit(' ').next().context("its address")?.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (upstream, watch) = (upstream.clone(), watch.clone());
                // A connection that breaks is the client's to notice.
                std::thread::spawn(move || serve(client, &upstream, &*watch));
            }
        });
        let kubeconfig = folder.join("through-proxy");
        let text = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "x", "cluster": {"server": format!("http://{address}")}}],
            "users": [{"name": "x", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        });
        std::fs::write(&kubeconfig, text.to_string())?;
        Ok(Self { kubeconfig, behind })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.behind.kill();
        let _ = self.behind.wait();
    }
}

/// Passes on one request and its answer; the connection is closed then.
fn serve(mut client: TcpStream, upstream: &str, watch: &Watch) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut head, mut first, mut length) = (String::new(), String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if first.is_empty() {
            first = line.clone();
        }
        if line == "\r\n" {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if !lower.starts_with("connection:") {
            head.push_str(&line);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let path = first.split(' ').nth(1).unwrap_or_default();
    let most = match watch(path) {
        None => u64::MAX,
        Some(Instead::Cut(most)) => most,
        Some(Instead::Silence) => {
            // Until the client gives up.
            return reader.read(&mut [0]).map(|_| ());
        }
        Some(Instead::Answer(status, answer)) => {
            let head =
                format!("HTTP/1.1 {status} Chosen\r\ncontent-type: application/json\r\nconnection: close");
            return write!(
                client,
                "{head}\r\ncontent-length: {}\r\n\r\n{answer}",
                answer.len()
            );
        }
    };
    let mut server = TcpStream::connect(upstream)?;
    server.write_all(head.as_bytes())?;
    server.write_all(b"connection: close\r\n\r\n")?;
    server.write_all(&body)?;
    std::io::copy(&mut server.take(most), &mut client)?;
    Ok(())
}

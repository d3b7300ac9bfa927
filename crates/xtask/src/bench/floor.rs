//! The floors: the least that anyone must do who reads these objects, or writes them. Each runs in a process of
//! its own, built with optimisation, so that its time, CPU and memory are measured as everyone else's are.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use clap::Args;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::api::Api;
use super::objects::{KINDS, Kind, Sizes, object};

#[derive(Args, Debug)]
pub(crate) struct List {
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Only these namespaces
    #[arg(long, value_delimiter = ',')]
    namespaces: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Post {
    #[arg(long)]
    kubeconfig: PathBuf,
    /// What the namespaces' names start with; they are created
    #[arg(long)]
    prefix: String,
    #[arg(long)]
    count: usize,
    #[arg(long)]
    per_namespace: usize,
    #[arg(long, default_value_t = 30)]
    connections: usize,
}

impl List {
    /// The arguments of a process that lists the namespaces, or with none all of the cluster.
    pub(super) fn arguments(kubeconfig: &Path, namespaces: &[String]) -> Vec<String> {
        let mut words = vec!["bench".to_owned(), "floor-list".to_owned()];
        words.push(format!("--kubeconfig={}", kubeconfig.display()));
        if !namespaces.is_empty() {
            words.push(format!("--namespaces={}", namespaces.join(",")));
        }
        words
    }

    /// Lists all three kinds at once, page by page, and throws the bytes away.
    pub(super) async fn run(self) -> Result<()> {
        let api = Api::open(&self.kubeconfig)?;
        let mut tasks = JoinSet::new();
        for kind in KINDS {
            let (api, namespaces) = (api.clone(), self.namespaces.clone());
            tasks.spawn(async move {
                if namespaces.is_empty() {
                    return list(&api, &format!("/api/v1/{}", kind.resource())).await;
                }
                for namespace in namespaces {
                    list(
                        &api,
                        &format!("/api/v1/namespaces/{namespace}/{}", kind.resource()),
                    )
                    .await?;
                }
                Ok(())
            });
        }
        finish(tasks).await
    }
}

impl Post {
    /// The arguments of a process that creates the objects `from..to` below `prefix`.
    pub(super) fn arguments(kubeconfig: &Path, prefix: &str, sizes: &Sizes, count: usize) -> Vec<String> {
        let mut words = vec!["bench".to_owned(), "floor-post".to_owned()];
        words.push(format!("--kubeconfig={}", kubeconfig.display()));
        words.extend(["--prefix".to_owned(), prefix.to_owned()]);
        for (name, number) in [("count", count), ("per-namespace", sizes.per_namespace)] {
            words.push(format!("--{name}={number}"));
        }
        words
    }

    /// Creates the namespaces, then the objects, with as many requests under way as there are connections.
    pub(super) async fn run(self) -> Result<()> {
        let api = Api::open(&self.kubeconfig)?;
        let mut tasks = JoinSet::new();
        for number in 0..self.count.div_ceil(self.per_namespace) {
            let (api, name) = (api.clone(), format!("{}{number:03}", self.prefix));
            tasks.spawn(async move {
                let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
                post(&api, "/api/v1/namespaces", &body).await
            });
        }
        finish(tasks).await?;
        let next = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..self.connections {
            let (api, next, prefix) = (api.clone(), Arc::clone(&next), self.prefix.clone());
            tasks.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= self.count {
                        return Ok(());
                    }
                    let namespace = format!("{prefix}{:03}", number / self.per_namespace);
                    let path = format!("/api/v1/namespaces/{namespace}/{}", Kind::of(number).resource());
                    post(&api, &path, &object(number)).await?;
                }
            });
        }
        finish(tasks).await
    }
}

async fn finish(mut tasks: JoinSet<Result<()>>) -> Result<()> {
    while let Some(task) = tasks.join_next().await {
        task.context("a task ended in a panic")??;
    }
    Ok(())
}

async fn post(api: &Api, path: &str, body: &Value) -> Result<()> {
    let mut answer = api
        .send(Method::POST, path, Some(serde_json::to_vec(body)?))
        .await?;
    while answer.chunk().await?.is_some() {}
    Ok(())
}

async fn list(api: &Api, path: &str) -> Result<()> {
    let mut token = String::new();
    loop {
        let page = format!("{path}?limit=500&continue={token}");
        let answer = api.send(Method::GET, &page, None).await?;
        match drain(answer).await? {
            Some(next) => token = next,
            None => return Ok(()),
        }
    }
}

/// Reads a page to its end and returns the token of the next, which stands in front of the items.
async fn drain(mut answer: Response) -> Result<Option<String>> {
    const ITEMS: &[u8] = b"\"items\":";
    let mut head: Vec<u8> = Vec::new();
    let mut complete = false;
    while let Some(chunk) = answer.chunk().await? {
        if !complete {
            head.extend_from_slice(&chunk);
            if let Some(end) = head.windows(ITEMS.len()).position(|bytes| bytes == ITEMS) {
                head.truncate(end);
                complete = true;
            }
        }
    }
    let head = String::from_utf8_lossy(&head);
    let token = head
        .split_once("\"continue\":\"")
        .and_then(|(_, rest)| rest.split_once('"'));
    Ok(token
        .map(|(token, _)| token.to_owned())
        .filter(|token| !token.is_empty()))
}

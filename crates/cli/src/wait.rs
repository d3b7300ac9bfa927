//! Waiting for what a server does, and for Ctrl-C.

use anyhow::Result;
use refloat_cluster::typed::{Object, Objects};
use tokio_util::sync::CancellationToken;

use crate::{
    exit,
    progress::{Counts, Meter},
    session::Looks,
};

/// How waiting ended.
#[derive(Debug)]
pub enum Waited<K> {
    /// The object came to its end.
    Ended(K),
    /// The object was deleted meanwhile.
    Gone,
    /// The user pressed Ctrl-C; the server goes on.
    Left,
}

/// Looks at an object until `ended` says that nothing more will happen to it, and shows how far it is.
///
/// # Errors
/// Where the server cannot be asked any more.
pub async fn for_end<K: Object>(
    objects: &Objects<K>,
    name: &str,
    what: &str,
    ended: impl Fn(&K) -> bool,
    counts: impl Fn(&K) -> Counts,
) -> Result<Waited<K>> {
    let mut meter = Meter::new(what);
    let mut looks = Looks::default();
    let mut silent = false;
    loop {
        tokio::select! {
            () = looks.pause() => {}
            result = tokio::signal::ctrl_c() => {
                result?;
                return Ok(Waited::Left);
            }
        }
        let object = match objects.find(name).await {
            Ok(Some(object)) => object,
            Ok(None) => return Ok(Waited::Gone),
            // The work goes on where the server is; an API server that restarts is no reason to leave it.
            Err(error) if error.is_retryable() => {
                if !silent {
                    exit::complain("The API server does not answer; still waiting (Ctrl-C leaves).");
                }
                silent = true;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        silent = false;
        meter.show(counts(&object));
        if ended(&object) {
            meter.finish();
            return Ok(Waited::Ended(object));
        }
    }
}

/// What the user asks of a running job by pressing Ctrl-C (or sending SIGTERM).
#[derive(Clone, Debug)]
pub struct Interruption {
    /// Cancelled the first time: end cleanly.
    pub once: CancellationToken,
    /// Cancelled the second time: end at once, as a crash would.
    pub twice: CancellationToken,
}

impl Interruption {
    /// Begins to listen.
    #[must_use]
    pub fn listen() -> Self {
        let this = Self {
            once: CancellationToken::new(),
            twice: CancellationToken::new(),
        };
        let told = this.clone();
        tokio::spawn(async move {
            signalled().await;
            exit::complain("Stopping cleanly; press Ctrl-C again to stop at once.");
            told.once.cancel();
            signalled().await;
            told.twice.cancel();
        });
        this
    }
}

/// A token that SIGINT or SIGTERM cancels.
#[must_use]
pub fn termination() -> CancellationToken {
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        signalled().await;
        cancelled.cancel();
    });
    token
}

async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

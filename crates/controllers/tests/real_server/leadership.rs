//! Only one server works at a time, and its successor takes over.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use refloat_cluster::lease::{LeaseOptions, acquire};
use tokio_util::sync::CancellationToken;

use crate::scene::{SOON, Scene};

fn lease(scene: &Scene, identity: &str) -> LeaseOptions {
    LeaseOptions {
        duration: Duration::from_secs(4),
        renew_deadline: Duration::from_secs(3),
        retry_period: Duration::from_millis(500),
        ..LeaseOptions::new(&scene.namespace, "contended", identity)
    }
}

#[test]
fn of_many_candidates_one_leads_and_a_release_is_noticed_at_once() -> Result<()> {
    let scene = Scene::new("candidates")?;
    let cluster = scene.connect()?;
    scene.block_on(async {
        let stop = CancellationToken::new();
        let candidates: Vec<_> = (0..5)
            .map(|n| {
                let (cluster, options, stop) =
                    (cluster.clone(), lease(&scene, &format!("c{n}")), stop.clone());
                tokio::spawn(async move { acquire(&cluster, options, &stop).await.map(|held| (n, held)) })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(6)).await;
        let (done, waiting): (Vec<_>, Vec<_>) = candidates
            .into_iter()
            .partition(tokio::task::JoinHandle::is_finished);
        ensure!(done.len() == 1, "{} lead at the same time", done.len());
        let mut held = Vec::new();
        for task in done {
            held.extend(task.await?);
        }
        let (_, leader) = held.pop().expect("one leads");
        ensure!(!leader.lost().is_cancelled(), "the lease is renewed");
        let released = Instant::now();
        leader.release().await?;
        let mut waiting = waiting;
        let next = loop {
            if let Some(at) = waiting.iter().position(tokio::task::JoinHandle::is_finished) {
                break waiting.swap_remove(at).await?;
            }
            ensure!(
                released.elapsed() < Duration::from_secs(2),
                "nobody takes over a released lease"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        ensure!(next.is_some(), "the successor leads");
        stop.cancel();
        for task in waiting {
            ensure!(task.await?.is_none(), "a candidate that is stopped does not lead");
        }
        Ok(())
    })
}

#[test]
fn a_leader_whose_lease_is_taken_notices() -> Result<()> {
    let scene = Scene::new("usurped")?;
    let cluster = scene.connect()?;
    let stop = CancellationToken::new();
    let held = scene
        .block_on(acquire(&cluster, lease(&scene, "first"), &stop))
        .expect("nobody else wants it");
    let usurp = r#"{"spec":{"holderIdentity":"second"}}"#;
    scene.kubectl(&["patch", "lease", "contended", "--type=merge", "-p", usurp])?;
    scene.block_on(async { tokio::time::timeout(Duration::from_secs(4), held.lost().cancelled()).await })?;
    Ok(())
}

#[test]
fn a_killed_leader_is_succeeded_and_a_paused_one_steps_down() -> Result<()> {
    let scene = Scene::new("killed")?;
    let leads = |who: &str| {
        scene.wait(&format!("{who} leads"), SOON, || {
            Ok((scene.leader()? == who).then_some(()))
        })
    };
    let mut first = scene.process("first")?;
    leads("first")?;
    scene.wait_field("backupstoragelocation", "default", "/status/phase", "Available")?;
    let mut second = scene.process("second")?;
    std::thread::sleep(Duration::from_secs(5));
    ensure!(scene.leader()? == "first", "a leader that lives keeps the lease");

    first.kill()?;
    let killed = Instant::now();
    leads("second")?;
    ensure!(
        killed.elapsed() < Duration::from_secs(8),
        "taken over after {:?}",
        killed.elapsed()
    );

    let mut third = scene.process("third")?;
    second.signal("STOP")?;
    leads("third")?;
    second.signal("CONT")?;
    scene.wait("the paused server ends", SOON, || {
        Ok(second.has_ended()?.then_some(()))
    })?;
    ensure!(!third.has_ended()?, "the successor goes on");
    ensure!(scene.leader()? == "third", "the successor leads");
    Ok(())
}

#[test]
fn a_server_that_is_stopped_gives_the_lease_back() -> Result<()> {
    let scene = Scene::new("stopped")?;
    scene.serve(scene.options())?;
    scene.wait("somebody leads", SOON, || {
        Ok((!scene.leader()?.is_empty()).then_some(()))
    })?;
    scene.stop_servers()?;
    ensure!(scene.leader()?.is_empty(), "nobody leads");
    Ok(())
}

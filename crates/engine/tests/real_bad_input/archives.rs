//! Tarballs that no backup wrote: each is refused with words that name the file and the problem, and
//! nothing is created.

use std::io::Read;

use anyhow::{Result, ensure};
use refloat_engine::{EngineError, Location};
use refloat_model::{
    Backup, RestorePhase, RestoreSpec,
    layout::{self, BackupFile},
};
use serde_json::json;
use tar::{Builder, EntryType, Header};

use crate::{
    scene::{Scene, run},
    tarball::gzip,
};

/// What a bad archive gets.
struct Bad {
    name: &'static str,
    packed: Vec<u8>,
    reason: &'static str,
    /// Part of the message or its cause.
    words: &'static str,
}

fn entry(tar: &mut Builder<Vec<u8>>, path: &str, kind: EntryType, data: &[u8]) -> Result<()> {
    let mut header = Header::new_gnu();
    // Written as it is: the library's own way would refuse what is tested here.
    let field = &mut header.as_old_mut().name;
    field[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(data.len() as u64);
    if matches!(kind, EntryType::Symlink | EntryType::Link) {
        header.set_link_name("/etc/passwd")?;
    }
    header.set_cksum();
    tar.append(&header, data)?;
    Ok(())
}

/// A good archive with a namespace and three ConfigMaps, and what `add` does to it.
fn archive(
    namespace: &str,
    version: &str,
    add: impl FnOnce(&mut Builder<Vec<u8>>) -> Result<()>,
) -> Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    entry(
        &mut tar,
        "metadata/version",
        EntryType::Regular,
        version.as_bytes(),
    )?;
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    let path = format!("resources/namespaces/cluster/{namespace}.json");
    entry(&mut tar, &path, EntryType::Regular, space.to_string().as_bytes())?;
    for name in ["one", "two", "three"] {
        let map = config_map(namespace, name, &"0123456789".repeat(500));
        entry(
            &mut tar,
            &map_path(namespace, name),
            EntryType::Regular,
            map.as_bytes(),
        )?;
    }
    add(&mut tar)?;
    gzip(&tar.into_inner()?)
}

fn map_path(namespace: &str, name: &str) -> String {
    format!("resources/configmaps/namespaces/{namespace}/{name}.json")
}

fn config_map(namespace: &str, name: &str, text: &str) -> String {
    let metadata = json!({"name": name, "namespace": namespace});
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"text": text}}).to_string()
}

fn one(name: &'static str, packed: Vec<u8>, reason: &'static str, words: &'static str) -> Bad {
    Bad {
        name,
        packed,
        reason,
        words,
    }
}

fn bad_archives(namespace: &str) -> Result<Vec<Bad>> {
    let first = map_path(namespace, "one");
    let with = |path: &str, kind: EntryType, data: &[u8]| {
        archive(namespace, "1.1.0\n", |tar| entry(tar, path, kind, data))
    };
    let huge = vec![b' '; 40 << 20];
    let mut bad = vec![
        one(
            "parent",
            with("resources/../../../etc/cron.d/x", EntryType::Regular, b"x")?,
            "HostileArchive",
            "would leave",
        ),
        one(
            "absolute",
            with("/etc/cron.d/x", EntryType::Regular, b"x")?,
            "HostileArchive",
            "/etc/cron.d/x",
        ),
        one(
            "symlink",
            with(&map_path(namespace, "link"), EntryType::Symlink, b"")?,
            "DamagedFile",
            "link",
        ),
        one(
            "hardlink",
            with(&map_path(namespace, "link"), EntryType::Link, b"")?,
            "DamagedFile",
            "link",
        ),
        one(
            "device",
            with("resources/dev", EntryType::Char, b"")?,
            "DamagedFile",
            "device",
        ),
        one(
            "twice",
            with(
                &first,
                EntryType::Regular,
                config_map(namespace, "one", "other").as_bytes(),
            )?,
            "DamagedFile",
            "twice",
        ),
        one(
            "bomb",
            with(&map_path(namespace, "big"), EntryType::Regular, &huge)?,
            "DamagedFile",
            "longer than any object",
        ),
        one(
            "bomb-aside",
            with("metadata/big", EntryType::Regular, &huge)?,
            "DamagedFile",
            "longer than any object",
        ),
        one(
            "bomb-in-a-name",
            with("long", EntryType::GNULongName, &huge)?,
            "DamagedFile",
            "headers",
        ),
        one(
            "new-format",
            archive(namespace, "2.0.0\n", |_| Ok(()))?,
            "UnknownFormat",
            "\"2.0.0\"",
        ),
        one("no-gzip", b"hello".to_vec(), "DamagedFile", "cut or damaged"),
        one("nothing", Vec::new(), "DamagedFile", "cut or damaged"),
    ];
    bad.extend(damaged(namespace)?);
    Ok(bad)
}

/// A good archive that was cut, or in which a byte has changed.
fn damaged(namespace: &str) -> Result<Vec<Bad>> {
    let good = archive(namespace, "1.1.0\n", |_| Ok(()))?;
    let mut bad = Vec::new();
    let mut cut = |name: &'static str, packed: Vec<u8>| {
        bad.push(one(name, packed, "DamagedFile", "cut or damaged"));
    };
    for (part, name) in ["cut-1", "cut-2", "cut-3", "cut-4", "cut-5"]
        .into_iter()
        .enumerate()
    {
        cut(name, good[..good.len() * (part + 1) / 6].to_vec());
    }
    cut("cut-at-the-end", good[..good.len() - 4].to_vec());
    // Whole gzip, but the tar file has no end.
    let mut unpacked = Vec::new();
    flate2::read::MultiGzDecoder::new(&good[..]).read_to_end(&mut unpacked)?;
    cut("no-end", gzip(&unpacked[..unpacked.len() - 1024])?);
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 0xff;
    bad.push(one("flipped", flipped, "DamagedFile", ""));
    Ok(bad)
}

/// A store that holds a backup of that name with this tarball.
async fn store_with(name: &str, packed: &[u8], annotations: serde_json::Value) -> Result<Location> {
    let location = Location::from_url("memory://test").await?;
    let backup = json!({
        "apiVersion": "velero.io/v1", "kind": "Backup",
        "metadata": {"name": name, "namespace": "velero", "annotations": annotations}, "spec": {},
        "status": {"phase": "Completed", "version": 1, "formatVersion": "1.1.0"},
    });
    let store = location.store();
    store
        .put_once(&layout::backup_metadata(name), backup.to_string().into())
        .await?;
    store
        .put_once(&BackupFile::Contents.key(name), packed.to_vec().into())
        .await?;
    Ok(location)
}

/// An error and its causes.
fn all_words(error: &EngineError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}

#[test]
fn an_archive_that_no_backup_wrote_is_refused_before_anything_is_created() -> Result<()> {
    let scene = Scene::new("bad-tar")?;
    let namespace = scene.namespace_to_come(&scene.id);
    run(async {
        for bad in bad_archives(&scene.id)? {
            let location = store_with(bad.name, &bad.packed, json!({})).await?;
            let result = scene
                .restore(&location, bad.name, "r", RestoreSpec::default())
                .await;
            let Err(error) = result else {
                anyhow::bail!("{} is restored: {result:?}", bad.name)
            };
            let words = all_words(&error);
            ensure!(
                error.reason() == bad.reason && words.contains(bad.words),
                "{}: {} {words}",
                bad.name,
                error.reason()
            );
            ensure!(
                words.contains(bad.name) && !error.is_retryable(),
                "{}: {words}",
                bad.name
            );
            ensure!(
                scene.get(&namespace).await?.is_none(),
                "{}: something was created",
                bad.name
            );
            ensure!(
                refloat_engine::catalog::list_restores(&location)
                    .await?
                    .is_empty(),
                "{}",
                bad.name
            );
        }
        // The same archive without the fault is good, so each fault is what was refused.
        let good = archive(&scene.id, "1.1.0\n", |_| Ok(()))?;
        let other = json!({refloat_engine::backup::CONTENTS_SHA256: "0".repeat(64)});
        let location = store_with("changed", &good, other).await?;
        let error = scene
            .restore(&location, "changed", "r", RestoreSpec::default())
            .await
            .unwrap_err();
        ensure!(all_words(&error).contains("SHA-256"), "{error}");
        ensure!(
            scene.get(&namespace).await?.is_none(),
            "a changed archive was restored"
        );
        let location = store_with("good", &good, json!({})).await?;
        let report = scene
            .restore(&location, "good", "r", RestoreSpec::default())
            .await?;
        crate::scene::nothing_to_report(&report.results)
    })
}

#[test]
fn a_backup_that_is_not_one_is_refused() -> Result<()> {
    let scene = Scene::new("bad-json")?;
    run(async {
        let location = store_with("b", b"x", json!({})).await?;
        let store = location.store();
        let error = scene
            .restore(&location, "missing", "r", RestoreSpec::default())
            .await
            .unwrap_err();
        ensure!(
            matches!(error, EngineError::BackupNotFound { .. }) && error.to_string().contains("backup get"),
            "{error}"
        );
        let error = scene
            .restore(&location, "../b", "r", RestoreSpec::default())
            .await
            .unwrap_err();
        ensure!(error.reason() == "BadName", "{error}");
        for (name, text) in [
            ("cut", "{\"kind\":\"Ba"),
            ("list", "[]"),
            ("other", "{\"metadata\":{\"name\":\"b\"},\"spec\":{}}"),
        ] {
            store
                .put_once(&layout::backup_metadata(name), text.into())
                .await?;
            let error = scene
                .restore(&location, name, "r", RestoreSpec::default())
                .await
                .unwrap_err();
            ensure!(
                error.reason() == "DamagedFile" && error.to_string().contains(name),
                "{name}: {error}"
            );
        }
        let mut backup: Backup = refloat_engine::catalog::read_backup(&location, "b").await?;
        backup.status.get_or_insert_default().format_version = "2.0.0".into();
        let job = crate::scene::restore_job(&scene.cluster, &location, backup, "r", RestoreSpec::default());
        let error = refloat_engine::run_restore(job).await.unwrap_err();
        ensure!(
            error.reason() == "UnknownFormat" && error.to_string().contains("newer release"),
            "{error}"
        );
        store.delete(&BackupFile::Contents.key("b")).await?;
        let error = scene
            .restore(&location, "b", "r", RestoreSpec::default())
            .await
            .unwrap_err();
        ensure!(
            error.reason() == "ObjectNotFound" && all_words(&error).contains("b.tar.gz"),
            "{error}"
        );
        Ok(())
    })
}

#[test]
fn an_object_that_the_server_refuses_is_an_error_about_it_alone() -> Result<()> {
    let scene = Scene::new("bad-object")?;
    scene.namespace_to_come(&scene.id);
    let namespace = scene.id.as_str();
    let object = |tar: &mut Builder<Vec<u8>>, name: &str, json: &str| {
        entry(
            tar,
            &map_path(namespace, name),
            EntryType::Regular,
            json.as_bytes(),
        )
    };
    let packed = archive(namespace, "1.1.0\n", |tar| {
        object(
            tar,
            "too-large",
            &config_map(namespace, "too-large", &"x".repeat(4 << 20)),
        )?;
        object(tar, "no-json", "{\"apiVersion\":")?;
        object(tar, "another", &config_map(namespace, "not-another", ""))?;
        object(tar, "no-kind", "{\"metadata\":{\"name\":\"no-kind\"}}")?;
        object(
            tar,
            "odd",
            &config_map(namespace, "odd", "")
                .replace("\"data\":{", "\"data\":[1,{")
                .replace("}}", "}]}"),
        )?;
        let unknown = "resources/ghosts.none.example/cluster/g.json";
        entry(
            tar,
            unknown,
            EntryType::Regular,
            b"{\"apiVersion\":\"none.example/v1\",\"kind\":\"Ghost\",\"metadata\":{\"name\":\"g\"}}",
        )
    })?;
    run(async {
        let location = store_with("b", &packed, json!({})).await?;
        let report = scene.restore(&location, "b", "r", RestoreSpec::default()).await?;
        let status = report.restore.status.unwrap_or_default();
        ensure!(
            status.phase == RestorePhase::PartiallyFailed && status.errors == 6 && status.warnings == 0,
            "{status:?} {:?}",
            report.results
        );
        let errors = &report.results.errors.namespaces[namespace];
        for name in ["too-large", "no-json", "another", "no-kind", "odd"] {
            ensure!(
                errors
                    .iter()
                    .any(|error| error.contains(&format!("{namespace}/{name}"))),
                "{name}: {errors:#?}"
            );
        }
        let errors = &report.results.errors.cluster;
        ensure!(
            errors.len() == 1 && errors[0].contains("ghosts.none.example/g"),
            "{errors:?}"
        );
        let api = scene.kind("v1", "ConfigMap").await?;
        let made = scene.list(&api, namespace).await?;
        let made: Vec<_> = made
            .iter()
            .map(|target| &*target.name.name)
            .filter(|name| *name != "kube-root-ca.crt")
            .collect();
        ensure!(made == ["one", "three", "two"], "{made:?}");
        Ok(())
    })
}

//! Container images made of plain files: there is no registry to pull any from.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::packages;
use crate::process;
use crate::s3::hex;

/// The shell image that every node has.
pub const BUSYBOX: &str = "docker.io/library/busybox:1";

/// What an image is made of. All files end up in one layer.
#[derive(Debug, Clone, Default)]
pub struct Image {
    entries: Vec<Entry>,
    config: serde_json::Map<String, Value>,
}

#[derive(Debug, Clone)]
enum Entry {
    Directory { path: String, mode: u32 },
    Bytes { path: String, mode: u32, bytes: Vec<u8> },
    Copy { path: String, mode: u32, from: PathBuf },
    Link { path: String, target: String },
    Tree { from: PathBuf },
}

impl Image {
    /// An image without a file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Debian's static busybox with every applet as a link, and the few files that programs expect.
    pub fn busybox() -> Result<Self> {
        let busybox = packages::find("busybox").context("busybox is not installed")?;
        let mut image = Self::new()
            .copy("bin/busybox", 0o755, &busybox)
            .directory("tmp", 0o1777)
            .directory("root", 0o700)
            .file(
                "etc/passwd",
                0o644,
                "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
            )
            .file("etc/group", 0o644, "root:x:0:\nnogroup:x:65534:\n")
            .command(&["sh"]);
        for applet in process::run(&busybox, ["--list"])?
            .lines()
            .filter(|applet| *applet != "busybox")
        {
            image = image.link(&format!("bin/{applet}"), "/bin/busybox");
        }
        Ok(image)
    }

    /// Adds a directory. Paths are without a leading slash.
    #[must_use]
    pub fn directory(mut self, path: &str, mode: u32) -> Self {
        self.entries.push(Entry::Directory {
            path: path.to_owned(),
            mode,
        });
        self
    }

    /// Adds a file with these contents.
    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, contents: impl Into<Vec<u8>>) -> Self {
        self.entries.push(Entry::Bytes {
            path: path.to_owned(),
            mode,
            bytes: contents.into(),
        });
        self
    }

    /// Adds a copy of a file of this machine, read when the image is written.
    #[must_use]
    pub fn copy(mut self, path: &str, mode: u32, from: &Path) -> Self {
        self.entries.push(Entry::Copy {
            path: path.to_owned(),
            mode,
            from: from.to_owned(),
        });
        self
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.entries.push(Entry::Link {
            path: path.to_owned(),
            target: target.to_owned(),
        });
        self
    }

    /// Adds everything in a folder of this machine, with its owners and modes: a whole root file system.
    #[must_use]
    pub fn tree(mut self, from: &Path) -> Self {
        self.entries.push(Entry::Tree {
            from: from.to_owned(),
        });
        self
    }

    /// The program that always runs, with its first arguments.
    #[must_use]
    pub fn entrypoint(self, words: &[&str]) -> Self {
        self.set("Entrypoint", json!(words))
    }

    /// What runs if a pod says nothing else.
    #[must_use]
    pub fn command(self, words: &[&str]) -> Self {
        self.set("Cmd", json!(words))
    }

    /// The user, as `UID` or `UID:GID`.
    #[must_use]
    pub fn user(self, user: &str) -> Self {
        self.set("User", json!(user))
    }

    fn set(mut self, key: &str, value: Value) -> Self {
        self.config.insert(key.to_owned(), value);
        self
    }

    /// Writes the image as an OCI archive that `ctr images import` knows as `name`. Needs room for two copies of
    /// the files beside `archive`.
    pub fn write_archive(&self, name: &str, archive: &Path) -> Result<()> {
        let layer_path = archive.with_extension("layer");
        let written = self
            .write_layer(&layer_path)
            .and_then(|()| self.write_index(name, archive, &layer_path));
        let removed = fs::remove_file(&layer_path);
        written.with_context(|| format!("writing the image {name}"))?;
        removed.with_context(|| format!("removing {}", layer_path.display()))
    }

    fn write_layer(&self, path: &Path) -> Result<()> {
        let mut tar = Builder::new(io::BufWriter::new(File::create(path)?));
        tar.follow_symlinks(false);
        for entry in &self.entries {
            match entry {
                Entry::Directory { path, mode } => {
                    append(&mut tar, EntryType::Directory, &format!("{path}/"), *mode, b"")?;
                }
                Entry::Bytes { path, mode, bytes } => {
                    append(&mut tar, EntryType::Regular, path, *mode, bytes)?;
                }
                Entry::Copy { path, mode, from } => {
                    let bytes = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
                    append(&mut tar, EntryType::Regular, path, *mode, &bytes)?;
                }
                Entry::Link { path, target } => {
                    let mut header = header(EntryType::Symlink, 0o777, 0);
                    tar.append_link(&mut header, path, target)?;
                }
                Entry::Tree { from } => {
                    tar.append_dir_all("", from)
                        .with_context(|| format!("packing {}", from.display()))?;
                }
            }
        }
        tar.into_inner()?.flush()?;
        Ok(())
    }

    fn write_index(&self, name: &str, archive: &Path, layer_path: &Path) -> Result<()> {
        let (layer_digest, layer_size) = digest_of(File::open(layer_path)?)?;
        let config = serde_json::to_vec(&json!({
            "architecture": architecture(), "os": "linux", "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
        }))?;
        let (config_digest, _) = digest_of(config.as_slice())?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config_digest, "size": config.len()},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": layer_digest, "size": layer_size}],
        }))?;
        let (manifest_digest, _) = digest_of(manifest.as_slice())?;
        let index = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": manifest_digest, "size": manifest.len(),
                "annotations": {"io.containerd.image.name": name}}],
        }))?;

        let mut tar = Builder::new(io::BufWriter::new(File::create(archive)?));
        let blob = |digest: &str| format!("blobs/{}", digest.replace(':', "/"));
        append(
            &mut tar,
            EntryType::Regular,
            "oci-layout",
            0o644,
            br#"{"imageLayoutVersion":"1.0.0"}"#,
        )?;
        append(&mut tar, EntryType::Regular, "index.json", 0o644, &index)?;
        append(
            &mut tar,
            EntryType::Regular,
            &blob(&manifest_digest),
            0o644,
            &manifest,
        )?;
        append(
            &mut tar,
            EntryType::Regular,
            &blob(&config_digest),
            0o644,
            &config,
        )?;
        let mut header = header(EntryType::Regular, 0o644, layer_size);
        tar.append_data(&mut header, blob(&layer_digest), File::open(layer_path)?)?;
        tar.into_inner()?.flush()?;
        Ok(())
    }
}

fn append(tar: &mut Builder<impl Write>, kind: EntryType, path: &str, mode: u32, bytes: &[u8]) -> Result<()> {
    let mut header = header(kind, mode, bytes.len() as u64);
    tar.append_data(&mut header, path, bytes)
        .with_context(|| format!("packing {path}"))
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header
}

fn digest_of(mut source: impl Read) -> Result<(String, u64)> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            return Ok((format!("sha256:{}", hex(&hash.finalize())), size));
        }
        hash.update(&buffer[..count]);
        size += count as u64;
    }
}

/// Go's name of this machine's architecture, which images use.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

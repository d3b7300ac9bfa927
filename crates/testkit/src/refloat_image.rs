//! The images of an installation: the program under test, and one that stands for the image of a Velero plugin.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::image::Image;
use crate::process;
use crate::testbed::{self, Part};

/// An image with nothing but `program` as `/refloat` and `/velero`, and the shared libraries that it needs:
/// no shell, no certificates, and a user without rights.
pub fn refloat(program: &Path) -> Result<Image> {
    let mut image = Image::new()
        .copy("refloat", 0o755, program)
        .link("velero", "/refloat")
        .directory("tmp", 0o1777)
        .user("65532:65532")
        .entrypoint(&["/velero"]);
    for library in libraries(program)? {
        let inside = library.to_string_lossy();
        image = image.copy(inside.trim_start_matches('/'), 0o755, &library);
    }
    Ok(image)
}

/// An image that does what those of Velero's plugins do: it is an init container that puts the plugin, here the
/// real one for S3, into the folder where the server looks for plugins.
pub fn plugin() -> Result<Image> {
    let program = testbed::build(&Part::VeleroPluginAws)?;
    Ok(Image::busybox()?
        .copy("plugins/velero-plugin-for-aws", 0o755, &program)
        .entrypoint(&["/bin/sh", "-c", "cp /plugins/velero-plugin-for-aws /target/."])
        .user("65532:65532"))
}

/// The files that the dynamic loader takes for a program, itself among them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let said = process::run("ldd", [program]).with_context(|| format!("looking at {}", program.display()))?;
    let paths = said
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    let found: Vec<_> = paths.map(PathBuf::from).collect();
    ensure!(!said.contains("not found"), "a library is missing: {said}");
    Ok(found)
}

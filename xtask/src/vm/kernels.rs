//! Kernels to boot, unpacked below `target/vm`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::pool;

/// A kernel to boot.
#[derive(Debug)]
pub(super) struct Kernel {
    /// The bzImage.
    pub(super) image: PathBuf,
    /// Where its modules are, if they are known.
    pub(super) modules: Option<PathBuf>,
    /// Its release, as (major, minor); the highest if its file does not say.
    pub(super) release: (u32, u32),
}

/// The kernel of a version (`6.1`, or `newest`), from the cache if it is there, or the image at a
/// path.
///
/// # Errors
/// No package has that version.
pub(super) fn get(version: &str, cache: &Path) -> Result<Kernel> {
    if version.contains('/') {
        return Ok(Kernel {
            image: version.into(),
            modules: None,
            release: release(version),
        });
    }
    let dir = cache.join(format!("linux-{version}.d"));
    if unpacked(&dir).is_err() {
        pool::fetch(version, cache, &dir)?;
    }
    unpacked(&dir)
}

fn unpacked(dir: &Path) -> Result<Kernel> {
    let modules = ["lib/modules", "usr/lib/modules"]
        .iter()
        .find_map(|modules| only_child(&dir.join(modules), "").ok())
        .with_context(|| format!("no modules below {}", dir.display()))?;
    let image =
        only_child(&dir.join("boot"), "vmlinuz-").or_else(|_| only_child(&modules, "vmlinuz"))?;
    Ok(Kernel {
        image,
        release: release(&modules.to_string_lossy()),
        modules: Some(modules),
    })
}

fn only_child(dir: &Path, prefix: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            return Ok(entry.path());
        }
    }
    bail!("nothing in {} begins with `{prefix}`", dir.display())
}

/// Major and minor number in the last part of a path (`vmlinuz-6.1.0-56-cloud-amd64`).
fn release(path: &str) -> (u32, u32) {
    let file = path.rsplit('/').next().unwrap_or_default();
    let mut numbers = file
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => (major, minor),
        _ => (u32::MAX, u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_read_from_a_path() {
        assert_eq!(release("/x86_64/boot/vmlinuz-6.1.0-56-cloud-amd64"), (6, 1));
        assert_eq!(release("/usr/lib/modules/7.2.13+deb14-cloud-amd64"), (7, 2));
        assert_eq!(release("/src/linux/bzImage"), (u32::MAX, u32::MAX));
    }
}

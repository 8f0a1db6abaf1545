//! Debian's kernel packages, unpacked below `target/vm`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    apt,
    exec::{output, say},
};

/// A kernel to boot.
#[derive(Debug)]
pub(super) struct Kernel {
    /// The bzImage.
    pub(super) image: PathBuf,
    /// Where its modules are, if they are known.
    pub(super) modules: Option<PathBuf>,
}

/// The kernel of a version (`6.1`), from the cache if it is there, or the image at a path.
///
/// # Errors
/// No package has that version.
pub(super) fn get(version: &str, cache: &Path) -> Result<Kernel> {
    if version.contains('/') {
        return Ok(Kernel {
            image: version.into(),
            modules: None,
        });
    }
    let dir = cache.join(format!("linux-{version}.d"));
    if unpacked(&dir).is_err() {
        fetch(version, &dir)?;
    }
    unpacked(&dir)
}

fn unpacked(dir: &Path) -> Result<Kernel> {
    let image = only_child(&dir.join("boot"), "vmlinuz-")?;
    let modules = ["lib/modules", "usr/lib/modules"]
        .iter()
        .find_map(|modules| only_child(&dir.join(modules), "").ok());
    Ok(Kernel { image, modules })
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

fn fetch(version: &str, dir: &Path) -> Result<()> {
    let names = output(Command::new("apt-cache").args(["pkgnames", "linux-image-"]))
        .context("there is no apt-cache here: give the path of a kernel image instead")?;
    let package = newest(&names, version).with_context(|| {
        format!(
            "no package linux-image-{version}.*-cloud-amd64-unsigned: add the Debian suite that \
             has it to /etc/apt and run `apt-get update`, or give the path of a kernel image"
        )
    })?;
    say(&format!("downloading {package} (25 to 35 MB)"));
    // Not its dependencies: an image boots alone.
    apt::unpack_alone(&[package], dir)
}

/// The newest package of a version. The cloud flavour: the same BPF options, half the size.
fn newest<'a>(names: &'a str, version: &str) -> Option<&'a str> {
    names
        .lines()
        .filter(|name| {
            name.strip_prefix("linux-image-")
                .and_then(|rest| rest.strip_prefix(version))
                .is_some_and(|rest| rest.starts_with(['.', '-', '+']))
                && name.ends_with("-cloud-amd64-unsigned")
        })
        .max_by_key(|name| numbers(name))
}

fn numbers(name: &str) -> Vec<u32> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_the_version_is_taken() {
        let names = "linux-image-6.1.0-9-cloud-amd64-unsigned\n\
                     linux-image-6.1.0-56-cloud-amd64-unsigned\n\
                     linux-image-6.1.0-57-amd64-unsigned\n\
                     linux-image-6.12.117+deb12-cloud-amd64-unsigned\n\
                     linux-image-6.12.99+deb12-cloud-amd64-unsigned\n\
                     linux-image-6.12.200+deb12-cloud-amd64\n";
        assert_eq!(
            newest(names, "6.1"),
            Some("linux-image-6.1.0-56-cloud-amd64-unsigned")
        );
        assert_eq!(
            newest(names, "6.12"),
            Some("linux-image-6.12.117+deb12-cloud-amd64-unsigned")
        );
        assert_eq!(newest(names, "5.10"), None);
    }
}

//! Debian's archive, read by apt in a directory of its own: kernels of other releases, without a
//! change to this machine's /etc/apt. apt checks the signatures and knows the exact version.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    apt,
    exec::{exec, find, output, say},
};

const ARCHIVE: &str = "http://deb.debian.org";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// How many releases of one kernel are tried: the index may be ahead of a mirror, or behind one
/// that has dropped a package.
const TRIES: usize = 6;

/// Where Debian keeps a kernel: the releases whose main line it is.
fn suites(version: &str) -> &'static [&'static str] {
    match version {
        "5.10" => &["bullseye"],
        "6.1" => &["bookworm"],
        "6.12" => &["trixie"],
        "newest" => &["sid"],
        _ => &["bullseye", "bookworm", "trixie", "sid"],
    }
}

/// apt's view of some suites.
struct Pool {
    config: PathBuf,
}

impl Pool {
    fn open(version: &str, cache: &Path) -> Result<Self> {
        if find("apt-get").is_none() || find("dpkg-deb").is_none() {
            bail!("there is no apt-get or dpkg-deb here: give the path of a kernel image instead");
        }
        if !Path::new(KEYRING).exists() {
            bail!("{KEYRING} is missing: apt-get install debian-archive-keyring");
        }
        let root = cache.join(format!("apt-{version}"));
        for dir in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(root.join(dir))?;
        }
        let mut sources = String::new();
        for suite in suites(version) {
            let mut line = |archive: &str, suite: &str| {
                sources += &format!(
                    "deb [arch=amd64 signed-by={KEYRING}] {ARCHIVE}/{archive} {suite} main\n"
                );
            };
            line("debian", suite);
            if *suite != "sid" {
                line("debian-security", &format!("{suite}-security"));
            }
        }
        fs::write(root.join("sources.list"), sources)?;
        fs::write(root.join("status"), "")?;
        let config = root.join("apt.conf");
        let dir = root.display();
        fs::write(
            &config,
            format!(
                "Dir::Etc::sourcelist \"{dir}/sources.list\";\n\
                 Dir::Etc::sourceparts \"/dev/null\";\n\
                 Dir::State::lists \"{dir}/lists\";\n\
                 Dir::State::status \"{dir}/status\";\n\
                 Dir::Cache \"{dir}/cache\";\n\
                 APT::Sandbox::User \"root\";\n\
                 Acquire::Languages \"none\";\n\
                 Acquire::Retries \"3\";\n\
                 Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n"
            ),
        )?;
        let pool = Self { config };
        say(&format!(
            "reading Debian's index for kernel {version} ({ARCHIVE})"
        ));
        exec(
            Command::new("apt-get")
                .args(["update", "--quiet", "--quiet"])
                .env("APT_CONFIG", &pool.config),
        )
        .with_context(|| {
            format!("cannot read the index of {ARCHIVE}: check the network, or give the path of a kernel image")
        })?;
        Ok(pool)
    }

    fn names(&self) -> Result<String> {
        output(
            Command::new("apt-cache")
                .args(["pkgnames", "linux-"])
                .env("APT_CONFIG", &self.config),
        )
        .context("apt-cache cannot list packages")
    }
}

/// Unpacks the newest release of a kernel into a directory.
///
/// # Errors
/// No network, no such kernel, or none of its newest releases can be had.
pub(super) fn fetch(version: &str, cache: &Path, into: &Path) -> Result<()> {
    let pool = Pool::open(version, cache)?;
    let found = candidates(&pool.names()?, version);
    if found.is_empty() {
        bail!(
            "Debian has no kernel {version} for amd64 in {}: give the path of a kernel image instead",
            suites(version).join(", ")
        );
    }
    let mut refused = Vec::new();
    for packages in found.iter().take(TRIES) {
        let names: Vec<&str> = packages.iter().map(String::as_str).collect();
        say(&format!("downloading {} (20 to 40 MB)", names.join(" ")));
        match apt::unpack_alone(&names, into, Some(&pool.config)) {
            Ok(()) => return Ok(()),
            Err(error) => refused.push(format!("{error:#}")),
        }
    }
    bail!("no kernel {version} can be had: {}", refused.join("; "))
}

/// Sets of packages that make a kernel of a version (`6.1`, or `newest`), the newest first. The
/// cloud flavour: the same BPF options, half the size.
fn candidates(names: &str, version: &str) -> Vec<Vec<String>> {
    let mut found: Vec<(Vec<u32>, u8, Vec<String>)> = Vec::new();
    for name in names.lines() {
        let split = name.strip_prefix("linux-").and_then(|rest| {
            let (kind, rest) = rest.split_once('-')?;
            let (release, suffix) = rest.split_once("-cloud-amd64")?;
            Some((kind, release, suffix))
        });
        let Some((kind, release, suffix)) = split else {
            continue;
        };
        let wanted = match release.strip_prefix(version) {
            Some(rest) => rest.starts_with(['.', '-', '+']),
            None => version == "newest" && release.starts_with(|c: char| c.is_ascii_digit()),
        };
        // A release of another suite's kernel (`6.1.0-0.deb11.52`) is not what that suite runs.
        if !wanted || release.contains("deb11") || numbers(release).len() < 3 {
            continue;
        }
        let (rank, packages) = match (kind, suffix) {
            // Since Linux 7 of Debian, `linux-image` is an empty package that needs these.
            ("binary", "") => (
                2,
                vec![
                    name.to_owned(),
                    format!("linux-modules-{release}-cloud-amd64"),
                ],
            ),
            ("image", "-unsigned") => (1, vec![name.to_owned()]),
            ("image", "") => (0, vec![name.to_owned()]),
            _ => continue,
        };
        found.push((numbers(release), rank, packages));
    }
    found.sort_by(|a, b| b.cmp(a));
    let mut sets: Vec<Vec<String>> = Vec::new();
    for (release, rank, packages) in &found {
        let split = found
            .iter()
            .any(|other| other.0 == *release && other.1 == 2);
        if *rank == 2 || !split {
            sets.push(packages.clone());
        }
    }
    sets
}

fn numbers(release: &str) -> Vec<u32> {
    release
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &str = "linux-image-6.1.0-9-cloud-amd64-unsigned\n\
                         linux-image-6.1.0-56-cloud-amd64-unsigned\n\
                         linux-image-6.1.0-56-cloud-amd64\n\
                         linux-image-6.1.0-57-amd64-unsigned\n\
                         linux-image-6.1-cloud-amd64\n\
                         linux-image-6.1.0-0.deb11.52-cloud-amd64\n\
                         linux-image-6.12.99+deb13-cloud-amd64-unsigned\n\
                         linux-image-cloud-amd64\n\
                         linux-headers-7.2.13+deb14-cloud-amd64\n\
                         linux-image-7.2.13+deb14-cloud-amd64-dbg\n\
                         linux-image-7.2.13+deb14-cloud-amd64\n\
                         linux-binary-7.2.13+deb14-cloud-amd64\n";

    #[test]
    fn the_newest_release_comes_first() {
        assert_eq!(
            candidates(NAMES, "6.1"),
            [
                ["linux-image-6.1.0-56-cloud-amd64-unsigned"],
                ["linux-image-6.1.0-56-cloud-amd64"],
                ["linux-image-6.1.0-9-cloud-amd64-unsigned"],
            ]
        );
        assert_eq!(
            candidates(NAMES, "6.12"),
            [["linux-image-6.12.99+deb13-cloud-amd64-unsigned"]]
        );
        assert!(candidates(NAMES, "5.10").is_empty());
    }

    #[test]
    fn the_newest_kernel_is_what_its_packages_are_made_of() {
        assert_eq!(
            candidates(NAMES, "newest")[0],
            [
                "linux-binary-7.2.13+deb14-cloud-amd64",
                "linux-modules-7.2.13+deb14-cloud-amd64"
            ]
        );
        assert_eq!(candidates(NAMES, "newest")[1].len(), 1, "6.12 is next");
    }
}

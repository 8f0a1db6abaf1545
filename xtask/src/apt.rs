//! Debian packages.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::exec::{as_root, exec, find, output, say};

/// A program that is needed, and where Debian keeps it.
pub(crate) struct Tool {
    /// The program that must be on the search path.
    pub(crate) program: &'static str,
    /// The packages that have it.
    pub(crate) packages: &'static [&'static str],
    /// What it is for.
    pub(crate) why: &'static str,
}

/// Installs the packages of the tools that are missing.
///
/// # Errors
/// A tool that is missing and cannot be installed.
pub(crate) fn ensure(tools: &[Tool]) -> Result<()> {
    let missing: Vec<&Tool> = tools
        .iter()
        .filter(|tool| find(tool.program).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    for tool in &missing {
        say(&format!("`{}` is missing: {}", tool.program, tool.why));
    }
    let packages: Vec<&str> = missing
        .iter()
        .flat_map(|tool| tool.packages)
        .copied()
        .collect();
    install(&packages)?;
    match missing.iter().find(|tool| find(tool.program).is_none()) {
        None => Ok(()),
        Some(tool) => bail!(
            "{} is installed but `{}` is not on PATH: add its directory to PATH",
            tool.packages.join(" "),
            tool.program
        ),
    }
}

/// Installs packages, with the package lists renewed if they do not know them or are too old.
///
/// # Errors
/// No apt-get, no right to use it, or a package that cannot be had.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    if find("apt-get").is_none() {
        bail!("there is no apt-get here: install with this system's package manager: {names}");
    }
    let mut renewed = false;
    if !packages.iter().all(|package| known(package)) {
        update()?;
        renewed = true;
    }
    say(&format!("installing Debian packages: {names}"));
    let first = exec(&mut apt_get(&install_arguments(packages))?);
    if first.is_ok() {
        return Ok(());
    }
    if !renewed {
        update()?;
        return exec(&mut apt_get(&install_arguments(packages))?)
            .with_context(|| format!("apt-get cannot install {names}; install them by hand"));
    }
    first.with_context(|| format!("apt-get cannot install {names}; install them by hand"))
}

fn install_arguments<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    // `--no-remove`: what the user has stays, even if that means that we fail.
    let mut arguments = vec![
        "install",
        "--yes",
        "--quiet",
        "--no-install-recommends",
        "--no-remove",
    ];
    arguments.extend(packages);
    arguments
}

fn update() -> Result<()> {
    say("renewing the package lists (apt-get update)");
    exec(&mut apt_get(&["update", "--quiet"])?)
        .context("apt-get update failed: check the network and /etc/apt")
}

fn apt_get(arguments: &[&str]) -> Result<Command> {
    // `env`, because sudo drops variables; the timeout waits for another apt-get to end.
    let mut command = as_root("env")?;
    command
        .args([
            "DEBIAN_FRONTEND=noninteractive",
            "apt-get",
            "-oDPkg::Lock::Timeout=300",
        ])
        .args(arguments);
    Ok(command)
}

/// Unpacks packages, and those they need that are not installed, into a directory: a way to use
/// programs without changing the system, and without root.
///
/// # Errors
/// A package that cannot be had.
pub(crate) fn unpack(packages: &[&str], into: &Path) -> Result<()> {
    let names = packages.join(" ");
    if find("apt-get").is_none() || find("dpkg-deb").is_none() {
        bail!("{names}: these come from Debian packages, and there is no apt-get or dpkg-deb here");
    }
    if !packages.iter().all(|package| known(package)) {
        update()?;
    }
    let plan = output(
        Command::new("apt-get")
            .args([
                "install",
                "--dry-run",
                "--no-install-recommends",
                "-oDebug::NoLocking=1",
            ])
            .args(packages),
    )
    .with_context(|| format!("apt-get knows no way to install {names}: try `apt-get update`"))?;
    let wanted = to_install(&plan);
    say(&format!(
        "downloading {names} and what they need ({} packages)",
        wanted.len()
    ));
    unpack_alone(&wanted, into, None)
}

/// As [`unpack`], but without what the packages need; with this machine's configuration of apt or
/// another.
///
/// # Errors
/// A package that cannot be had.
pub(crate) fn unpack_alone(packages: &[&str], into: &Path, config: Option<&Path>) -> Result<()> {
    // Renamed when complete, so that a download that was cut off is not taken for the whole.
    let part = into.with_extension("part");
    let download = part.join("download");
    if part.exists() {
        fs::remove_dir_all(&part)?;
    }
    fs::create_dir_all(&download)?;
    let mut get = Command::new("apt-get");
    get.args(["download", "--quiet"])
        .args(packages)
        .current_dir(&download);
    if let Some(config) = config {
        get.env("APT_CONFIG", config);
    }
    // Without this, root's apt-get downloads as a user who may not write here, and warns.
    exec(get.arg("-oAPT::Sandbox::User=root"))
        .with_context(|| format!("apt-get cannot download {}", packages.join(" ")))?;
    for archive in fs::read_dir(&download)? {
        exec(
            Command::new("dpkg-deb")
                .arg("--extract")
                .arg(archive?.path())
                .arg(&part),
        )?;
    }
    fs::remove_dir_all(&download)?;
    if into.exists() {
        fs::remove_dir_all(into)?;
    }
    fs::rename(&part, into).with_context(|| format!("cannot make {}", into.display()))
}

/// The packages that `apt-get install --dry-run` would install.
fn to_install(plan: &str) -> Vec<&str> {
    plan.lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next())
        .collect()
}

/// Whether the package lists have a version of it that can be installed.
pub(crate) fn known(package: &str) -> bool {
    output(Command::new("apt-cache").args(["policy", package]))
        .is_some_and(|policy| has_candidate(&policy))
}

fn has_candidate(policy: &str) -> bool {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate:"))
        .any(|version| version.trim() != "(none)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_without_a_candidate_is_unknown() {
        assert!(has_candidate(
            "x:\n  Installed: (none)\n  Candidate: 2.10-0.1\n"
        ));
        assert!(!has_candidate(
            "x:\n  Installed: (none)\n  Candidate: (none)\n"
        ));
        assert!(!has_candidate(""));
    }

    #[test]
    fn a_dry_run_names_what_it_would_install() {
        let plan = "Reading..\nRemv old [1]\nInst a (1 Debian)\nInst b [0] (1)\nConf a (1)\n";
        assert_eq!(to_install(plan), ["a", "b"]);
    }
}

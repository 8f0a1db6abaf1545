//! Running other programs, and looking for them.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::AsFd as _,
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// Tells the user what is being done. stderr, because stdout belongs to the program that runs.
pub(crate) fn say(text: &str) {
    eprintln!("xtask: {text}");
}

/// The directory of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// The cargo that runs this task, in the workspace.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace()).env("PATH", search_path(&[]));
    cargo
}

/// `PATH` with `first` in front, and with the places where cargo and Debian put tools at its end:
/// an ordinary user's PATH often lacks them.
pub(crate) fn search_path(first: &[PathBuf]) -> OsString {
    let mut dirs = vec![own_tools().join("bin")];
    dirs.splice(0..0, first.iter().cloned());
    dirs.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    for dir in [cargo_home().join("bin"), "/usr/sbin".into(), "/sbin".into()] {
        if !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    // Only a directory with a colon in its name can fail to join.
    env::join_paths(dirs).unwrap_or_else(|_| env::var_os("PATH").unwrap_or_default())
}

/// Tools that are installed for this workspace alone.
pub(crate) fn own_tools() -> PathBuf {
    workspace().join("target/tools")
}

fn cargo_home() -> PathBuf {
    env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cargo"),
        PathBuf::from,
    )
}

/// Where a program is, if it is anywhere on the search path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&search_path(&[]))
        .map(|dir| dir.join(program))
        .find(|path| {
            path.metadata()
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    Path::new("/proc/self")
        .metadata()
        .is_ok_and(|meta| meta.uid() == 0)
}

/// A command that runs as root: itself if we are root, else through sudo.
///
/// # Errors
/// No sudo where one is needed.
pub(crate) fn as_root(program: impl AsRef<OsStr>) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    let Some(sudo) = find("sudo") else {
        bail!(
            "{} must run as root and there is no sudo: run this command as root",
            program.as_ref().display()
        );
    };
    let mut command = Command::new(sudo);
    command.arg(program);
    Ok(command)
}

/// Runs a command with its output on stderr; an unsuccessful end is an error that shows the command.
pub(crate) fn exec(command: &mut Command) -> Result<()> {
    let status = command
        .stdout(stderr()?)
        .status()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}

/// As [`exec`], but ends the command when it takes longer than `limit`.
pub(crate) fn exec_within(command: &mut Command, limit: Duration) -> Result<()> {
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(stderr()?)
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    loop {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                bail!("{command:?}: {status}");
            }
            return Ok(());
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("{command:?} did not end within {} s", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// What a command prints on stdout, or `None` if it cannot be started or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn stderr() -> Result<Stdio> {
    Ok(io::stderr()
        .as_fd()
        .try_clone_to_owned()
        .context("cannot duplicate stderr")?
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exec_reports_the_command_that_fails() {
        let error = exec(&mut Command::new("false")).unwrap_err();
        assert!(error.to_string().contains("false"), "{error}");
    }

    #[test]
    fn exec_within_ends_a_command_that_hangs() {
        let error = exec_within(Command::new("sleep").arg("60"), Duration::from_millis(100));
        assert!(error.unwrap_err().to_string().contains("did not end"));
    }

    #[test]
    fn find_wants_an_executable_file() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-here").is_none());
    }
}

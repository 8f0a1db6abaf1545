//! `cargo xtask run -- ARGS`: the program with root's rights.

use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt as _,
    process::{ExitCode, ExitStatus},
};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{build, exec::as_root};

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Arguments of netstat-bpf
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Builds and runs; the program's status becomes ours.
///
/// # Errors
/// It cannot be built or started.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let program = build::run(&build::Options::default())?;
    let status = as_root(&program)?
        .args(&options.arguments)
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    Ok(ExitCode::from(shell_status(status)))
}

/// The status as a shell gives it: 128 and the signal for a program that a signal ended.
fn shell_status(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_passed_on() {
        assert_eq!(shell_status(ExitStatus::from_raw(0)), 0);
        assert_eq!(shell_status(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(shell_status(ExitStatus::from_raw(9)), 137);
    }
}

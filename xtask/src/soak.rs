//! `cargo xtask soak`: a long random life of a private network namespace, compared with netstat.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    build,
    exec::{as_root, cargo, exec, say},
    setup,
};

/// How long, and from which seed.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long to go on
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// Repeats the steps of an earlier run, which printed it
    #[arg(long)]
    seed: Option<u64>,
}

/// Builds and runs; fails on any difference from netstat.
///
/// # Errors
/// It cannot be built or started.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let toolchain = setup::run(&setup::Options { tests: true })?;
    let program = build::build(&toolchain, &build::Options::default())?;
    let target = program.parent().and_then(|profile| profile.parent());
    let target = target.context("the program stands in no target directory")?;
    say("building the workload");
    let mut cargo = cargo();
    cargo
        .args(["build", "--release", "--package", "netstat-tests", "--bins"])
        .arg("--target-dir")
        .arg(target);
    toolchain.apply(&mut cargo);
    exec(&mut cargo).context("the workload does not compile")?;
    // sudo clears the environment: what the workload is to find stands on the command line.
    let mut command = as_root("env")?;
    command
        .arg(format!("NETSTAT_BPF={}", program.display()))
        .arg(program.with_file_name("soak"))
        .arg(options.minutes.to_string());
    if let Some(seed) = options.seed {
        command.arg(seed.to_string());
    }
    let status = command.status().context("cannot start the workload")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

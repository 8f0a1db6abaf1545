//! `cargo xtask build`: the program, with its BPF programs inside.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    exec::{cargo, exec, say, workspace},
    setup,
    toolchain::BpfToolchain,
};

/// How to build.
#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Build target/debug/netstat-bpf, without optimisation of the user side
    #[arg(long)]
    pub(crate) debug: bool,
}

/// Sets up, builds, and returns the program's path.
///
/// # Errors
/// What set-up or cargo meet.
pub(crate) fn run(options: &Options) -> Result<PathBuf> {
    let toolchain = setup::run(&setup::Options::default())?;
    build(&toolchain, options)
}

/// Builds with a toolchain that is set up already.
///
/// # Errors
/// What cargo meets.
pub(crate) fn build(toolchain: &BpfToolchain, options: &Options) -> Result<PathBuf> {
    let profile = if options.debug { "debug" } else { "release" };
    say(&format!("building netstat-bpf ({profile})"));
    let mut cargo = cargo();
    // Fixed here, because run and test must find the program whatever CARGO_TARGET_DIR says.
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), |dir| workspace().join(dir));
    cargo
        .args(["build", "--package", "netstat-user"])
        .arg("--target-dir")
        .arg(&target);
    if !options.debug {
        cargo.arg("--release");
    }
    toolchain.apply(&mut cargo);
    exec(&mut cargo).context("the build failed; `cargo xtask setup` checks the tools")?;
    Ok(target.join(profile).join("netstat-bpf"))
}

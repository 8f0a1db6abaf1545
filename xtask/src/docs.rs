//! `cargo xtask docs`: the man pages and completions, from the description that the program parses by.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    exec::{cargo, exec, say, workspace},
    setup,
    toolchain::BpfToolchain,
};

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The directory below which man/ and completions/ are written
    #[arg(long, default_value = DIRECTORY, value_name = "DIR")]
    out: PathBuf,
}

/// Where they are written by default.
pub(crate) const DIRECTORY: &str = "target/dist";

/// Sets up, builds the generator, and runs it.
///
/// # Errors
/// What set-up, cargo or the generator meet.
pub(crate) fn run(options: &Options) -> Result<()> {
    let toolchain = setup::run(&setup::Options::default())?;
    write(&toolchain, &options.out)
}

/// Builds the generator and runs it, where set-up has run; `out` is below the workspace.
///
/// # Errors
/// What cargo or the generator meet.
pub(crate) fn write(toolchain: &BpfToolchain, out: &Path) -> Result<()> {
    let directory = workspace().join(out);
    let mut cargo = cargo();
    toolchain.apply(&mut cargo);
    cargo
        .args(["run", "--quiet", "--release", "--package", "netstat-manual"])
        .arg("--")
        .arg(&directory);
    exec(&mut cargo).context("the man pages and completions cannot be made")?;
    say(&format!(
        "man/ and completions/ are in {}",
        directory.display()
    ));
    Ok(())
}

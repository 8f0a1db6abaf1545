//! `cargo xtask docs`: the man pages and completions, from the description that the program parses by.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    exec::{cargo, exec, say, workspace},
    setup,
};

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The directory below which man/ and completions/ are written
    #[arg(long, default_value = DIRECTORY, value_name = "DIR")]
    out: PathBuf,
}

/// Where they are written by default.
const DIRECTORY: &str = "target/dist";

impl Default for Options {
    fn default() -> Self {
        Self {
            out: DIRECTORY.into(),
        }
    }
}

/// Sets up, builds the generator, and runs it.
///
/// # Errors
/// What set-up, cargo or the generator meet.
pub(crate) fn run(options: &Options) -> Result<()> {
    let toolchain = setup::run(&setup::Options::default())?;
    let directory = workspace().join(&options.out);
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

//! Writes the man pages and completions below the directory that is the only argument.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

fn main() -> Result<()> {
    let directory = std::env::args_os().nth(1);
    let directory = directory.context("usage: netstat-manual DIRECTORY")?;
    for path in netstat_manual::write(&PathBuf::from(directory))? {
        println!("{}", path.display());
    }
    Ok(())
}

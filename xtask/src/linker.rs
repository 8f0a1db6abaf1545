//! bpf-linker: turns the compiler's LLVM bitcode into the BPF object.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{
    exec::{cargo, exec, find, output, own_tools, say, search_path},
    toolchain::BpfToolchain,
};

/// 0.10.3 reads LLVM up to 22, which is what the BPF compilers have.
const VERSION: &str = "0.10.3";

/// Installs bpf-linker unless the right version is there.
///
/// # Errors
/// It cannot be built.
pub(crate) fn ensure(toolchain: &BpfToolchain) -> Result<()> {
    let found = installed();
    if found.as_deref() == Some(VERSION) {
        return Ok(());
    }
    let beside = found.is_some();
    match found {
        Some(other) => say(&format!(
            "bpf-linker is {other}, and {VERSION} is needed: building it for this workspace alone"
        )),
        None => say(&format!(
            "bpf-linker is missing: it links the BPF programs; building {VERSION}"
        )),
    }
    say("this takes one to five minutes");
    if let Err(why) = install(cargo(), beside) {
        say(&format!("{why:#}; trying the BPF toolchain's cargo"));
        install(toolchain.command("cargo"), beside).with_context(|| {
            format!("bpf-linker cannot be built: `cargo install bpf-linker --version {VERSION} --locked`")
        })?;
    }
    match installed() {
        Some(version) if version == VERSION => Ok(()),
        Some(other) => bail!("bpf-linker on PATH is still {other}: take it off PATH"),
        None => bail!("bpf-linker was built but is not on PATH: add cargo's bin directory to PATH"),
    }
}

/// The version of the bpf-linker that a build would use.
fn installed() -> Option<String> {
    let path = find("bpf-linker")?;
    let printed = output(
        Command::new(path)
            .arg("--version")
            .env("PATH", search_path(&[])),
    )?;
    Some(version_of(&printed)?.to_owned())
}

fn install(mut cargo: Command, beside: bool) -> Result<()> {
    cargo.args(["install", "bpf-linker", "--version", VERSION, "--locked"]);
    if beside {
        // The user's own version stays.
        cargo.arg("--root").arg(own_tools());
    }
    exec(&mut cargo)
}

fn version_of(printed: &str) -> Option<&str> {
    printed
        .trim()
        .strip_prefix("bpf-linker ")?
        .split_whitespace()
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_the_second_word() {
        assert_eq!(version_of("bpf-linker 0.10.3\n"), Some("0.10.3"));
        assert_eq!(version_of("bpf-linker 0.9.15 (abc)\n"), Some("0.9.15"));
        assert_eq!(version_of("oops\n"), None);
    }
}

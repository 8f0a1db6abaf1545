//! bpf-linker: turns the compiler's LLVM bitcode into the BPF object.

use std::{
    env::consts::ARCH,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    exec::{cargo, exec, find, output, own_tools, say, search_path},
    toolchain::{BpfToolchain, LLVM},
};

/// Made for LLVM 22, which is what the BPF compilers have.
const VERSION: &str = "0.10.3";

/// Installs bpf-linker unless the right version is there.
///
/// # Errors
/// It cannot be built.
pub(crate) fn ensure(toolchain: &BpfToolchain) -> Result<()> {
    let found = installed();
    if found.as_deref() == Some(VERSION) {
        return wrap(toolchain);
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
        Some(version) if version == VERSION => wrap(toolchain),
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

/// bpf-linker loads the first library on `LD_LIBRARY_PATH` whose name begins with `libLLVM`: on a
/// machine with several it can be a wrong one, and Debian's directory is not on that path at all.
/// So the build links through a script that shows it the compiler's LLVM and nothing else.
fn wrap(toolchain: &BpfToolchain) -> Result<()> {
    let lib = toolchain.sysroot()?.join("lib");
    let places = [lib.join(format!("{ARCH}-linux-gnu")), lib];
    let library = places
        .iter()
        .find_map(|dir| llvm_in(dir))
        .with_context(|| {
            format!(
                "the BPF toolchain has no libLLVM.so.{LLVM} in {}",
                places[1].display()
            )
        })?;
    let linker = find("bpf-linker").context("bpf-linker is not on PATH")?;
    let shown = own_tools().join("llvm");
    let link = shown.join(format!("libLLVM.so.{LLVM}"));
    // Nothing is touched that is right: another build may be linking just now.
    if fs::read_link(&link).ok().as_ref() != Some(&library) {
        fs::create_dir_all(&shown)?;
        let _ = fs::remove_file(&link);
        symlink(&library, &link)?;
    }
    let script = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH='{}' exec '{}' \"$@\"\n",
        shown.display(),
        linker.display()
    );
    if fs::read_to_string(wrapper()).is_ok_and(|written| written == script) {
        return Ok(());
    }
    fs::create_dir_all(own_tools().join("wrapper"))?;
    fs::write(wrapper(), script).context("cannot write the linker's script")?;
    fs::set_permissions(wrapper(), fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Its name must begin with `bpf-linker`: rustc tells linkers by their names.
fn wrapper() -> PathBuf {
    own_tools().join("wrapper/bpf-linker")
}

/// Makes a cargo that builds for the BPF target link through the script, once there is one.
pub(crate) fn apply(command: &mut Command) {
    if wrapper().exists() {
        command.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", wrapper());
    }
}

/// The library of the right LLVM in a directory.
fn llvm_in(dir: &Path) -> Option<PathBuf> {
    let start = format!("libLLVM.so.{LLVM}");
    let entries = fs::read_dir(dir).ok()?.filter_map(Result::ok);
    entries.map(|entry| entry.path()).find(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(&start))
    })
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

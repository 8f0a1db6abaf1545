//! Compiles the BPF programs and leaves the object in `OUT_DIR/netstat-ebpf`. Tells the linker where to take
//! the unwinder from.
//!
//! `cargo xtask` sets `NETSTAT_BPF_TOOLCHAIN` to the rustup toolchain that has rust-src. Without it (`cargo
//! install`, plain `cargo build`) what `cargo xtask setup` has found or installed is used.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain, build_ebpf};

const TOOLCHAIN: &str = "NETSTAT_BPF_TOOLCHAIN";
const LINKER: &str = "CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER";
/// The toolchain where nobody names one.
const ANY: &str = "nightly";

fn main() -> Result<()> {
    println!("cargo:rerun-if-env-changed={TOOLCHAIN}");
    println!("cargo:rerun-if-env-changed={LINKER}");
    println!("cargo:rerun-if-changed=../netstat-common/src");
    link_unwinder_in()?;
    let tools = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../target/tools");
    let toolchain = match env::var(TOOLCHAIN) {
        Ok(named) => named,
        Err(_) => left_by_setup(&tools)?.unwrap_or_else(|| ANY.to_owned()),
    };
    // SAFETY: the build script has one thread.
    // `-Z build-std` on a stable compiler (Debian's) needs it; the user side must not see it.
    // bpf-linker optimizes the programs as a whole, whatever the profile says; their code is not to change with
    // what suits the user side.
    unsafe {
        env::set_var("RUSTC_BOOTSTRAP", "1");
        env::set_var("CARGO_PROFILE_RELEASE_LTO", "thin");
    }
    build_ebpf(
        [Package {
            name: "netstat-ebpf",
            root_dir: "../netstat-ebpf",
            ..Package::default()
        }],
        Toolchain::Custom(&toolchain),
    )
    .context("the BPF programs do not compile; `cargo xtask setup` installs the BPF toolchain")
}

/// The linker and the toolchain that `cargo xtask setup` has left a note of. A directory of programs instead of
/// a toolchain's name comes first on the search path: there is no rustup then.
fn left_by_setup(tools: &Path) -> Result<Option<String>> {
    let note = tools.join("toolchain");
    let linker = tools.join("wrapper/bpf-linker");
    if !note.exists() || !linker.exists() {
        return Ok(None);
    }
    println!("cargo:rerun-if-changed={}", note.display());
    let text = fs::read_to_string(&note).with_context(|| format!("read {}", note.display()))?;
    let found = text.trim();
    // SAFETY: the build script has one thread.
    unsafe {
        if env::var_os(LINKER).is_none() {
            env::set_var(LINKER, fs::canonicalize(linker)?);
        }
        if found.starts_with('/') {
            let path = env::var_os("PATH").unwrap_or_default();
            let dirs = [PathBuf::from(found)].into_iter();
            env::set_var(
                "PATH",
                env::join_paths(dirs.chain(env::split_paths(&path)))?,
            );
            return Ok(None);
        }
    }
    Ok(Some(found.to_owned()))
}

/// Links the unwinder in, where the C compiler has it as a static library. As a shared one (`libgcc_s`) it is the only
/// library beside libc, and to find, map and relocate it takes a tenth of each start.
fn link_unwinder_in() -> Result<()> {
    if env::var("CARGO_CFG_TARGET_ENV")? != "gnu" {
        return Ok(());
    }
    let compiler = env::var_os("RUSTC_LINKER").unwrap_or_else(|| "cc".into());
    let has = |library: &str| {
        let asked = Command::new(&compiler)
            .arg(format!("-print-file-name={library}"))
            .output();
        // What it does not have it names without a directory.
        asked.is_ok_and(|answer| answer.stdout.starts_with(b"/"))
    };
    if !["libgcc_eh.a", "libgcc.a"].into_iter().all(has) {
        return Ok(());
    }
    // rustc names the shared library itself, so this is found in its place.
    let dir = PathBuf::from(env::var("OUT_DIR")?).join("unwinder");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("libgcc_s.so"), "GROUP ( -lgcc_eh -lgcc )\n")?;
    println!("cargo:rustc-link-arg-bins=-L{}", dir.display());
    Ok(())
}

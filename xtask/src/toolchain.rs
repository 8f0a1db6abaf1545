//! The compiler of the BPF programs: `core` is built for `bpfel-unknown-none`, so a rustc with its
//! own library sources (rust-src) is needed. Stable from rustup has none by default.

use std::{env, fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result, bail};

use crate::{
    apt,
    exec::{exec, exec_within, find, output, own_tools, say, search_path},
    linker,
};

/// Names the rustup toolchain to use; netstat-user's build script reads it too.
pub(crate) const VARIABLE: &str = "NETSTAT_BPF_TOOLCHAIN";

/// The LLVM that bpf-linker ([`crate::linker`]) is made for. It loads the compiler's own, and it
/// cannot read what a newer compiler writes.
pub(crate) const LLVM: u32 = 22;

/// The nightly that is fetched if there is none: 1.97, LLVM 22.
const NIGHTLY: &str = "nightly-2026-05-20";

/// The name under which Debian's compiler is made known to rustup.
const LINKED: &str = "bpf-debian";

const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// A compiler that can build the BPF programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BpfToolchain {
    /// A toolchain that `rustup run` knows.
    Rustup(String),
    /// The rustc and cargo of a directory, where there is no rustup.
    Plain(PathBuf),
}

impl BpfToolchain {
    /// One of this toolchain's programs.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = match self {
            Self::Rustup(name) => {
                let mut rustup = Command::new("rustup");
                rustup.args(["run", name, program]);
                rustup
            }
            Self::Plain(bin) => Command::new(bin.join(program)),
        };
        self.apply(&mut command);
        command
    }

    /// Makes a cargo that builds netstat-user use this toolchain for the BPF programs.
    pub(crate) fn apply(&self, command: &mut Command) {
        match self {
            Self::Rustup(name) => command.env("PATH", search_path(&[])).env(VARIABLE, name),
            Self::Plain(bin) => command.env("PATH", search_path(std::slice::from_ref(bin))),
        };
        linker::apply(command);
    }

    /// Leaves a note of it for cargo without xtask (`cargo install`): netstat-user's build script reads it.
    ///
    /// # Errors
    /// The note cannot be written.
    pub(crate) fn note(&self) -> Result<()> {
        let text = match self {
            Self::Rustup(name) => format!("{name}\n"),
            Self::Plain(bin) => format!("{}\n", bin.display()),
        };
        let note = own_tools().join("toolchain");
        // Its time tells the build script whether it has changed.
        if fs::read_to_string(&note).is_ok_and(|written| written == text) {
            return Ok(());
        }
        fs::create_dir_all(own_tools())?;
        fs::write(&note, text).with_context(|| format!("write {}", note.display()))
    }

    /// What keeps it from building the BPF programs.
    fn check(&self) -> Result<()> {
        let version = output(self.command("rustc").arg("-vV")).context("it does not run")?;
        let llvm = llvm_major(&version).context("`rustc -vV` names no LLVM version")?;
        if llvm != LLVM {
            bail!("its LLVM is {llvm}, and bpf-linker's is {LLVM}");
        }
        let library = self.sysroot()?.join("lib/rustlib/src/rust/library");
        if !library.join("core/src/lib.rs").exists() {
            bail!("it has no rust-src");
        }
        output(self.command("cargo").arg("--version")).context("it has no cargo")?;
        Ok(())
    }

    /// The directory above its `lib`.
    ///
    /// # Errors
    /// It does not run.
    pub(crate) fn sysroot(&self) -> Result<PathBuf> {
        let sysroot = output(self.command("rustc").args(["--print", "sysroot"]));
        Ok(PathBuf::from(sysroot.context("it has no sysroot")?.trim()))
    }

    fn works(&self) -> bool {
        self.check().is_ok()
    }
}

/// Finds a compiler for the BPF programs, or installs one.
///
/// # Errors
/// None can be had; the error says what to do by hand.
pub(crate) fn ensure() -> Result<BpfToolchain> {
    if find("rustup").is_none() {
        return ensure_plain();
    }
    if let Ok(name) = env::var(VARIABLE) {
        let named = BpfToolchain::Rustup(name.clone());
        match named.check() {
            Ok(()) => return Ok(named),
            Err(why) => say(&format!(
                "{VARIABLE}={name} is of no use: {why:#}; looking further"
            )),
        }
    }
    for name in ["nightly", NIGHTLY, LINKED] {
        let candidate = BpfToolchain::Rustup(name.to_owned());
        if candidate.works() {
            return Ok(candidate);
        }
    }
    say("the BPF programs need a Rust compiler with its library sources (rust-src)");
    fetch_nightly().or_else(|why| {
        say(&format!("{why:#}; taking Debian's compiler instead"));
        link_debian()
    })
}

/// Fetches a dated nightly: the newest could have an LLVM that bpf-linker cannot read, and the
/// user's own `nightly` is left as it is.
fn fetch_nightly() -> Result<BpfToolchain> {
    say(&format!(
        "fetching {NIGHTLY} with rust-src by rustup (about 100 MB, at most 10 minutes)"
    ));
    exec_within(
        Command::new("rustup")
            .args(["toolchain", "install", NIGHTLY])
            .args([
                "--component",
                "rust-src",
                "--profile",
                "minimal",
                "--no-self-update",
            ]),
        Duration::from_secs(600),
    )
    .context("rustup cannot fetch it")?;
    let fetched = BpfToolchain::Rustup(NIGHTLY.to_owned());
    fetched
        .check()
        .with_context(|| format!("{NIGHTLY} is of no use"))?;
    Ok(fetched)
}

fn link_debian() -> Result<BpfToolchain> {
    install_debian()?;
    say(&format!(
        "making Debian's compiler known to rustup as `{LINKED}`"
    ));
    exec(Command::new("rustup").args(["toolchain", "link", LINKED, "/usr"]))
        .context("rustup cannot link /usr")?;
    let linked = BpfToolchain::Rustup(LINKED.to_owned());
    linked.check().map_err(|why| useless(&why))?;
    Ok(linked)
}

/// Without rustup, netstat-user's build script uses the first cargo and rustc on PATH.
fn ensure_plain() -> Result<BpfToolchain> {
    let on_path = find("rustc").and_then(|rustc| Some(rustc.parent()?.to_owned()));
    let candidates = on_path
        .into_iter()
        .chain(["/usr/bin".into()])
        .map(BpfToolchain::Plain);
    if let Some(found) = candidates.into_iter().find(BpfToolchain::works) {
        return Ok(found);
    }
    say("the BPF programs need a Rust compiler with its library sources (rust-src)");
    install_debian()?;
    let debian = BpfToolchain::Plain("/usr/bin".into());
    debian.check().map_err(|why| useless(&why))?;
    Ok(debian)
}

fn install_debian() -> Result<()> {
    if BpfToolchain::Plain("/usr/bin".into()).works() {
        return Ok(());
    }
    apt::install(&DEBIAN_PACKAGES).with_context(|| {
        format!(
            "no compiler for the BPF programs: run `rustup toolchain install {NIGHTLY} --component \
             rust-src` on a machine with internet access, or set {VARIABLE} to a rustup toolchain \
             that has rust-src and LLVM {LLVM}"
        )
    })
}

fn useless(why: &anyhow::Error) -> anyhow::Error {
    anyhow::anyhow!(
        "Debian's compiler in /usr is of no use: {why:#}; set {VARIABLE} to a rustup toolchain \
         that has rust-src and LLVM {LLVM}"
    )
}

/// The LLVM generation in the output of `rustc -vV`.
fn llvm_major(version: &str) -> Option<u32> {
    let llvm = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    llvm.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_version_is_read_from_rustc() {
        assert_eq!(
            llvm_major("rustc 1.96.0\nhost: x\nLLVM version: 22.1.8\n"),
            Some(22)
        );
        assert_eq!(llvm_major("rustc 1.96.0\nhost: x\n"), None);
    }

    #[test]
    fn a_toolchain_that_is_not_there_does_not_work() {
        assert!(!BpfToolchain::Plain("/nonexistent".into()).works());
    }
}

//! `cargo xtask vm`: the program on other kernels, under QEMU.
//!
//! Each kernel boots with an initramfs that holds the program, the reference, the kernel tests and
//! `tests/vm/*.sh`. The guest's init runs the scripts and writes their ends to the serial line.
//! Nothing is installed: QEMU, busybox and the kernels are unpacked below `target/vm`.

mod guest;
mod initramfs;
mod kernels;
mod pool;
mod qemu;
mod script;

use std::{fs, path::Path, process::ExitCode, time::Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    apt, build,
    exec::{say, workspace},
    setup,
    toolchain::BpfToolchain,
};

use self::script::Script;

/// Which kernels, and what to run on them.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Debian kernels (5.10, 6.1, 6.12, newest), or paths of kernel images
    #[arg(default_values = ["5.10", "6.1", "6.12", "newest"])]
    kernels: Vec<String>,
    /// Run only the scripts of tests/vm whose names contain this
    #[arg(long)]
    filter: Option<String>,
    /// Leave out the slow scripts
    #[arg(long)]
    quick: bool,
    /// Seconds that one boot may take beyond what its scripts may
    #[arg(long, default_value_t = 180)]
    timeout: u64,
    /// Show everything that the guests print
    #[arg(long)]
    verbose: bool,
}

/// Boots each kernel and reports the scripts that failed on it, after all have run.
///
/// # Errors
/// Something needed cannot be had or built.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let toolchain = setup::run(&setup::Options { tests: true })?;
    let program = build::build(&toolchain, &build::Options::default())?;
    let failures = run_with(options, &toolchain, &program)?;
    for failure in &failures {
        say(&format!("FAILED {failure}"));
    }
    Ok(if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The quick subset that is part of `cargo xtask test`.
///
/// # Errors
/// As [`run`], and what failed in the guests.
pub(crate) fn quick(toolchain: &BpfToolchain, program: &Path) -> Result<()> {
    let options = Options {
        kernels: vec!["6.1".to_owned(), "6.12".to_owned()],
        filter: None,
        quick: true,
        timeout: 180,
        verbose: false,
    };
    let failures = run_with(&options, toolchain, program)?;
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    Ok(())
}

fn run_with(options: &Options, toolchain: &BpfToolchain, program: &Path) -> Result<Vec<String>> {
    let cache = workspace().join("target/vm");
    fs::create_dir_all(&cache)?;
    let tools = cache.join("tools");
    let qemu = qemu::Qemu {
        root: tools.clone(),
    };
    if !qemu.program().exists() || !tools.join("bin/busybox").exists() {
        apt::unpack(&["qemu-system-x86", "busybox-static"], &tools)?;
    }
    let scripts = script::all(options.filter.as_deref(), options.quick)?;
    if scripts.is_empty() {
        bail!("no script in tests/vm has that name");
    }
    let common = guest::files(toolchain, program, &tools.join("bin/busybox"))?;
    let mut failures = Vec::new();
    for version in &options.kernels {
        let kernel = match kernels::get(version, &cache) {
            Ok(kernel) => kernel,
            Err(error) => {
                failures.push(format!("{version}: {error:#}"));
                continue;
            }
        };
        for (words, scripts) in script::boots(&scripts, kernel.release) {
            let what = format!("{version} {words}");
            let wrong = boot(options, &qemu, &kernel, words, &scripts, &common, &cache)
                .unwrap_or_else(|error| vec![format!("{error:#}")]);
            failures.extend(
                wrong
                    .iter()
                    .map(|wrong| format!("{}: {wrong}", what.trim())),
            );
        }
    }
    Ok(failures)
}

/// A file that is removed when this is dropped.
struct Remove<'a>(&'a Path);

impl Drop for Remove<'_> {
    fn drop(&mut self) {
        // It is not there any more: that is what is wanted.
        let _ = fs::remove_file(self.0);
    }
}

/// How often a guest is booted that does not reach its init: on a busy host the emulated machine
/// sometimes fails its own kernel's tests of the hardware. Nothing of ours has run by then.
const ATTEMPTS: u32 = 3;

/// One boot. Gives what went wrong in it.
fn boot(
    options: &Options,
    qemu: &qemu::Qemu,
    kernel: &kernels::Kernel,
    words: &str,
    scripts: &[&Script],
    common: &[initramfs::File],
    cache: &Path,
) -> Result<Vec<String>> {
    say(&format!("booting {} {words}", kernel.image.display()));
    let (own, modules) = (guest::scripts(scripts)?, guest::modules(kernel)?);
    let archive = initramfs::archive(common.iter().chain(&own).chain(&modules));
    // Another run may boot another one meanwhile.
    let initramfs = cache.join(format!("initramfs-{}.cpio", std::process::id()));
    fs::write(&initramfs, archive).context("cannot write the initramfs")?;
    let remove = Remove(&initramfs);
    let limit = options.timeout + scripts.iter().map(|script| script.seconds).sum::<u64>();
    let started = Instant::now();
    let mut console = String::new();
    for attempt in 1..=ATTEMPTS {
        console = qemu.boot(&kernel.image, &initramfs, words, limit, options.verbose)?;
        if qemu::boot_seconds(&console).is_some() || attempt == ATTEMPTS {
            break;
        }
        say(&format!(
            "the guest ended before its init started (attempt {attempt} of {ATTEMPTS})"
        ));
        if !options.verbose {
            eprint!("{console}");
        }
    }
    drop(remove);
    let names: Vec<&str> = scripts.iter().map(|script| script.name.as_str()).collect();
    let wrong = qemu::judge(&console, &names);
    if !wrong.is_empty() && !options.verbose {
        eprint!("{console}");
    }
    say(&format!(
        "{} of {} scripts passed; up in {} s, all in {:.1} s",
        names.len() - wrong.len().min(names.len()),
        names.len(),
        qemu::boot_seconds(&console).unwrap_or("?"),
        started.elapsed().as_secs_f32(),
    ));
    Ok(wrong)
}

//! `cargo xtask vm`: the program on other kernels, under QEMU.
//!
//! Each kernel boots with an initramfs that holds the program, the reference, the kernel tests and
//! `tests/vm/*.sh`. The guest's init runs the scripts and writes their ends to the serial line.
//! Nothing is installed: QEMU, busybox and the kernels are unpacked below `target/vm`.

mod guest;
mod initramfs;
mod kernels;
mod qemu;

use std::{fs, process::ExitCode, time::Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    apt, build,
    exec::{say, workspace},
    setup,
};

/// Which kernels, and what to run on them.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Versions of Debian kernels such as 6.1, or paths of kernel images
    #[arg(default_values = ["6.1", "6.12"])]
    kernels: Vec<String>,
    /// Run only the scripts of tests/vm whose names contain this
    #[arg(long)]
    filter: Option<String>,
    /// Seconds that one kernel may take
    #[arg(long, default_value_t = 600)]
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
    let cache = workspace().join("target/vm");
    fs::create_dir_all(&cache)?;
    let toolchain = setup::run(&setup::Options { tests: true })?;
    let program = build::build(&toolchain, &build::Options::default())?;

    let tools = cache.join("tools");
    let qemu = qemu::Qemu {
        root: tools.clone(),
    };
    if !qemu.program().exists() || !tools.join("bin/busybox").exists() {
        apt::unpack(&["qemu-system-x86", "busybox-static"], &tools)?;
    }
    let scripts = guest::scripts(options.filter.as_deref())?;
    if scripts.is_empty() {
        bail!("no script in tests/vm has that name");
    }
    let common = guest::files(&toolchain, &program, &tools.join("bin/busybox"), &scripts)?;

    let mut failures = Vec::new();
    for version in &options.kernels {
        let booted = (|| {
            let kernel = kernels::get(version, &cache)?;
            say(&format!("booting {}", kernel.image.display()));
            let initramfs = cache.join("initramfs.cpio");
            let archive = initramfs::archive(common.iter().chain(&guest::modules(&kernel)?));
            fs::write(&initramfs, archive).context("cannot write the initramfs")?;
            let started = Instant::now();
            let console = qemu.boot(&kernel.image, &initramfs, options.timeout, options.verbose)?;
            Ok((console, started.elapsed()))
        })();
        let wrong = match booted {
            Ok((console, took)) => {
                let names: Vec<&str> = scripts.keys().map(String::as_str).collect();
                let verdict = qemu::judge(&console, &names);
                if !verdict.is_empty() && !options.verbose {
                    eprint!("{console}");
                }
                say(&format!(
                    "{version}: {} of {} scripts passed; up in {} s, all in {:.1} s",
                    names.len() - verdict.len().min(names.len()),
                    names.len(),
                    qemu::boot_seconds(&console).unwrap_or("?"),
                    took.as_secs_f32(),
                ));
                verdict
            }
            Err::<_, anyhow::Error>(error) => vec![format!("{error:#}")],
        };
        failures.extend(wrong.into_iter().map(|what| format!("{version}: {what}")));
    }
    for failure in &failures {
        say(&format!("FAILED {failure}"));
    }
    Ok(if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

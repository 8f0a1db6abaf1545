//! `cargo xtask test`: what CI checks, in order. Every stage runs; failures are told at the end.

use std::{
    env,
    fmt::Write as _,
    path::Path,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    build,
    exec::{cargo, exec, find, is_root, output, say, search_path},
    setup,
    toolchain::BpfToolchain,
    vm,
};

/// What to test.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Run only the tests whose names contain this, and no format or lint checks
    #[arg(long)]
    filter: Option<String>,
}

/// How a stage ended.
#[derive(Debug)]
enum Outcome {
    Passed,
    /// Not run, and why.
    Skipped(String),
    Failed(String),
}

struct Report {
    stages: Vec<(&'static str, Outcome, Duration)>,
    /// On a CI machine a check that cannot run is a failure: nobody reads the words there.
    strict: bool,
}

/// Sets up, builds, and runs every stage.
///
/// # Errors
/// Set-up or build fail, so that no stage can run.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let started = Instant::now();
    let toolchain = setup::run(&setup::Options { tests: true })?;
    let program = build::build(&toolchain, &build::Options::default())?;

    let mut report = Report {
        stages: Vec::new(),
        strict: env::var("CI").is_ok_and(|ci| ci == "true"),
    };
    if options.filter.is_none() {
        report.stage("format", format);
        report.stage("clippy", || clippy(&toolchain));
        report.stage("clippy of the BPF programs", || clippy_bpf(&toolchain));
    }
    let filter = options.filter.as_deref();
    report.stage("unit tests", || unit_tests(&toolchain, filter));
    report.stage("tests on this kernel", || {
        kernel_tests(&toolchain, &program, filter)
    });
    if options.filter.is_none() {
        report.stage("tidy", || tidy(&toolchain));
        report.stage("other kernels in QEMU (quick subset)", || {
            vm::quick(&toolchain, &program).map(|()| Outcome::Passed)
        });
    }
    eprintln!(
        "\n{}total: {} s",
        report.summary(),
        started.elapsed().as_secs()
    );
    Ok(if report.failed() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

impl Report {
    fn stage(&mut self, name: &'static str, check: impl FnOnce() -> Result<Outcome>) {
        eprintln!("\n=== {name} ===");
        let started = Instant::now();
        let outcome = match check() {
            Ok(Outcome::Skipped(why)) if self.strict => Outcome::Failed(why),
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        match &outcome {
            Outcome::Passed => {}
            Outcome::Skipped(why) => say(&format!("not run: {why}")),
            Outcome::Failed(why) => say(&format!("failed: {why}")),
        }
        self.stages.push((name, outcome, started.elapsed()));
    }

    fn failed(&self) -> bool {
        self.stages
            .iter()
            .any(|(_, outcome, _)| matches!(outcome, Outcome::Failed(_)))
    }

    fn summary(&self) -> String {
        let mut text = String::new();
        for (name, outcome, took) in &self.stages {
            let (word, why) = match outcome {
                Outcome::Passed => ("ok", None),
                Outcome::Skipped(why) => ("not run", Some(why)),
                Outcome::Failed(why) => ("FAILED", Some(why)),
            };
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{word:8} {name} ({} s){why}", took.as_secs());
        }
        text
    }
}

fn format() -> Result<Outcome> {
    if let Some(missing) = missing_component("fmt", "rustfmt") {
        return Ok(missing);
    }
    exec(cargo().args(["fmt", "--all", "--check"])).context("`cargo fmt --all` puts it right")?;
    Ok(Outcome::Passed)
}

fn clippy(toolchain: &BpfToolchain) -> Result<Outcome> {
    if let Some(missing) = missing_component("clippy", "clippy") {
        return Ok(missing);
    }
    for packages in [&[][..], &["--package", "netstat-tests"][..]] {
        let mut clippy = cargo();
        toolchain.apply(&mut clippy);
        exec(
            clippy
                .arg("clippy")
                .args(packages)
                .args(["--all-targets", "--", "-Dwarnings"]),
        )?;
    }
    Ok(Outcome::Passed)
}

/// For the BPF target if its toolchain has clippy; else for this machine, where aya-ebpf compiles
/// too: the lints see the same source.
fn clippy_bpf(toolchain: &BpfToolchain) -> Result<Outcome> {
    let on_bpf = output(toolchain.command("cargo").args(["clippy", "--version"])).is_some()
        && output(toolchain.command("clippy-driver").arg("--version")).is_some();
    let mut clippy = if on_bpf {
        let mut clippy = toolchain.command("cargo");
        clippy.current_dir(crate::exec::workspace());
        clippy.env("RUSTC_BOOTSTRAP", "1");
        clippy.args(["clippy", "--target=bpfel-unknown-none", "-Zbuild-std=core"]);
        clippy
    } else {
        if let Some(missing) = missing_component("clippy", "clippy") {
            return Ok(missing);
        }
        say("the BPF toolchain has no clippy: linting for this machine's target instead");
        let mut clippy = cargo();
        clippy.arg("clippy");
        clippy
    };
    // The programs are no_std: they do not unwind.
    clippy.args([
        "--config",
        "profile.dev.panic=\"abort\"",
        "--target-dir",
        "target/clippy-bpf",
    ]);
    exec(clippy.args(["--package", "netstat-ebpf", "--", "-Dwarnings"]))?;
    Ok(Outcome::Passed)
}

/// All of the default members but tidy, which has its own stage.
fn unit_tests(toolchain: &BpfToolchain, filter: Option<&str>) -> Result<Outcome> {
    let mut tests = cargo();
    toolchain.apply(&mut tests);
    exec(
        tests
            .args(["test", "--"])
            .args(filter)
            .args(["--skip", "tidy::"]),
    )?;
    Ok(Outcome::Passed)
}

fn tidy(toolchain: &BpfToolchain) -> Result<Outcome> {
    let mut tests = cargo();
    toolchain.apply(&mut tests);
    exec(tests.args(["test", "--package", "xtask", "--", "tidy::"]))?;
    Ok(Outcome::Passed)
}

/// The tests that need root. cargo itself stays the user's, so that target/ stays the user's too.
fn kernel_tests(toolchain: &BpfToolchain, program: &Path, filter: Option<&str>) -> Result<Outcome> {
    let mut tests = cargo();
    toolchain.apply(&mut tests);
    tests.env("NETSTAT_BPF", program);
    if !is_root() {
        tests.arg("--config").arg(sudo_runner(program)?);
    }
    // One at a time: BPF state and the load on the machine are shared.
    tests
        .args(["test", "--package", "netstat-tests", "--"])
        .args(filter);
    exec(tests.arg("--test-threads=1"))?;
    Ok(Outcome::Passed)
}

/// cargo's setting that starts test programs through sudo, with the variables that sudo drops.
fn sudo_runner(program: &Path) -> Result<String> {
    if find("sudo").is_none() {
        bail!("these tests need root and there is no sudo: run `cargo xtask test` as root");
    }
    let version = output(
        Command::new("rustc")
            .arg("-vV")
            .env("PATH", search_path(&[])),
    );
    let host = version
        .as_deref()
        .and_then(host_of)
        .context("`rustc -vV` names no host")?;
    Ok(format!(
        "target.{host}.runner=['sudo', 'env', 'NETSTAT_BPF={}', 'PATH={}']",
        program.display(),
        search_path(&[]).display()
    ))
}

fn host_of(version: &str) -> Option<&str> {
    version.lines().find_map(|line| line.strip_prefix("host: "))
}

fn missing_component(subcommand: &str, component: &str) -> Option<Outcome> {
    if output(cargo().args([subcommand, "--version"])).is_some() {
        return None;
    }
    Some(Outcome::Skipped(format!(
        "cargo {subcommand} is not installed: `rustup component add {component}`, or Debian's \
         {component}-web or rust-web-{component}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(strict: bool) -> Report {
        Report {
            stages: Vec::new(),
            strict,
        }
    }

    #[test]
    fn a_failed_stage_does_not_stop_the_next_and_fails_the_whole() {
        let mut report = report(false);
        report.stage("first", || bail!("broken"));
        report.stage("second", || Ok(Outcome::Passed));
        assert!(report.failed());
        let summary = report.summary();
        assert!(
            summary.contains("FAILED   first (0 s): broken"),
            "{summary}"
        );
        assert!(summary.contains("ok       second"), "{summary}");
    }

    #[test]
    fn a_check_that_cannot_run_fails_in_ci_only() {
        for strict in [false, true] {
            let mut report = report(strict);
            report.stage("lint", || Ok(Outcome::Skipped("no clippy".to_owned())));
            assert_eq!(report.failed(), strict);
            assert!(report.summary().contains("no clippy"));
        }
    }

    #[test]
    fn host_is_read_from_rustc() {
        assert_eq!(
            host_of("rustc 1\nhost: x86_64-unknown-linux-gnu\n"),
            Some("x86_64-unknown-linux-gnu")
        );
        assert_eq!(host_of("rustc 1\n"), None);
    }
}

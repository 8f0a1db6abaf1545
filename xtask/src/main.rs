//! `cargo xtask`: what a developer or CI runs. One file per task.

mod apt;
mod bench;
mod build;
mod dist;
mod docs;
mod exec;
mod linker;
mod run;
mod setup;
mod soak;
mod test;
#[cfg(test)]
mod tidy;
mod toolchain;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    about = "Set up, build, run and test netstat-bpf"
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what is missing to build (and, with --tests, to test); does nothing when all is there
    Setup(setup::Options),
    /// Build target/release/netstat-bpf with its BPF programs inside
    Build(build::Options),
    /// Write target/dist/man/*.1 and target/dist/completions/ (bash, zsh, fish)
    Docs(docs::Options),
    /// Make the Debian package in target/debian
    Dist(dist::Options),
    /// Build, then run netstat-bpf as root with the arguments after `--`
    Run(run::Options),
    /// Everything that CI checks: format, lints, unit tests, tests on this kernel, tidy
    Test(test::Options),
    /// Measure netstat-bpf beside its peers as root, and write docs/benchmarks.md
    Bench(bench::Options),
    /// A long random life, compared with the real netstat from a running -c and a running log
    Soak(soak::Options),
    /// Run the scripts of tests/vm on stock Debian kernels under QEMU
    Vm(vm::Options),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Setup(options) => setup::run(&options).map(|_| ExitCode::SUCCESS),
        Task::Build(options) => build::run(&options).map(|_| ExitCode::SUCCESS),
        Task::Docs(options) => docs::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Dist(options) => dist::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Run(options) => run::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Bench(options) => bench::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Soak(options) => soak::run(&options),
        Task::Vm(options) => vm::run(&options),
    };
    done.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

//! What netstat-bpf costs, side by side with its peers, in paired runs: `cargo xtask bench`.
//!
//! Every number is a ratio of two things that were run in turns on the same machine, A B A B, so
//! that it holds when the machine drifts. The workloads are this same program, started as `load`.

mod goals;
mod growth;
mod hot;
mod load;
mod measure;
mod plot;
mod report;
mod scale;
mod snapshot;
mod stats;
mod tracer;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};

use report::Report;

#[derive(Debug, Parser)]
#[command(about = "Measures netstat-bpf and its peers")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Measure, and write the report
    Run(Options),
    /// Be a workload (started by `run`)
    Load(load::Options),
}

/// A part of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Section {
    Snapshot,
    Hot,
    Scale,
}

#[derive(Debug, clap::Args)]
struct Options {
    /// The program to measure
    #[arg(long)]
    program: PathBuf,
    /// Where benchmarks.md and the plots go
    #[arg(long)]
    output: PathBuf,
    /// Fewer and shorter runs
    #[arg(long)]
    quick: bool,
    /// Only one section
    #[arg(long)]
    only: Option<Section>,
    /// The most sockets of the snapshot section
    #[arg(long, default_value_t = 300_000)]
    most: usize,
}

fn main() -> Result<()> {
    match Cli::parse().what {
        What::Load(load) => load::run(&load),
        What::Run(options) => run(&options),
    }
}

fn run(options: &Options) -> Result<()> {
    // SAFETY: no precondition.
    if unsafe { libc::geteuid() } != 0 {
        anyhow::bail!("the measurements need root: namespaces, BPF, other users' descriptors");
    }
    let scratch = tempfile::tempdir().context("make a directory for outputs")?;
    let bench = measure::Bench {
        program: options.program.canonicalize().context("--program")?,
        scratch: scratch.path().to_owned(),
        quick: options.quick,
        most: options.most,
    };
    let mut report = Report::new(&bench, options.only.is_some());
    let wants = |section| options.only.is_none_or(|only| only == section);
    if wants(Section::Snapshot) {
        snapshot::run(&bench, &mut report)?;
    }
    if wants(Section::Hot) {
        hot::run(&bench, &mut report)?;
    }
    if wants(Section::Scale) {
        scale::run(&bench, &mut report, &options.output)?;
    }
    report.write(&options.output)
}

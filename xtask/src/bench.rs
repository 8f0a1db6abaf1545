//! `cargo xtask bench`: installs the peers, builds, and runs the measurements as root.

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    apt::{self, Tool},
    build,
    exec::{as_root, cargo, exec, say, search_path, workspace},
    setup,
};

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Fewer and shorter runs: a part of the hour
    #[arg(long)]
    quick: bool,
    /// Only one section, printed on stdout: snapshot, hot or scale
    #[arg(long)]
    only: Option<String>,
    /// The most sockets of the snapshot section
    #[arg(long)]
    most: Option<usize>,
}

/// The peers that are compared with, beyond what the tests need.
const PEERS: [Tool; 2] = [
    Tool {
        program: "bpftrace",
        packages: &["bpftrace"],
        why: "a peer of the benchmarks",
    },
    Tool {
        program: "tcpstates",
        packages: &["libbpf-tools"],
        why: "a peer of the benchmarks",
    },
];

/// Sets up, builds and measures.
///
/// # Errors
/// What set-up, cargo or a measurement meet. A peer that cannot be installed is left out and said.
pub(crate) fn run(options: &Options) -> Result<()> {
    let toolchain = setup::run(&setup::Options { tests: true })?;
    for peer in PEERS {
        if let Err(error) = apt::ensure(&[peer]) {
            say(&format!("measuring without a peer: {error:#}"));
        }
    }
    let program = build::build(&toolchain, &build::Options::default())?;
    let mut cargo = cargo();
    cargo.args(["build", "--release", "--package", "netstat-tests"]);
    cargo.args(["--bin", "bench"]).arg("--target-dir");
    let target = program
        .parent()
        .and_then(std::path::Path::parent)
        .context("the program is in target/release")?;
    cargo.arg(target);
    toolchain.apply(&mut cargo);
    exec(&mut cargo).context("the build of the measurements failed")?;
    let mut bench = as_root("env")?;
    let mut path = std::ffi::OsString::from("PATH=");
    path.push(search_path(&[]));
    bench.arg(path).arg(target.join("release/bench"));
    bench.arg("run").arg("--program").arg(&program);
    bench.arg("--output").arg(workspace().join("docs"));
    if options.quick {
        bench.arg("--quick");
    }
    if let Some(only) = &options.only {
        bench.args(["--only", only]);
    }
    if let Some(most) = options.most {
        bench.args(["--most", &most.to_string()]);
    }
    let status = bench.status().context("start the measurements")?;
    anyhow::ensure!(status.success(), "the measurements failed: {status}");
    Ok(())
}

//! `cargo xtask setup`: what a new machine lacks.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::{
    apt::{self, Tool},
    exec::{find, output, say},
    linker,
    toolchain::{self, BpfToolchain},
};

/// What to set up.
#[derive(Debug, Default, Args)]
pub(crate) struct Options {
    /// Also install what the tests need
    #[arg(long)]
    pub(crate) tests: bool,
}

const BUILD_TOOLS: [Tool; 1] = [Tool {
    program: "cc",
    packages: &["gcc", "libc6-dev"],
    why: "Rust links programs with it",
}];

const TEST_TOOLS: [Tool; 9] = [
    Tool {
        program: "netstat",
        packages: &["net-tools"],
        why: "the reference of the comparisons",
    },
    Tool {
        program: "ip",
        packages: &["iproute2"],
        why: "tests make network namespaces and links",
    },
    Tool {
        program: "strace",
        packages: &["strace"],
        why: "tests watch which files are read",
    },
    Tool {
        program: "unshare",
        packages: &["util-linux"],
        why: "tests run in namespaces of their own",
    },
    Tool {
        program: "groff",
        packages: &["groff"],
        why: "tests format the man pages",
    },
    Tool {
        program: "mandoc",
        packages: &["mandoc"],
        why: "tests look for mistakes in the man pages",
    },
    Tool {
        program: "prometheus",
        packages: &["prometheus"],
        why: "tests have the metrics checked and scraped",
    },
    Tool {
        program: "zsh",
        packages: &["zsh"],
        why: "tests load the completions",
    },
    Tool {
        program: "fish",
        packages: &["fish"],
        why: "tests load the completions",
    },
];

/// The net-tools that netstat-bpf's output is written against.
const NET_TOOLS: &str = "net-tools 2.10";

/// Installs what is missing and returns the compiler of the BPF programs.
///
/// # Errors
/// Something is missing and cannot be installed; the error says what to do.
pub(crate) fn run(options: &Options) -> Result<BpfToolchain> {
    apt::ensure(&BUILD_TOOLS)?;
    let toolchain = toolchain::ensure()?;
    linker::ensure(&toolchain)?;
    toolchain.note()?;
    if options.tests {
        apt::ensure(&TEST_TOOLS)?;
        warn_of_another_netstat();
    }
    match &toolchain {
        BpfToolchain::Rustup(name) => say(&format!("BPF toolchain: `{name}` of rustup")),
        BpfToolchain::Plain(bin) => say(&format!("BPF toolchain: rustc in {}", bin.display())),
    }
    Ok(toolchain)
}

fn warn_of_another_netstat() {
    let Some(netstat) = find("netstat") else {
        return;
    };
    // It prints its version and ends with 1 to 5, by the age of net-tools.
    let version = output(
        Command::new("sh")
            .arg("-c")
            .arg("\"$0\" --version || :")
            .arg(netstat),
    );
    let version = version.unwrap_or_default();
    let first = version.lines().next().unwrap_or("nothing");
    if !first.starts_with(NET_TOOLS) {
        say(&format!(
            "warning: netstat says `{first}`; the tests compare with {NET_TOOLS}"
        ));
    }
}

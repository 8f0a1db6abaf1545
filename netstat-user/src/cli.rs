//! The subcommands: what was typed, nothing else.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// netstat fed by eBPF: an exact live table of connections.
#[derive(Debug, Parser)]
#[command(name = "netstat-bpf", version)]
pub struct Cli {
    /// What to do. Without one of these words the command line is netstat's.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Log every change of state as it happens
    Log(Log),
    /// Tell which hooks this kernel offers, and why others are not used
    Check(Check),
    /// Keep a live table of all network namespaces and serve it to other netstat-bpf
    Agent(Agent),
    /// Tell how the agent is: hooks, losses, clients, its own cost
    Status(Status),
}

impl Command {
    /// The words that make a command line ours and not netstat's.
    pub const WORDS: [&str; 4] = ["log", "check", "agent", "status"];
}

/// `netstat-bpf log`
#[derive(Debug, clap::Args)]
pub struct Log {
    /// Print one JSON object a line (docs/log-schema.md) instead of text
    #[arg(long)]
    pub json: bool,
}

/// `netstat-bpf check`
#[derive(Debug, clap::Args)]
pub struct Check {
    /// Print all that the kernel says about a program that it refuses
    #[arg(long)]
    pub verbose: bool,
}

/// `netstat-bpf agent`
#[derive(Debug, clap::Args)]
pub struct Agent {
    /// The Unix socket to listen on; clients look there, or where NETSTAT_BPF_AGENT says
    #[arg(long, value_name = "PATH", default_value = crate::agent::SOCKET)]
    pub socket: PathBuf,
    /// How many clients may be connected at a time; a quarter of them of one user but root
    #[arg(long, value_name = "NUMBER", default_value_t = 64)]
    pub max_clients: u16,
    /// How many MiB answers that are not read yet may take
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    pub max_answers: u32,
}

/// `netstat-bpf status`
#[derive(Debug, clap::Args)]
pub struct Status {
    /// Print one JSON object (docs/protocol.md) instead of text
    #[arg(long)]
    pub json: bool,
    /// The agent's socket; else NETSTAT_BPF_AGENT, else the default
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_subcommand_has_its_word() {
        let cli = Cli::command();
        cli.clone().debug_assert();
        let words: Vec<_> = cli.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(words, Command::WORDS);
    }
}

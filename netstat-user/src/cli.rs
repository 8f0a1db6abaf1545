//! The subcommands: what was typed, nothing else.

mod agent;
mod audit;
mod log;

use clap::{Parser, Subcommand};

pub use self::{
    agent::{Agent, Status},
    audit::Audit,
    log::Log,
};

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
    Log(Box<Log>),
    /// Tell which hooks this kernel offers, and why others are not used
    Check(Check),
    /// Keep a live table of all network namespaces and serve it to other netstat-bpf
    Agent(Agent),
    /// Tell how the agent is: hooks, losses, clients, its own cost
    Status(Status),
    /// Compare the live table with the kernel's own lists of sockets, of all network namespaces
    Audit(Audit),
}

impl Command {
    /// The words that make a command line ours and not netstat's.
    pub const WORDS: [&str; 5] = ["log", "check", "agent", "status", "audit"];
}

/// `netstat-bpf check`
#[derive(Debug, clap::Args)]
pub struct Check {
    /// Print all that the kernel says about a program that it refuses
    #[arg(long)]
    pub verbose: bool,
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

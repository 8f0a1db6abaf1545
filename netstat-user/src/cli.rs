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
    use clap::Parser as _;
    use proptest::prelude::*;

    use super::*;

    /// Words that mean something, and any others.
    fn word() -> impl Strategy<Value = Vec<u8>> {
        let known = [
            "log",
            "agent",
            "status",
            "check",
            "--json",
            "--state",
            "established,big",
            "--src",
            "10.0.0.0/8",
            "--dst",
            "::1/129",
            "--port",
            "1-70000",
            "--pid",
            "4294967296",
            "--netns",
            "self",
            "--journal",
            "--buffer",
            "--socket",
            "--metrics",
            "--max-clients",
            "--",
            "-",
        ];
        prop_oneof![
            6 => prop::sample::select(known.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..12),
        ]
    }

    proptest! {
        #[test]
        fn any_words_are_a_command_or_refused(words in prop::collection::vec(word(), 0..10)) {
            use std::os::unix::ffi::OsStringExt as _;
            let words = words.into_iter().map(std::ffi::OsString::from_vec);
            let words = std::iter::once("netstat-bpf".into()).chain(words);
            if let Ok(Cli { command: Command::Log(log) }) = Cli::try_parse_from(words) {
                let _ = log.filter(Vec::new());
            }
        }
    }

    #[test]
    fn every_subcommand_has_its_word() {
        let cli = Cli::command();
        cli.clone().debug_assert();
        let words: Vec<_> = cli.get_subcommands().map(clap::Command::get_name).collect();
        assert_eq!(words, Command::WORDS);
    }
}

//! `netstat-bpf log`: its options.

use std::path::PathBuf;

use crate::conn::{
    filter::{Filter, Network, Ports, Protocol, States},
    types::Direction,
};

/// Log every change of state as it happens.
///
/// A change is shown if it fits every kind of filter that is given; values of one kind, repeated or
/// separated by commas, are alternatives.
#[derive(Debug, Default, clap::Args)]
pub struct Log {
    /// Print one JSON object a line (docs/log-schema.md) instead of text
    #[arg(long)]
    pub json: bool,

    /// Send to the systemd journal instead of stdout
    #[arg(long, value_name = "SOCKET", num_args = 0..=1, require_equals = true,
          default_missing_value = "/run/systemd/journal/socket", conflicts_with = "json")]
    pub journal: Option<PathBuf>,

    /// Load own programs even if an agent runs
    #[arg(long)]
    pub no_agent: bool,

    /// Keep at most this much output for a slow reader; beyond it lines are dropped and counted
    #[arg(long, value_name = "MIB", default_value_t = 64,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub buffer: u16,

    /// Changes into or out of a state, or of a group of states as in ss: all, connected,
    /// synchronized, bucket, big
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',')]
    pub states: Vec<States>,

    /// No changes into or out of a state or group
    #[arg(long = "exclude", value_name = "STATE", value_delimiter = ',')]
    pub excluded: Vec<States>,

    /// Local address, or a network as ADDRESS/BITS
    #[arg(long = "src", value_name = "NETWORK", value_delimiter = ',')]
    pub sources: Vec<Network>,

    /// Remote address or network
    #[arg(long = "dst", value_name = "NETWORK", value_delimiter = ',')]
    pub destinations: Vec<Network>,

    /// Local or remote address or network
    #[arg(long = "addr", value_name = "NETWORK", value_delimiter = ',')]
    pub addresses: Vec<Network>,

    /// Local port, or FIRST-LAST
    #[arg(long = "sport", value_name = "PORTS", value_delimiter = ',')]
    pub source_ports: Vec<Ports>,

    /// Remote port
    #[arg(long = "dport", value_name = "PORTS", value_delimiter = ',')]
    pub destination_ports: Vec<Ports>,

    /// Local or remote port
    #[arg(long = "port", value_name = "PORTS", value_delimiter = ',')]
    pub ports: Vec<Ports>,

    /// Process id of the owner
    #[arg(long = "pid", value_name = "PID", value_delimiter = ',')]
    pub pids: Vec<u32>,

    /// Name of the owner's program, whole
    #[arg(long = "program", value_name = "NAME")]
    pub programs: Vec<String>,

    /// tcp, tcp4 or tcp6: the family is the socket's
    #[arg(long = "proto", value_name = "PROTOCOL", value_delimiter = ',')]
    pub protocols: Vec<Protocol>,

    /// Network namespace: inode number, name as in ip-netns, path, or `self`
    #[arg(long = "netns", value_name = "NAMESPACE", value_delimiter = ',')]
    pub namespaces: Vec<String>,

    /// in: the peer called; out: the socket called. Connections older than the log are neither
    #[arg(long, value_name = "in|out")]
    pub direction: Option<Direction>,
}

impl Log {
    /// The filter, with the namespaces as inode numbers.
    pub fn filter(&self, namespaces: Vec<u32>) -> Filter {
        Filter {
            states: self.states.clone(),
            excluded: self.excluded.clone(),
            sources: self.sources.clone(),
            destinations: self.destinations.clone(),
            addresses: self.addresses.clone(),
            source_ports: self.source_ports.clone(),
            destination_ports: self.destination_ports.clone(),
            ports: self.ports.clone(),
            pids: self.pids.clone(),
            programs: self
                .programs
                .iter()
                .map(|name| name.clone().into_bytes())
                .collect(),
            protocols: self.protocols.clone(),
            namespaces,
            direction: self.direction,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::{Cli, Command};

    #[track_caller]
    fn parse(args: &[&str]) -> Result<super::Log, clap::Error> {
        let args = ["netstat-bpf", "log"].iter().chain(args);
        match Cli::try_parse_from(args)?.command {
            Command::Log(log) => Ok(*log),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lists_may_be_repeated_or_have_commas() {
        let log = parse(&[
            "--state",
            "established,big",
            "--state=closed",
            "--pid",
            "1,2",
        ]);
        let log = log.expect("right");
        assert_eq!((log.states.len(), log.pids), (3, vec![1, 2]));
        let log = parse(&["--journal"]).expect("right");
        let socket = log.journal.expect("a default");
        assert_eq!(socket.to_str(), Some("/run/systemd/journal/socket"));
    }

    #[test]
    fn nonsense_is_refused_with_the_option_and_the_value() {
        for (args, told) in [
            (["--state", "open"], "'open' for '--state"),
            (["--dst", "10.0.0.0/40"], "'10.0.0.0/40' for '--dst"),
            (["--port", "9-1"], "9 is after 1"),
            (["--proto", "udp"], "tcp, tcp4, tcp6"),
            (["--direction", "up"], "in, out"),
            (["--buffer", "0"], "0 is not in"),
        ] {
            let error = parse(&args).expect_err("nonsense").to_string();
            assert!(error.contains(told), "{args:?}: {error}");
        }
        assert!(parse(&["--json", "--journal"]).is_err());
    }
}

//! `netstat-bpf agent` and `netstat-bpf status`.

use std::{net::SocketAddr, path::PathBuf};

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
    /// How many MiB of changes may wait for each client that follows the log; what does not fit is
    /// dropped and counted
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub log_queue: u16,
    /// Serve metrics over HTTP, at /metrics, on a loopback address to all users (events of every change cost more)
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics: Option<SocketAddr>,
}

/// `netstat-bpf status`
#[derive(Debug, clap::Args)]
pub struct Status {
    /// Print one JSON object (docs/protocol.md) at once, instead of text after a second of measuring
    #[arg(long)]
    pub json: bool,
    /// The agent's socket; else NETSTAT_BPF_AGENT, else the default
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

//! `netstat-bpf audit`.

use std::path::PathBuf;

/// `netstat-bpf audit`
///
/// Compares the agent's table, or without an agent that of a tracer of its own, with /proc/net/tcp of
/// every network namespace and with the kernel's hash tables.
///
/// Exit status: 0 no mismatch; 1 a mismatch; 2 none, but something could not be compared, or the audit
/// failed.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Audit {
    /// Repeat until SIGINT: a line an audit, and a summary
    #[arg(long)]
    pub watch: bool,
    /// Print one JSON object an audit (docs/audit.md)
    #[arg(long)]
    pub json: bool,
    /// How long a tracer of its own runs before it is audited, and the time between two audits
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    pub seconds: u32,
    /// The agent's socket, which must answer; else NETSTAT_BPF_AGENT or the default, if an agent is there
    #[arg(long, value_name = "PATH", conflicts_with = "no_agent")]
    pub socket: Option<PathBuf>,
    /// Audit a tracer of its own even if there is an agent
    #[arg(long)]
    pub no_agent: bool,
}

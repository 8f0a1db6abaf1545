//! How the agent is, as `netstat-bpf status --json` prints it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The agent's state. Times are nanoseconds; counters grow from the agent's start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Version of the protocol.
    pub protocol: u16,
    /// The agent's process id.
    pub pid: u32,
    /// Since the start.
    pub uptime_ns: u64,
    /// Now, `CLOCK_MONOTONIC`.
    pub now_ns: u64,
    /// Since when the table has missed nothing, `CLOCK_MONOTONIC`.
    pub exact_since_ns: u64,
    /// The same, since 1970.
    pub exact_since_wall_ns: u64,
    /// What cannot be believed at the moment; `null` nearly always.
    pub in_doubt: Option<String>,
    /// Sockets in the table, closed ones that are not freed yet included.
    pub sockets: u64,
    /// Those that netstat would list, by state, in all network namespaces.
    pub states: BTreeMap<String, u64>,
    /// Socket events taken in.
    pub events: u64,
    /// Events lost, by cause.
    pub lost: Losses,
    /// Comparisons with the kernel because something was lost.
    pub healings: u64,
    /// Comparisons without such a reason.
    pub audits: u64,
    /// Rows that a comparison found wrong though nothing was known to be lost.
    pub mismatches: u64,
    /// Changes that no event told and that were inferred from later ones.
    #[serde(default)]
    pub gaps: u64,
    /// Events of half-open connections that were counted and not sent.
    pub over_budget: u64,
    /// Times that events could not be taken in.
    pub drain_errors: u64,
    /// Events that only the second copy of the state hook saw.
    pub second_copy: u64,
    /// Hooks, attached or not.
    pub hooks: Vec<Hook>,
    /// BPF programs that are loaded.
    pub programs: Vec<Program>,
    /// Memory of answers that are not read yet.
    pub answers_bytes: u64,
    /// The agent's own cost.
    pub process: Process,
    /// What became of the clients.
    #[serde(default)]
    pub clients: Clients,
}

/// Events lost, by cause.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// The ring was full.
    pub ring_full: u64,
    /// Fields could not be read.
    pub unreadable: u64,
    /// Records could not be decoded.
    pub undecoded: u64,
    /// The kernel skipped a hook that was active on its CPU.
    pub skipped: u64,
}

/// A hook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hook {
    /// BPF program.
    pub program: String,
    /// Tracepoint or function.
    pub target: String,
    /// How it is attached.
    pub rung: String,
    /// Why it is not.
    pub refused: Option<String>,
}

/// A BPF program that is loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Its name.
    pub program: String,
    /// Nanoseconds that it ran while the kernel kept statistics.
    pub run_time_ns: u64,
    /// Times that it ran meanwhile.
    pub run_count: u64,
    /// Times that it was skipped because it was active on its CPU.
    pub recursion_misses: u64,
}

/// What the agent costs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// CPU time of all its threads.
    pub cpu_ns: u64,
    /// Resident memory.
    pub rss_bytes: u64,
    /// Kernel memory of its BPF maps, the ring among them; what it has mapped of them counts as resident, too.
    #[serde(default)]
    pub maps_bytes: u64,
    /// Open files.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
}

/// What became of the clients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Clients {
    /// Connected now, whoever asks for the status included.
    pub connected: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Snapshots sent to the end.
    pub snapshots: u64,
    /// Refused: too many clients, or too much memory in answers.
    pub refused_busy: u64,
    /// Refused: may not see that, or not known.
    pub refused_rights: u64,
    /// Refused: no request, or of another version.
    pub refused_bad_request: u64,
    /// Refused: the agent failed.
    pub failed: u64,
    /// Given up: did not ask, or did not read, in time.
    pub given_up_slow: u64,
    /// Went away before the answer was sent.
    pub gone: u64,
    /// Times that accept(2) failed.
    pub accept_errors: u64,
    /// Following the log now.
    #[serde(default)]
    pub logs: u64,
    /// Changes that a client of the log was not sent, since it did not take them in time.
    #[serde(default)]
    pub log_dropped: u64,
}

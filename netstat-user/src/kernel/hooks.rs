//! Which hooks are attached, by which rung of the ladder, and why.

use anyhow::Result;

use super::object::{Handlers, Object, Purpose};

/// A hook and what became of it.
#[derive(Clone, Debug)]
pub struct Hook {
    /// BPF program.
    pub program: &'static str,
    /// Tracepoint or function.
    pub target: &'static str,
    /// How it is attached.
    pub rung: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// `None` if it is attached, else why not.
    pub refused: Option<String>,
}

/// Program, tracepoint, purpose, whether only the log wants it; in the order of attachment.
///
/// What takes a socket out of the table comes before what puts it in: attaching takes
/// milliseconds, and a socket whose begin was seen and whose end was not would stay for ever.
/// The kernel calls the programs of one tracepoint in the order in which they were attached, so the
/// first copy stands before the second: the other way round, each event would be sent twice.
const TRACEPOINTS: &[(&str, &str, &str, bool)] = &[
    (
        "tcp_destroy",
        "tcp_destroy_sock",
        "end of full sockets",
        false,
    ),
    (
        "timer_cancel",
        "timer_cancel",
        "TIME_WAIT and SYN_RECV end",
        false,
    ),
    (
        "timer_start",
        "timer_start",
        "TIME_WAIT and SYN_RECV begin",
        false,
    ),
    (
        "tcp_state",
        "inet_sock_set_state",
        "state of full sockets",
        false,
    ),
    (
        "tcp_state_2",
        "inet_sock_set_state",
        "what the first copy is skipped for",
        false,
    ),
    ("proc_exit", "sched_process_exit", "owners: exit", true),
    ("proc_exec", "sched_process_exec", "owners: exec", true),
    ("proc_fork", "task_newtask", "owners: fork", true),
];

/// Attaches every hook that `purpose` wants.
///
/// # Errors
/// The first that is refused: a table without it could be wrong and not know.
pub fn attach(object: &mut Object, purpose: Purpose) -> Result<Vec<Hook>> {
    let mut hooks = Vec::new();
    if purpose == Purpose::Snapshot {
        return Ok(hooks);
    }
    for &(program, target, what, log_only) in TRACEPOINTS {
        if log_only && purpose != Purpose::Log {
            continue;
        }
        object.attach_tracepoint(program, target)?;
        hooks.push(Hook {
            program,
            target,
            rung: "tp_btf",
            purpose: what,
            refused: None,
        });
    }
    Ok(hooks)
}

/// Tries every hook, attached or not, for `netstat-bpf check`.
pub fn try_all(object: &mut Object) -> Vec<Hook> {
    TRACEPOINTS
        .iter()
        .map(|&(program, target, purpose, _)| {
            let refused = object.attach_tracepoint(program, target).err();
            let refused = refused.map(|error| format!("{error:#}"));
            Hook {
                program,
                target,
                rung: "tp_btf",
                purpose,
                refused,
            }
        })
        .collect()
}

/// The functions that minisock timers call.
///
/// # Errors
/// Reading /proc/kallsyms, or learning from timers where it hides addresses.
pub fn handlers() -> Result<Handlers> {
    let found = Handlers::from_kallsyms()?;
    if found.timewait != 0 && found.request != 0 {
        return Ok(found);
    }
    super::learn::handlers()
}

//! Which source of rows serves a netstat command line.

use std::time::Duration;

use crate::{
    client,
    cmdline::{Family, Options},
    kernel::{descriptors::open_files, object::Purpose},
    proc::ProcSource,
    source::SocketSource,
};

use super::{
    live::{LiveSource, proc_is_ours},
    privilege,
    via_agent::AgentSource,
};

/// Open files on the host from which loading BPF programs is cheaper than walking /proc.
const MANY_FILES: u64 = 20_000;
/// How long an agent may be silent whose use was demanded.
const DEMANDED: Duration = Duration::from_secs(10);

/// Which network namespaces a source must be able to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The one that the main thread is in from now on.
    Own,
    /// Each that the main thread enters.
    All,
}

/// The agent if there is one; else the live table where it pays and the kernel lets us; else /proc.
/// The bytes are the same.
///
/// `NETSTAT_BPF_SOURCE=proc`, `=kernel` and `=agent` force one of them; a forced source that cannot
/// be used is told and replaced. `agent` is whether an agent may be asked.
pub(super) fn source(options: &Options, agent: bool, reach: Reach) -> Box<dyn SocketSource + '_> {
    let forced = std::env::var("NETSTAT_BPF_SOURCE").unwrap_or_default();
    let wants_tcp = !options.selected || options.protocols.tcp;
    let demanded = forced == "agent";
    let asks = agent && (forced.is_empty() || demanded) && (wants_tcp || options.programs);
    let path = client::socket();
    if asks && proc_is_ours() && (demanded || path.exists()) {
        let patience = if demanded { DEMANDED } else { client::PATIENCE };
        let told = demanded || std::env::var_os("NETSTAT_BPF_DEBUG").is_some();
        let instead = Box::new(move || alone(options, "", wants_tcp, reach));
        return Box::new(AgentSource::new(path, patience, told, instead));
    }
    alone(options, &forced, wants_tcp, reach)
}

/// The best source without an agent.
fn alone(options: &Options, forced: &str, wants_tcp: bool, reach: Reach) -> Box<dyn SocketSource> {
    let wants_lists = !options.selected || options.protocols.udp || options.section(Family::Unix);
    // Other sockets than TCP's have no events: without TCP, no hook is wanted.
    let purpose = if options.continuous && wants_tcp && options.json.is_some() {
        // How long a socket has been in its state is known only if each change is told.
        Purpose::Log
    } else if wants_tcp && (options.continuous || reach == Reach::All) {
        // Namespace after namespace takes time: what changes meanwhile must be known.
        Purpose::Table
    } else {
        Purpose::Snapshot
    };
    let wanted = match forced {
        "proc" => false,
        "kernel" => true,
        _ => {
            (wants_tcp || wants_lists)
                && (options.continuous
                    || ((options.programs || options.json.is_some()) && many_files()))
        }
    };
    if !wanted {
        return Box::new(ProcSource::default());
    }
    let wants_owners = options.programs || options.json.is_some();
    match start(purpose, reach, wants_owners) {
        Ok(live) => Box::new(live),
        Err(reason) => {
            // A verifier's log has many lines; its first says what is refused.
            let reason = reason.lines().next().unwrap_or_default();
            if options.continuous {
                eprintln!("netstat-bpf: every round reads /proc anew: {reason}");
            } else if forced == "kernel" {
                eprintln!("netstat-bpf: rows are read from /proc: {reason}");
            }
            Box::new(ProcSource::default())
        }
    }
}

fn start(purpose: Purpose, reach: Reach, wants_owners: bool) -> Result<LiveSource, String> {
    if let Some(missing) = privilege::missing() {
        return Err(missing);
    }
    if let Some(missing) = wants_owners.then(privilege::missing_for_owners).flatten() {
        return Err(missing);
    }
    if !proc_is_ours() {
        return Err("/proc shows another PID namespace".to_owned());
    }
    let live = LiveSource::start(purpose).map_err(|error| format!("{error:#}"))?;
    if reach == Reach::All {
        if !live.knows_all_namespaces() {
            return Err("this kernel cannot walk the sockets of all namespaces".to_owned());
        }
        // Namespaces are entered for as long as this runs.
        return Ok(live);
    }
    privilege::drop_all_but_tracing().map_err(|error| format!("{error:#}"))?;
    Ok(live)
}

/// Whether the host has so many open files that a walk over /proc/*/fd is slow.
fn many_files() -> bool {
    open_files() >= MANY_FILES
}

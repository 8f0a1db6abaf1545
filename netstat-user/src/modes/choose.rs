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

/// The agent if there is one; else the live table where it pays and the kernel lets us; else /proc.
/// The bytes are the same.
///
/// `NETSTAT_BPF_SOURCE=proc`, `=kernel` and `=agent` force one of them; a forced source that cannot
/// be used is told and replaced. `agent` is whether an agent may be asked.
pub(super) fn source(options: &Options, agent: bool) -> Box<dyn SocketSource + '_> {
    let forced = std::env::var("NETSTAT_BPF_SOURCE").unwrap_or_default();
    let wants_tcp = !options.selected || options.protocols.tcp;
    let demanded = forced == "agent";
    let asks = agent && (forced.is_empty() || demanded) && (wants_tcp || options.programs);
    let path = client::socket();
    if asks && proc_is_ours() && (demanded || path.exists()) {
        let patience = if demanded { DEMANDED } else { client::PATIENCE };
        let told = demanded || std::env::var_os("NETSTAT_BPF_DEBUG").is_some();
        let instead = Box::new(move || alone(options, "", wants_tcp));
        return Box::new(AgentSource::new(path, patience, told, instead));
    }
    alone(options, &forced, wants_tcp)
}

/// The best source without an agent.
fn alone(options: &Options, forced: &str, wants_tcp: bool) -> Box<dyn SocketSource> {
    let wants_lists = !options.selected || options.protocols.udp || options.section(Family::Unix);
    // Other sockets than TCP's have no events: without TCP, no hook is wanted.
    let purpose = if options.continuous && wants_tcp && options.json.is_some() {
        // How long a socket has been in its state is known only if each change is told.
        Purpose::Log
    } else if options.continuous && wants_tcp {
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
    match start(purpose) {
        Ok(live) => Box::new(live),
        Err(reason) => {
            if options.continuous {
                eprintln!("netstat-bpf: every round reads /proc anew: {reason}");
            } else if forced == "kernel" {
                eprintln!("netstat-bpf: rows are read from /proc: {reason}");
            }
            Box::new(ProcSource::default())
        }
    }
}

fn start(purpose: Purpose) -> Result<LiveSource, String> {
    if let Some(missing) = privilege::missing() {
        return Err(missing);
    }
    if !proc_is_ours() {
        return Err("/proc shows another PID namespace".to_owned());
    }
    let live = LiveSource::start(purpose).map_err(|error| format!("{error:#}"))?;
    privilege::drop_all_but_tracing().map_err(|error| format!("{error:#}"))?;
    Ok(live)
}

/// Whether the host has so many open files that a walk over /proc/*/fd is slow.
fn many_files() -> bool {
    open_files() >= MANY_FILES
}

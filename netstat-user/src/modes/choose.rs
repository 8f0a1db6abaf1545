//! Which source of rows serves a netstat command line.

use std::{fs, io::Write};

use crate::{
    cmdline::{Family, Options},
    kernel::object::Purpose,
    proc::ProcSource,
    source::SocketSource,
};

use super::{
    live::{LiveSource, proc_is_ours},
    privilege,
};

/// Open files on the host from which loading BPF programs is cheaper than walking /proc.
const MANY_FILES: u64 = 20_000;

/// The live table where it pays and the kernel lets us; /proc otherwise, with the same bytes.
///
/// `NETSTAT_BPF_SOURCE=proc` and `=kernel` force one of them; a forced kernel source that does
/// not start is told and replaced by /proc.
pub(super) fn source(options: &Options, err: &mut dyn Write) -> Box<dyn SocketSource> {
    let forced = std::env::var("NETSTAT_BPF_SOURCE").unwrap_or_default();
    let wants_tcp = !options.selected || options.protocols.tcp;
    let wants_lists = !options.selected || options.protocols.udp || options.section(Family::Unix);
    // Other sockets than TCP's have no events: without TCP, no hook is wanted.
    let purpose = if options.continuous && wants_tcp {
        Purpose::Table
    } else {
        Purpose::Snapshot
    };
    let wanted = match forced.as_str() {
        "proc" => false,
        "kernel" => true,
        _ => {
            (wants_tcp || wants_lists) && (options.continuous || (options.programs && many_files()))
        }
    };
    if !wanted {
        return Box::new(ProcSource::default());
    }
    match start(purpose) {
        Ok(live) => Box::new(live),
        Err(reason) => {
            if options.continuous {
                let _ = writeln!(err, "netstat-bpf: every round reads /proc anew: {reason}");
            } else if forced == "kernel" {
                let _ = writeln!(err, "netstat-bpf: rows are read from /proc: {reason}");
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
    let text = fs::read_to_string("/proc/sys/fs/file-nr").unwrap_or_default();
    let allocated = text
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok());
    allocated.is_some_and(|files: u64| files >= MANY_FILES)
}

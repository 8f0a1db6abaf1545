//! `-r` for the families that Linux no longer routes: what is said when their files are not there.

use std::{io::Write, path::Path};

use super::report::put;
use crate::cmdline::Family;

/// Prints what the reference prints on a kernel without the family. The exit status is not 0.
pub(super) fn run(root: &Path, family: Family, out: &mut dyn Write, err: &mut dyn Write) -> i32 {
    const ABSENT: &str = "No such file or directory";
    let net = root.join("net");
    let absent = |file: &str| !net.join(file).exists();
    let name = family.name();
    match family {
        Family::Ax25 => {
            put(err, format!("/proc/net/ax25_route: {ABSENT}\n"));
            put(out, "AX.25 not configured in this system.\n");
        }
        Family::Ipx => {
            put(err, format!("{ABSENT}\n"));
            put(
                out,
                "IPX routing not in file /proc/net/ipx/route or /proc/net/ipx_route found.\n",
            );
        }
        Family::Netrom => {
            if absent("nr_nodes") {
                put(err, format!("/proc/net/nr_nodes: {ABSENT}\n"));
            }
            // The reference prints the errno of an earlier call.
            put(err, "/proc/net/nr_neigh: Invalid argument\n");
            put(out, "NET/ROM not configured in this system.\n");
        }
        Family::Rose => {
            put(err, format!("/proc/net/rose_nodes: {ABSENT}\n"));
            put(err, "ROSE not configured in this system.\n");
        }
        Family::Ddp => {
            put(
                err,
                format!("Error opening /proc/net/atalk_route: {ABSENT}\n"),
            );
            put(err, "DDP (AppleTalk) not configured on this system.\n");
        }
        Family::X25 => put(out, "X.25 not configured in this system.\n"),
        Family::Bluetooth => {
            put(err, format!("Address family `{name}' not supported.\n"));
            return 3;
        }
        Family::Unix | Family::Econet | Family::Ash | Family::Inet | Family::Inet6 => {
            put(err, format!("No routing for address family `{name}'.\n"));
            return 3;
        }
    }
    1
}

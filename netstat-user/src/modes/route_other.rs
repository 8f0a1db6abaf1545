//! `-r` for the families that Linux no longer routes: their tables, or what is said without them.

use std::{io::Write, path::Path};

use super::report::{put, read, shown, words};
use crate::{cmdline::Family, view::route_other::OtherTable};

/// Prints a table or what the reference prints on a kernel without the family; gives the exit
/// status.
pub(super) fn run(root: &Path, family: Family, out: &mut dyn Write, err: &mut dyn Write) -> i32 {
    let name = family.name();
    let table = match family {
        Family::Ax25 => OtherTable::Ax25,
        Family::Ipx => OtherTable::Ipx,
        Family::Netrom => OtherTable::Netrom,
        Family::Rose => OtherTable::Rose,
        Family::Ddp => OtherTable::Ddp,
        Family::X25 => OtherTable::X25,
        Family::Bluetooth => {
            put(err, format!("Address family `{name}' not supported.\n"));
            return 3;
        }
        Family::Unix | Family::Econet | Family::Ash | Family::Inet | Family::Inet6 => {
            put(err, format!("No routing for address family `{name}'.\n"));
            return 3;
        }
    };
    match files(table, root, err) {
        Some([file, neighbours]) => {
            put(out, table.header());
            put(out, table.rows(&file, &neighbours));
            0
        }
        None => {
            let (to, text): (&mut dyn Write, _) = match table {
                OtherTable::Ax25 => (out, "AX.25 not configured in this system.\n"),
                OtherTable::Netrom => (out, "NET/ROM not configured in this system.\n"),
                OtherTable::Rose => (err, "ROSE not configured in this system.\n"),
                OtherTable::Ddp => (err, "DDP (AppleTalk) not configured on this system.\n"),
                OtherTable::X25 => (out, "X.25 not configured in this system.\n"),
                OtherTable::Ipx => (
                    out,
                    "IPX routing not in file /proc/net/ipx/route or /proc/net/ipx_route found.\n",
                ),
            };
            put(to, text);
            1
        }
    }
}

/// The table's file, and the one that names neighbours; `None` after the complaint that goes with it.
fn files(table: OtherTable, root: &Path, err: &mut dyn Write) -> Option<[Vec<u8>; 2]> {
    let mut wanted = |file: &str, before: &str| {
        read(root, file)
            .map_err(|error| put(err, format!("{before}{}: {}\n", shown(file), words(&error))))
            .ok()
    };
    let none = Vec::new();
    match table {
        OtherTable::Ax25 => Some([wanted("ax25_route", "")?, none]),
        OtherTable::Netrom => {
            let nodes = wanted("nr_nodes", "");
            // Without the first file the reference does not open the second, and prints the errno of
            // an earlier call.
            let Some(nodes) = nodes else {
                if !root.join("net/nr_neigh").exists() {
                    put(err, "/proc/net/nr_neigh: Invalid argument\n");
                }
                return None;
            };
            Some([nodes, wanted("nr_neigh", "")?])
        }
        // Without the second file the reference crashes.
        OtherTable::Rose => Some([wanted("rose_nodes", "")?, wanted("rose_neigh", "")?]),
        OtherTable::Ddp => Some([wanted("atalk_route", "Error opening ")?, none]),
        OtherTable::X25 => {
            let file = read(root, "x25/route").or_else(|_| read(root, "x25_routes"));
            Some([file.ok()?, none])
        }
        OtherTable::Ipx => {
            let file = read(root, "ipx/route").or_else(|_| read(root, "ipx_route"));
            match file {
                Ok(file) => Some([file, none]),
                Err(error) => {
                    put(err, format!("{}\n", words(&error)));
                    None
                }
            }
        }
    }
}

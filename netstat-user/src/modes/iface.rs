//! `-i`: network interfaces.

use std::{io::Write, path::PathBuf};

use super::report::{put, read, shown, words};
use crate::{
    proc::interfaces::Interfaces,
    view::{
        iface::{self, Counters, Inet6},
        iface_order, iface_rows,
        names::sanitized,
    },
};

/// What to print.
#[derive(Clone, Debug)]
pub struct IfaceRequest {
    /// The root of procfs.
    pub proc: PathBuf,
    /// `-a`: also interfaces that are down.
    pub all: bool,
    /// `-e`, once or more: the long form.
    pub extend: bool,
    /// Only the first round has a title.
    pub first_round: bool,
}

/// Prints one round and gives the exit status.
pub fn run(request: &IfaceRequest, out: &mut dyn Write, err: &mut dyn Write) -> i32 {
    let mut text = Vec::new();
    if request.first_round {
        text.extend_from_slice(iface_rows::TITLE.as_bytes());
    }
    if !request.extend {
        text.extend_from_slice(iface_rows::HEADER.as_bytes());
    }
    let status = rows(request, &mut text, err);
    put(out, &text);
    status
}

/// A name and its counters, if it has any.
type Listed = Vec<(Vec<u8>, Option<Counters>)>;

fn rows(request: &IfaceRequest, text: &mut Vec<u8>, err: &mut dyn Write) -> i32 {
    const UP: i16 = 0x1;
    let interfaces = match Interfaces::open() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            put(err, format!("socket: {}\n", words(&error)));
            return 1;
        }
    };
    let addresses = if request.extend {
        inet6(request)
    } else {
        Vec::new()
    };
    for (name, counters) in listed(request, &interfaces, err) {
        let Ok(mut interface) = interfaces.interface(&name) else {
            let mut text = Vec::new();
            sanitized(&mut text, &name);
            put(err, &text);
            put(
                err,
                ": error fetching interface information: Device not found\n",
            );
            put(err, "missing interface information: No such device\n");
            return 1;
        };
        if interface.flags & UP == 0 && !request.all {
            continue;
        }
        interface.counters = counters;
        if request.extend {
            interface.inet6 = addresses
                .iter()
                .filter(|addr| addr.iface == name)
                .cloned()
                .collect();
            iface_rows::block(text, &interface);
        } else {
            iface_rows::row(text, &interface);
        }
    }
    0
}

fn inet6(request: &IfaceRequest) -> Vec<Inet6> {
    read(&request.proc, "if_inet6")
        .map(|file| iface::inet6(&file))
        .unwrap_or_default()
}

/// All names, sorted.
fn listed(request: &IfaceRequest, interfaces: &Interfaces, err: &mut dyn Write) -> Listed {
    let mut listed = Listed::new();
    match read(&request.proc, "dev") {
        Ok(file) => iface::counters(&file, |name, fill| {
            let at = place(&mut listed, name);
            fill(listed[at].1.get_or_insert_default());
        }),
        Err(error) => put(
            err,
            format!(
                "Warning: cannot open {} ({}). Limited output.\n",
                shown("dev"),
                words(&error)
            ),
        ),
    }
    match interfaces.labels() {
        Ok(labels) => {
            for label in labels {
                place(&mut listed, &label);
            }
        }
        Err(error) => put(err, format!("SIOCGIFCONF: {}\n", words(&error))),
    }
    listed
}

/// Where a name is in the list; it is added if it is not there.
fn place(listed: &mut Listed, name: &[u8]) -> usize {
    match listed.binary_search_by(|(other, _)| iface_order::compare(other, name)) {
        Ok(at) => at,
        Err(at) => {
            listed.insert(at, (name.to_vec(), None));
            at
        }
    }
}

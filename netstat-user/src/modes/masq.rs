//! `-M`: masqueraded connections.

use std::{
    io::{ErrorKind, Write},
    path::PathBuf,
};

use super::report::{put, read, shown, words};
use crate::view::{Names, masq};

/// What to print.
#[derive(Clone, Debug)]
pub struct MasqRequest {
    /// The root of procfs.
    pub proc: PathBuf,
    /// `-e`, once or more.
    pub extend: bool,
    /// Addresses as numbers.
    pub numeric_hosts: bool,
    /// Ports as numbers.
    pub numeric_ports: bool,
}

/// Prints one round and gives the exit status.
pub fn run(
    request: &MasqRequest,
    names: &mut dyn Names,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> i32 {
    const FILE: &str = "ip_masquerade";
    let file = match read(&request.proc, FILE) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            put(
                err,
                format!("netstat: no support for `{FILE}' on this system.\n"),
            );
            return 1;
        }
        Err(error) => {
            put(err, format!("{}: {}\n", shown(FILE), words(&error)));
            return 255;
        }
    };
    let numeric = (request.numeric_hosts, request.numeric_ports);
    let mut text = Vec::new();
    match masq::table(&mut text, &file, request.extend, numeric, names) {
        Ok(()) => {
            put(out, &text);
            0
        }
        Err(broken) => {
            put(err, broken.message());
            255
        }
    }
}

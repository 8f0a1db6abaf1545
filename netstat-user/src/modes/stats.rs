//! `-s`: protocol counters.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use super::report::{put, read, shown, words};
use crate::{
    cmdline::Family,
    view::stats::{Report, Sections},
};

/// What to print.
#[derive(Clone, Debug)]
pub struct StatsRequest {
    /// The root of procfs.
    pub proc: PathBuf,
    /// The families in the order of the command line.
    pub families: Vec<Family>,
    /// The known sections to print.
    pub sections: Sections,
}

/// Prints the report and gives the exit status.
pub fn run(request: &StatsRequest, out: &mut dyn Write, err: &mut dyn Write) -> i32 {
    let mut text = Vec::new();
    let mut report = Report::new(&mut text, request.sections);
    let status = match request.families[..] {
        [] | [Family::Inet] => {
            inet(&request.proc, &mut report, err);
            0
        }
        [Family::Inet6] => {
            inet6(&request.proc, &mut report, err);
            0
        }
        _ => {
            let list: Vec<&str> = request
                .families
                .iter()
                .map(|family| family.name())
                .collect();
            let list = list.join(",");
            put(
                out,
                format!("netstat: No statistics support for specified address family: {list}\n"),
            );
            1
        }
    };
    put(out, &text);
    status
}

fn inet(root: &Path, report: &mut Report<'_>, err: &mut dyn Write) {
    pairs(root, "snmp", b"", report, err);
    if !root.join("net/snmp").exists() {
        return;
    }
    if root.join("net/netstat").exists() {
        pairs(root, "netstat", b"", report, err);
    }
    if let Ok(file) = read(root, "sctp/snmp") {
        report.sctp(&file);
    }
}

fn inet6(root: &Path, report: &mut Report<'_>, err: &mut dyn Write) {
    match read(root, "snmp6") {
        Ok(file) => {
            report.names(&file);
            pairs(root, "snmp", b"Tcp", report, err);
        }
        Err(error) => put(
            err,
            format!("cannot open {}: {}\n", shown("snmp6"), words(&error)),
        ),
    }
}

fn pairs(root: &Path, file: &str, prefix: &[u8], report: &mut Report<'_>, err: &mut dyn Write) {
    match read(root, file) {
        Ok(text) => {
            // In the report on IPv6 the reference ends this file without a word.
            if report.pairs(&text, prefix).is_err() && prefix.is_empty() {
                put(err, format!("Problem while parsing {}\n", shown(file)));
            }
        }
        Err(error) => put(
            err,
            format!("cannot open {}: {}\n", shown(file), words(&error)),
        ),
    }
}

//! `--netns`: the report of another network namespace, or of all.
//!
//! The main thread enters the namespace: /proc/net is the main thread's, sockets and iterators are
//! made in it, and an agent finds the rows that it shows by it.

use std::{io::Write, time::Duration};

use crate::{
    cmdline::{Mode, Options},
    names::SystemNames,
    proc::namespaces::{Found, Namespace},
};

use super::{choose, json, netstat::report, sockets};

/// Between two rounds of `-c`.
const PAUSE: Duration = Duration::from_secs(1);

/// The word for all namespaces.
const ALL: &[u8] = b"all";

/// Prints the report of the namespace that `name` means, or of all. Gives the exit status.
pub(super) fn run(
    name: &[u8],
    options: &Options,
    agent: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    if name == ALL {
        return all(options, agent, out, err);
    }
    let name = String::from_utf8_lossy(name);
    let entered = Namespace::named(&name).and_then(|namespace| namespace.enter());
    match entered {
        Ok(()) => report(options, agent, out, err),
        Err(error) => {
            complain(err, &format!("{error:#}"));
            1
        }
    }
}

fn all(options: &Options, agent: bool, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let home = match Namespace::own() {
        Ok(home) => home,
        Err(error) => {
            complain(err, &format!("/proc/thread-self/ns/net: {error}"));
            return 1;
        }
    };
    // Chosen once: its table serves every round.
    let mut source = (options.mode == Mode::Sockets)
        .then(|| choose::source(options, agent && options.json.is_none(), choose::Reach::All));
    let once = Options {
        continuous: false,
        ..options.clone()
    };
    let mut told = Vec::new();
    loop {
        let mut found = Found::all();
        found.hidden.retain(|reason| !told.contains(reason));
        for reason in &found.hidden {
            complain(err, &format!("there may be more namespaces: {reason}"));
        }
        told.append(&mut found.hidden);
        let mut worst = 0;
        let mut begun = false;
        for namespace in found.namespaces.values() {
            if let Err(error) = namespace.enter() {
                complain(err, &format!("{error:#}"));
                worst = worst.max(1);
                continue;
            }
            if options.json.is_none() {
                let between = if std::mem::replace(&mut begun, true) {
                    "\n"
                } else {
                    ""
                };
                let title = namespace.title();
                // A write error is nothing to the reference.
                let _ = writeln!(out, "{between}Network namespace {title}");
            }
            let status = match (&mut source, options.json) {
                (Some(source), Some(form)) => json::run(&mut **source, &once, form, out, err),
                (Some(source), None) => {
                    let mut names = SystemNames::default();
                    sockets::run(&mut **source, &once, &mut names, out, err)
                }
                (None, _) => report(&once, agent, out, err),
            };
            worst = worst.max(status);
        }
        if let Err(error) = home.enter() {
            complain(err, &format!("{error:#}"));
            return 1;
        }
        if !options.continuous || worst != 0 {
            return worst;
        }
        let _ = out.flush();
        match &mut source {
            Some(source) => source.pause(PAUSE),
            None => crate::clock::sleep(PAUSE),
        }
    }
}

fn complain(err: &mut dyn Write, text: &str) {
    // A write error is nothing to the reference.
    let _ = writeln!(err, "netstat-bpf: {text}");
}

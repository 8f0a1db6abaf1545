//! The drop-in netstat: a command line to its report.

use std::{
    ffi::OsString,
    io::{self, Write},
    os::unix::ffi::OsStringExt as _,
    path::Path,
};

use crate::{
    cmdline::{self, Mode, Next, Options, Surroundings},
    names::SystemNames,
};

use super::{Stdout, choose, sockets};

/// Runs a netstat command line, with argv[0] for messages. Gives the exit status.
pub fn netstat(argv0: OsString, args: impl Iterator<Item = OsString>) -> u8 {
    default_sigpipe();
    let mut out = Stdout::new();
    let mut err = io::stderr();
    let args: Vec<_> = args.map(OsString::into_vec).collect();
    let around = Surroundings {
        posixly_correct: std::env::var_os("POSIXLY_CORRECT").is_some(),
        selinux: selinux(),
    };
    let parsed = cmdline::parse(&argv0.into_vec(), &args, around);
    // A write error is nothing to the reference.
    let _ = out.write_all(&parsed.stdout);
    let _ = err.write_all(&parsed.stderr);
    let status = match parsed.next {
        Next::Exit(status) => status,
        Next::Run(options) => report(&options, &mut out, &mut err),
    };
    let _ = out.flush();
    status
}

fn report(options: &Options, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    match options.mode {
        Mode::Sockets => sockets::run(
            &mut *choose::source(options, err),
            options,
            &mut SystemNames::default(),
            out,
            err,
        ),
        Mode::Route => not_yet("-r", err),
        Mode::Interfaces => not_yet("-i", err),
        Mode::Statistics => not_yet("-s", err),
        Mode::Masquerade => not_yet("-M", err),
    }
}

fn not_yet(option: &str, err: &mut dyn Write) -> u8 {
    let _ = writeln!(err, "netstat-bpf: {option}: not yet");
    1
}

/// SELinux is enabled where its file system is mounted.
fn selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// A closed pipe ends the program, as it does the reference; Rust's runtime ignores the signal.
fn default_sigpipe() {
    // SAFETY: the default action needs no handler, and no other thread runs.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

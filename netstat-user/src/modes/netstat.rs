//! The drop-in netstat: a command line to its report.

use std::{
    ffi::OsString,
    io::Write,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::{
    cmdline::{self, Mode, Next, Options, Protocols, Surroundings},
    names::SystemNames,
    view::stats::Sections,
};

use super::{
    Stdout,
    choose::{self, Reach},
    iface::{self, IfaceRequest},
    json,
    masq::{self, MasqRequest},
    netns,
    route::{self, RouteRequest},
    sockets,
    stats::{self, StatsRequest},
};

/// Runs a netstat command line, with argv[0] for messages. Gives the exit status.
///
/// `agent`: whether an agent may be asked.
pub fn netstat(argv0: OsString, args: impl Iterator<Item = OsString>, agent: bool) -> u8 {
    default_sigpipe();
    let mut out = Stdout::new();
    let mut err = out.stderr();
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
        Next::Run(options) => match &options.netns {
            Some(name) => netns::run(name, &options, agent, &mut out, &mut err),
            None => report(&options, agent, &mut out, &mut err),
        },
    };
    let _ = out.flush();
    status
}

/// Prints what was asked for, of the network namespace that the main thread is in.
pub(super) fn report(
    options: &Options,
    agent: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let proc = PathBuf::from("/proc");
    let mut names = SystemNames::default();
    if let Some(form) = options.json {
        if let Some(refusal) = json::refusal(options) {
            let _ = writeln!(err, "netstat-bpf: {refusal}");
            return 1;
        }
        // The agent's messages carry netstat's rows, not who else holds a socket.
        let source = &mut *choose::source(options, false, Reach::Own);
        return json::run(source, options, form, out, err);
    }
    match options.mode {
        Mode::Sockets => sockets::run(
            &mut *choose::source(options, agent, Reach::Own),
            options,
            &mut names,
            out,
            err,
        ),
        Mode::Route => {
            let request = RouteRequest {
                proc,
                families: options.families.listed().to_vec(),
                extend: options.extend,
                numeric: options.numeric.hosts || options.symbolic,
                fib: options.fib,
                cache: options.cache,
            };
            rounds(options.continuous, out, |out, _| {
                route::run(&request, &mut names, out, err)
            })
        }
        Mode::Interfaces => rounds(options.continuous, out, |out, first_round| {
            let request = IfaceRequest {
                proc: proc.clone(),
                all: options.all,
                extend: options.extend > 0,
                first_round,
            };
            iface::run(&request, out, err)
        }),
        Mode::Statistics => {
            let Protocols {
                tcp,
                udp,
                raw,
                sctp,
                ..
            } = options.protocols;
            let request = StatsRequest {
                proc,
                families: options.families.listed().to_vec(),
                sections: Sections {
                    tcp,
                    udp,
                    raw,
                    sctp,
                },
            };
            exit_status(stats::run(&request, out, err))
        }
        Mode::Masquerade => {
            let request = MasqRequest {
                proc,
                extend: options.extend > 0,
                numeric_hosts: options.numeric.hosts,
                numeric_ports: options.numeric.ports,
            };
            rounds(options.continuous, out, |out, _| {
                masq::run(&request, &mut names, out, err)
            })
        }
    }
}

/// Calls `round` once, or with `-c` every second until it fails. Gives the exit status.
fn rounds(
    continuous: bool,
    out: &mut dyn Write,
    mut round: impl FnMut(&mut dyn Write, bool) -> i32,
) -> u8 {
    const PAUSE: Duration = Duration::from_secs(1);
    let mut first = true;
    loop {
        let status = round(out, first);
        if status != 0 || !continuous {
            return exit_status(status);
        }
        first = false;
        let _ = out.flush();
        thread::sleep(PAUSE);
    }
}

/// What the parent sees: the low byte.
fn exit_status(status: i32) -> u8 {
    (status & 0xff) as u8
}

/// Whether SELinux is enabled as the reference sees it: its file system is mounted writable (in
/// containers it is not), and the system has a configuration for it.
fn selinux() -> bool {
    const SELINUX_MAGIC: libc::c_long = 0xf97c_ff8c;
    let path = c"/sys/fs/selinux";
    // SAFETY: a path with its NUL, and structures of integers that the kernel fills.
    let mounted = unsafe {
        let mut kind: libc::statfs = std::mem::zeroed();
        let mut mount: libc::statvfs = std::mem::zeroed();
        libc::statfs(path.as_ptr(), &raw mut kind) == 0
            && libc::statvfs(path.as_ptr(), &raw mut mount) == 0
            && kind.f_type == SELINUX_MAGIC
            && mount.f_flag & libc::ST_RDONLY == 0
    };
    mounted && Path::new("/etc/selinux/config").exists()
}

/// A closed pipe ends the program, as it does the reference; Rust's runtime ignores the signal.
fn default_sigpipe() {
    // SAFETY: the default action needs no handler, and no other thread runs.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

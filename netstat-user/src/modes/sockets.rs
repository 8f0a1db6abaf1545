//! Lists of sockets: the sections, in netstat's order, once or every second.

use std::{
    fs::File,
    io::{self, Write},
    time::Duration,
};

use crate::{
    cmdline::{Family, Options},
    proc,
    source::{InetTable, Line, OwnerAccess, Owners, SocketSource, Want},
    view::{Contexts, Names, Screen, groups, header},
};

/// How a section, or a round of them, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionResult {
    /// The next one follows.
    Done,
    /// The program ends with this status.
    Stop(u8),
}

/// What the reference returns as -1.
const FAILED: SectionResult = SectionResult::Stop(255);
const MISSING: SectionResult = SectionResult::Stop(1);

/// Prints once, or with `-c` every second until a section fails. Gives the exit status.
pub fn run(
    source: &mut dyn SocketSource,
    options: &Options,
    names: &mut dyn Names,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    const PAUSE: Duration = Duration::from_secs(1);
    loop {
        if let SectionResult::Stop(status) = round(source, options, names, out, err) {
            return status;
        }
        if !options.continuous {
            return 0;
        }
        let _ = out.flush();
        source.pause(PAUSE);
    }
}

/// Prints every section that was asked for.
pub fn round(
    source: &mut dyn SocketSource,
    options: &Options,
    names: &mut dyn Names,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> SectionResult {
    names.begin();
    let shows_inet = !options.selected || options.protocols.any();
    let shows_unix = options.section(Family::Unix);
    let wants_owners = options.programs && (shows_inet || shows_unix);
    let wants_tcp = !options.selected || options.protocols.tcp;
    let want = Want {
        owners: wants_owners,
        timers: options.timers,
        tcp: wants_tcp && options.ipv4(),
        tcp6: wants_tcp && options.ipv6(),
    };
    if let Err(error) = source.begin(want) {
        let _ = writeln!(err, "netstat: {}", reason(&error));
        return MISSING;
    }
    if let Some(remark) = source.remark() {
        let _ = writeln!(err, "netstat-bpf: {remark}");
    }
    // Without an Internet section the reference reads the owners after the groups.
    let early = if wants_owners && shows_inet {
        load_owners(source, options, err)
    } else {
        None
    };
    let (owners, contexts) = early.unwrap_or_default();
    let mut sections = Sections {
        source,
        screen: Screen::new(options, &owners, &contexts, &mut *names),
        options,
        out,
        err,
        row: Vec::new(),
    };
    let inet = sections.inet_and_groups(shows_inet);
    if let SectionResult::Stop(_) = inet {
        return inet;
    }
    let Sections {
        source, out, err, ..
    } = sections;
    let late = if wants_owners && !shows_inet {
        load_owners(source, options, err)
    } else {
        None
    };
    let (owners, contexts) = late.unwrap_or((owners, contexts));
    let mut sections = Sections {
        source,
        screen: Screen::new(options, &owners, &contexts, names),
        options,
        out,
        err,
        row: Vec::new(),
    };
    sections.unix_and_others(shows_unix)
}

fn load_owners(
    source: &mut dyn SocketSource,
    options: &Options,
    err: &mut dyn Write,
) -> Option<(Owners, Contexts)> {
    let owners = source.owners();
    let warning = match owners.access {
        OwnerAccess::Full => String::new(),
        OwnerAccess::Partial => "(Not all processes could be identified, non-owned process info\n \
             will not be shown, you would have to be root to see it all.)\n"
            .to_owned(),
        OwnerAccess::Nothing => {
            // SAFETY: `geteuid` has no preconditions.
            let uid = unsafe { libc::geteuid() };
            format!("(No info could be read for \"-p\": geteuid()={uid} but you should be root.)\n")
        }
    };
    let _ = err.write_all(warning.as_bytes());
    let mut contexts = Contexts::new();
    if options.context {
        for (inode, owner) in &owners.by_inode {
            let pid = owner.split(|&byte| byte == b'/').next().unwrap_or_default();
            let pid = std::str::from_utf8(pid)
                .ok()
                .and_then(|pid| pid.parse().ok());
            if let Some(context) = pid.and_then(|pid| source.context(pid)) {
                contexts.insert(*inode, context);
            }
        }
    }
    Some((owners, contexts))
}

struct Sections<'a, 's> {
    source: &'a mut dyn SocketSource,
    screen: Screen<'s>,
    options: &'a Options,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    row: Vec<u8>,
}

impl Sections<'_, '_> {
    fn inet_and_groups(&mut self, shows_inet: bool) -> SectionResult {
        let options = self.options;
        let all = !options.selected;
        if shows_inet {
            header::inet(&mut self.row, options);
            self.write();
        }
        type Section<'a, 's> = fn(&mut Sections<'a, 's>) -> SectionResult;
        let sections: [(bool, Section<'_, '_>); 6] = [
            (all || options.protocols.tcp, |s| {
                s.tables("tcp", "tcp", InetTable::Tcp, InetTable::Tcp6)
            }),
            (all || options.protocols.sctp, Sections::sctp),
            (all || options.protocols.udp, |s| {
                s.tables("udp", "udp", InetTable::Udp, InetTable::Udp6)
            }),
            (all || options.protocols.udplite, |s| {
                s.tables("udplite", "udp", InetTable::UdpLite, InetTable::UdpLite6)
            }),
            (all || options.protocols.raw, |s| {
                s.tables("raw", "raw", InetTable::Raw, InetTable::Raw6)
            }),
            (options.groups, Sections::groups),
        ];
        for (shown, section) in sections {
            if shown {
                let result = section(self);
                if result != SectionResult::Done {
                    return result;
                }
            }
        }
        SectionResult::Done
    }

    fn unix_and_others(&mut self, shows_unix: bool) -> SectionResult {
        if shows_unix {
            let result = self.unix();
            if result != SectionResult::Done {
                return result;
            }
        }
        for (family, name, files) in [
            (Family::Ipx, "AF IPX", ["ipx/socket", "ipx"].as_slice()),
            (Family::Ax25, "AF AX25", &["ax25"]),
            (Family::X25, "AF X25", &["x25"]),
            (Family::Netrom, "AF NETROM", &["nr"]),
            (Family::Rose, "AF ROSE", &["rose"]),
        ] {
            if self.options.section(family) {
                let result = self.other(name, files);
                if result != SectionResult::Done {
                    return result;
                }
            }
        }
        if self.options.l2cap || self.options.rfcomm {
            self.say(
                "netstat: feature `AF BLUETOOTH' not supported.\n\
                 Please recompile `net-tools' with newer kernel source or full configuration.\n",
            );
            return MISSING;
        }
        SectionResult::Done
    }

    /// A protocol's table over IPv4, then over IPv6.
    fn tables(&mut self, file: &str, bogus: &str, v4: InetTable, v6: InetTable) -> SectionResult {
        let mut result = SectionResult::Done;
        if self.options.ipv4() {
            if let Err(error) = self.table(v4, bogus) {
                result = self.soft(&error, file, &format!("AF INET ({file})"));
                if result == FAILED {
                    return result;
                }
            }
        }
        if self.options.ipv6() {
            // A kernel without IPv6 is nothing to speak of.
            let _ = self.table(v6, bogus);
        }
        result
    }

    fn table(&mut self, table: InetTable, bogus: &str) -> io::Result<()> {
        let Self {
            source,
            screen,
            out,
            err,
            row,
            ..
        } = self;
        source.inet(table, &mut |line| match line {
            Line::Row(inet) => {
                screen.inet(row, table, &inet);
                write(*out, row);
            }
            Line::Bogus => {
                let _ = writeln!(err, "warning, got bogus {bogus} line.");
            }
        })
    }

    fn sctp(&mut self) -> SectionResult {
        let options = self.options;
        let mut result = SectionResult::Done;
        if options.all || options.listening {
            result = self.files("sctp/eps", "sctp6/eps", "AF INET (sctp)", |s, file, _| {
                let Self {
                    screen,
                    out,
                    err,
                    row,
                    ..
                } = s;
                proc::endpoints(file, &mut |line| match line {
                    Line::Row(endpoint) => {
                        screen.endpoint(row, &endpoint);
                        write(*out, row);
                    }
                    Line::Bogus => {
                        let _ = writeln!(err, "warning, got bogus sctp eps line.");
                    }
                });
            });
        }
        if result == SectionResult::Done && (options.all || !options.listening) {
            result = self.files(
                "sctp/assocs",
                "sctp6/assocs",
                "AF INET (sctp)",
                |s, file, _| {
                    let Self {
                        screen,
                        out,
                        err,
                        row,
                        ..
                    } = s;
                    proc::associations(file, &mut |line| match line {
                        Line::Row(association) => {
                            screen.association(row, &association);
                            write(*out, row);
                        }
                        Line::Bogus => {
                            let _ = writeln!(err, "warning, got bogus sctp assoc line.");
                        }
                    });
                },
            );
        }
        result
    }

    fn groups(&mut self) -> SectionResult {
        groups::header(&mut self.row);
        self.write();
        self.files("igmp", "igmp6", "AF INET (igmp)", |s, file, v6| {
            let Self {
                screen,
                out,
                err,
                row,
                ..
            } = s;
            let mut sink = |number, line| match line {
                Line::Row(group) => {
                    screen.group(row, &group);
                    write(*out, row);
                }
                Line::Bogus => {
                    let name = if v6 { "igmp6" } else { "igmp" };
                    let _ = writeln!(err, "warning, got bogus {name} line {number}.");
                }
            };
            if v6 {
                proc::groups6(file, &mut sink)
            } else {
                proc::groups4(file, &mut sink)
            }
        })
    }

    fn unix(&mut self) -> SectionResult {
        header::unix(&mut self.row, self.options);
        self.write();
        let Self {
            source,
            screen,
            out,
            err,
            row,
            ..
        } = self;
        let result = source.unix(&mut |line| match line {
            Line::Row(unix) => {
                screen.unix(row, &unix);
                write(*out, row);
            }
            Line::Bogus => {
                let _ = writeln!(err, "warning, got bogus unix line.");
            }
        });
        match result {
            Ok(()) => SectionResult::Done,
            Err(error) => self.soft(&error, "unix", "AF UNIX"),
        }
    }

    /// Tables of removed protocols: only their absence is reported.
    fn other(&mut self, name: &str, files: &[&str]) -> SectionResult {
        let mut result = SectionResult::Done;
        for file in files {
            let Err(error) = self.source.file(file) else {
                return SectionResult::Done;
            };
            if error.raw_os_error() != Some(libc::ENOENT) {
                self.say(&format!("/proc/net/{file}: {}\n", reason(&error)));
                return FAILED;
            }
            result = if self.options.selected {
                MISSING
            } else {
                SectionResult::Done
            };
        }
        if self.options.selected || self.options.verbose {
            self.say(&format!(
                "netstat: no support for `{name}' on this system.\n"
            ));
        }
        result
    }

    fn files(
        &mut self,
        v4: &str,
        v6: &str,
        name: &str,
        print: impl Fn(&mut Self, File, bool),
    ) -> SectionResult {
        let mut result = SectionResult::Done;
        if self.options.ipv4() {
            match self.source.file(v4) {
                Ok(file) => print(self, file, false),
                Err(error) => {
                    result = self.soft(&error, v4, name);
                    if result == FAILED {
                        return result;
                    }
                }
            }
        }
        if self.options.ipv6() {
            if let Ok(file) = self.source.file(v6) {
                print(self, file, true);
            }
        }
        result
    }

    /// A table that cannot be opened: a missing one ends the program only if it was named.
    fn soft(&mut self, error: &io::Error, file: &str, name: &str) -> SectionResult {
        let options = self.options;
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::EACCES) => {
                if options.unnamed_protocols {
                    return SectionResult::Done;
                }
                if options.selected || options.verbose {
                    self.say(&format!(
                        "netstat: no support for `{name}' on this system.\n"
                    ));
                }
                if options.selected {
                    MISSING
                } else {
                    SectionResult::Done
                }
            }
            _ => {
                self.say(&format!("/proc/net/{file}: {}\n", reason(error)));
                FAILED
            }
        }
    }

    fn say(&mut self, text: &str) {
        let _ = self.err.write_all(text.as_bytes());
    }

    fn write(&mut self) {
        write(self.out, &mut self.row);
    }
}

/// Write errors are nothing to the reference.
fn write(out: &mut dyn Write, row: &mut Vec<u8>) {
    let _ = out.write_all(row);
    row.clear();
}

/// The text of `strerror`.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" (os error ") {
        Some((reason, _)) => reason.to_owned(),
        None => text,
    }
}

//! The sections of a round: which tables they read, what a missing one means.

use std::{
    fs::File,
    io::{self, Write},
};

use crate::{
    cmdline::{Family, Options},
    proc,
    source::{InetTable, Line, SocketSource},
    view::{Screen, groups, header, radio},
};

use super::sockets::{SectionResult, reason};

/// What the reference returns as -1.
const FAILED: SectionResult = SectionResult::Stop(255);
const MISSING: SectionResult = SectionResult::Stop(1);

/// Rows gather to so many bytes before they are written.
const BLOCK: usize = 32 * 1024;

/// All that the sections share.
pub(super) struct Sections<'a, 's> {
    pub(super) source: &'a mut dyn SocketSource,
    pub(super) screen: Screen<'s>,
    pub(super) options: &'a Options,
    pub(super) out: &'a mut dyn Write,
    pub(super) err: &'a mut dyn Write,
    pub(super) row: Vec<u8>,
}

impl Sections<'_, '_> {
    /// The Internet header and tables, then the groups.
    pub(super) fn inet_and_groups(&mut self, shows_inet: bool) -> SectionResult {
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

    /// Unix sockets, then the families that current kernels lack.
    pub(super) fn unix_and_others(&mut self, shows_unix: bool) -> SectionResult {
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
                let result = self.other(family, name, files);
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
        let result = source.inet(table, &mut |line| match line {
            Line::Row(inet) => {
                screen.inet(row, table, &inet);
                if row.len() >= BLOCK {
                    write(*out, row);
                }
            }
            Line::Bogus => {
                write(*out, row);
                let _ = writeln!(err, "warning, got bogus {bogus} line.");
            }
        });
        write(*out, row);
        result
    }

    fn sctp(&mut self) -> SectionResult {
        const NAME: &str = "AF INET (sctp)";
        let options = self.options;
        let mut result = SectionResult::Done;
        if options.all || options.listening {
            result = self.files("sctp/eps", "sctp6/eps", NAME, |s, file, _| {
                let show =
                    |screen: &mut Screen<'_>, out: &mut Vec<u8>, row: &_| screen.endpoint(out, row);
                s.sctp_rows("eps", |sink| proc::endpoints(file, sink), show);
            });
        }
        if result == SectionResult::Done && (options.all || !options.listening) {
            result = self.files("sctp/assocs", "sctp6/assocs", NAME, |s, file, _| {
                let show = |screen: &mut Screen<'_>, out: &mut Vec<u8>, row: &_| {
                    screen.association(out, row)
                };
                s.sctp_rows("assoc", |sink| proc::associations(file, sink), show);
            });
        }
        result
    }

    fn sctp_rows<R>(
        &mut self,
        bogus: &str,
        read: impl FnOnce(&mut dyn FnMut(Line<R>)),
        show: impl Fn(&mut Screen<'_>, &mut Vec<u8>, &R),
    ) {
        let Self {
            screen,
            out,
            err,
            row,
            ..
        } = self;
        read(&mut |line| match line {
            Line::Row(found) => {
                show(screen, row, &found);
                write(*out, row);
            }
            Line::Bogus => {
                let _ = writeln!(err, "warning, got bogus sctp {bogus} line.");
            }
        });
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

    /// A table that current kernels lack, under the first of its names that there is.
    fn other(&mut self, family: Family, name: &str, files: &[&str]) -> SectionResult {
        let mut result = SectionResult::Done;
        for file in files {
            let error = match self.source.file(file) {
                Err(error) => error,
                Ok(file) => return self.radio(family, file),
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

    fn radio(&mut self, family: Family, file: File) -> SectionResult {
        let Self {
            screen,
            options,
            out,
            err,
            row,
            ..
        } = self;
        radio::header(row, family, options);
        write(*out, row);
        let mut result = SectionResult::Done;
        proc::for_each_line(file, |number, line| {
            if result != SectionResult::Done {
                return;
            }
            let user = |uid, row: &mut Vec<u8>| screen.user(row, uid);
            if let Err(complaint) = radio::row(row, family, (number, line), options, user) {
                let _ = err.write_all(complaint.as_bytes());
                result = FAILED;
            }
            write(*out, row);
        });
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

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use crate::{
        cmdline::{Next, Surroundings, parse},
        modes::sockets::round,
        names::SystemNames,
        proc::ProcSource,
    };

    use super::*;

    fn shown(args: &[&str], root: &Path, rounds: usize) -> (String, String) {
        let args: Vec<_> = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        let Next::Run(options) = parse(b"netstat", &args, Surroundings::default()).next else {
            panic!("{args:?} runs");
        };
        let mut source = ProcSource::new(root);
        let mut names = SystemNames::default();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let result = round(&mut source, &options, &mut names, &mut out, &mut err);
            assert_eq!(result, SectionResult::Done);
        }
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (text(out), text(err))
    }

    #[test]
    fn every_round_of_groups_is_as_the_first() {
        let root = tempfile::tempdir().expect("a directory");
        let net = root.path().join("net");
        fs::create_dir(&net).expect("net");
        let igmp = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
            1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n";
        fs::write(net.join("igmp"), igmp).expect("igmp");
        let igmp6 = "1    lo              ff020000000000000000000000000001     1 0000000C 0\n";
        fs::write(net.join("igmp6"), igmp6).expect("igmp6");
        let once = shown(&["-gn"], root.path(), 1);
        assert!(
            once.0
                .ends_with("lo              1      224.0.0.1\nlo              1      ff02::1\n")
        );
        assert_eq!(once.1, "");
        assert_eq!(shown(&["-gn"], root.path(), 3).0, once.0.repeat(3));
    }

    #[test]
    fn a_table_that_cannot_be_read_ends() {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(root.path().join("net/tcp")).expect("a directory for a table");
        let (out, err) = shown(&["-ant"], root.path(), 1);
        assert_eq!((out.lines().count(), err.as_str()), (2, ""));
    }
}

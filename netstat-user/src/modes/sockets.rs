//! Lists of sockets: the sections, in netstat's order, once or every second.

use std::{
    cell::RefCell,
    io::{self, Write},
    time::Duration,
};

use crate::{
    cmdline::{Family, Options},
    source::{OwnerAccess, Owners, SocketSource, Want},
    view::{Contexts, Names, Screen},
};

use super::sections::Sections;

/// How a section, or a round of them, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionResult {
    /// The next one follows.
    Done,
    /// The program ends with this status.
    Stop(u8),
}

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
    let wants_udp = !options.selected || options.protocols.udp;
    let want = Want {
        owners: wants_owners,
        timers: options.timers,
        user: options.extend > 0,
        tcp: wants_tcp && options.ipv4(),
        tcp6: wants_tcp && options.ipv6(),
        udp: wants_udp && options.ipv4(),
        udp6: wants_udp && options.ipv6(),
        unix: shows_unix,
    };
    if let Err(error) = source.begin(want) {
        let _ = writeln!(err, "netstat: {}", reason(&error));
        return SectionResult::Stop(1);
    }
    if let Some(remark) = source.remark() {
        let _ = writeln!(err, "netstat-bpf: {remark}");
    }
    if let Some(rows) = source.provisional() {
        // Held back until the rows are known to count; the answer's end is waited for meanwhile.
        let held = RefCell::new(Held {
            text: room(rows),
            said: Vec::new(),
        });
        let result = sections(
            source,
            options,
            names,
            &mut HeldOut(&held),
            &mut HeldErr(&held),
        );
        match source.settle(want) {
            Ok(true) => {
                held.into_inner().let_go(out, err);
                return result;
            }
            Ok(false) => names.begin(),
            Err(error) => {
                let _ = writeln!(err, "netstat: {}", reason(&error));
                return SectionResult::Stop(1);
            }
        }
        if let Some(remark) = source.remark() {
            let _ = writeln!(err, "netstat-bpf: {remark}");
        }
    }
    sections(source, options, names, out, err)
}

/// What a round says until it counts.
struct Held {
    text: Vec<u8>,
    /// What goes to standard error, and after how much of the text.
    said: Vec<(usize, Vec<u8>)>,
}

impl Held {
    /// Writes it in the order in which it was said. Write errors are nothing to the reference.
    fn let_go(self, out: &mut dyn Write, err: &mut dyn Write) {
        let mut gone = 0;
        for (after, said) in self.said {
            let _ = out.write_all(&self.text[gone..after]);
            let _ = err.write_all(&said);
            gone = after;
        }
        let _ = out.write_all(&self.text[gone..]);
    }
}

/// Standard output of a round that is held back.
struct HeldOut<'a>(&'a RefCell<Held>);

impl Write for HeldOut<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().text.write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard error beside a [`HeldOut`].
struct HeldErr<'a>(&'a RefCell<Held>);

impl Write for HeldErr<'_> {
    fn write(&mut self, said: &[u8]) -> io::Result<usize> {
        let mut held = self.0.borrow_mut();
        let after = held.text.len();
        held.said.push((after, said.to_vec()));
        Ok(said.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Room for the text of about so many rows. Not in large pages: to clear one takes milliseconds in a
/// guest whose host took its memory back meanwhile.
fn room(rows: usize) -> Vec<u8> {
    const ROW: usize = 112;
    const MOST: usize = 256 << 20;
    Vec::with_capacity((rows * ROW).min(MOST))
}

/// Renders a round that has begun.
fn sections(
    source: &mut dyn SocketSource,
    options: &Options,
    names: &mut dyn Names,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> SectionResult {
    let shows_inet = !options.selected || options.protocols.any();
    let shows_unix = options.section(Family::Unix);
    let wants_owners = options.programs && (shows_inet || shows_unix);
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
        for (inode, owner) in owners.by_inode.iter() {
            let pid = owner.split(|&byte| byte == b'/').next().unwrap_or_default();
            let pid = std::str::from_utf8(pid)
                .ok()
                .and_then(|pid| pid.parse().ok());
            if let Some(context) = pid.and_then(|pid| source.context(pid)) {
                contexts.insert(inode, context);
            }
        }
    }
    Some((owners, contexts))
}

/// The text of `strerror`.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" (os error ") {
        Some((reason, _)) => reason.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use expect_test::{Expect, expect};

    use crate::{
        cmdline::{Next, Surroundings, parse},
        source::{InetTable, Line},
        view::{
            names::NoNames,
            row::{InetRow, UnixRow},
        },
    };

    use super::*;

    /// A world with a bogus tcp line, one unix socket and no other table.
    struct Small {
        access: OwnerAccess,
        missing: i32,
    }

    impl SocketSource for Small {
        fn begin(&mut self, _: Want) -> io::Result<()> {
            Ok(())
        }

        fn owners(&mut self) -> Owners {
            Owners {
                access: self.access,
                ..Owners::default()
            }
        }

        fn inet(
            &mut self,
            table: InetTable,
            sink: &mut dyn FnMut(Line<InetRow>),
        ) -> io::Result<()> {
            match table {
                InetTable::Tcp => sink(Line::Bogus),
                InetTable::Tcp6 => {}
                _ => return Err(io::Error::from_raw_os_error(self.missing)),
            }
            Ok(())
        }

        fn unix(&mut self, sink: &mut dyn FnMut(Line<UnixRow>)) -> io::Result<()> {
            sink(Line::Row(UnixRow {
                refcount: 3,
                protocol: 0,
                flags: 0,
                kind: 1,
                state: 3,
                inode: Some(77),
                path: b"/run/x".to_vec(),
            }));
            Ok(())
        }

        fn file(&mut self, _: &str) -> io::Result<File> {
            Err(io::Error::from_raw_os_error(self.missing))
        }
    }

    /// Both streams and the status.
    fn check(line: &str, mut source: Small, expected: Expect) {
        let args: Vec<_> = line
            .split_whitespace()
            .map(|arg| arg.as_bytes().to_vec())
            .collect();
        let Next::Run(options) = parse(b"netstat", &args, Surroundings::default()).next else {
            panic!("{line} runs");
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = run(&mut source, &options, &mut NoNames, &mut out, &mut err);
        let (out, err) = (String::from_utf8_lossy(&out), String::from_utf8_lossy(&err));
        expected.assert_eq(&format!("{out}--\n{err}-- {status}\n"));
    }

    const FULL: Small = Small {
        access: OwnerAccess::Full,
        missing: libc::ENOENT,
    };

    #[test]
    fn a_table_that_was_named_must_be_there() {
        check(
            "-tux",
            FULL,
            expect![[r#"
                Active Internet connections (w/o servers)
                Proto Recv-Q Send-Q Local Address           Foreign Address         State      
                --
                warning, got bogus tcp line.
                netstat: no support for `AF INET (udp)' on this system.
                -- 1
            "#]],
        );
    }

    #[test]
    fn tables_that_were_not_named_may_be_missing() {
        check(
            "-4x",
            FULL,
            expect![[r#"
                Active Internet connections (w/o servers)
                Proto Recv-Q Send-Q Local Address           Foreign Address         State      
                Active UNIX domain sockets (w/o servers)
                Proto RefCnt Flags       Type       State         I-Node   Path
                unix  3      [ ]         STREAM     CONNECTED     77       /run/x
                --
                warning, got bogus tcp line.
                -- 0
            "#]],
        );
    }

    #[test]
    fn with_verbose_each_missing_table_is_told_once() {
        check(
            "-v",
            Small {
                missing: libc::EACCES,
                ..FULL
            },
            expect![[r#"
                Active Internet connections (w/o servers)
                Proto Recv-Q Send-Q Local Address           Foreign Address         State      
                Active UNIX domain sockets (w/o servers)
                Proto RefCnt Flags       Type       State         I-Node   Path
                unix  3      [ ]         STREAM     CONNECTED     77       /run/x
                --
                warning, got bogus tcp line.
                netstat: no support for `AF INET (sctp)' on this system.
                netstat: no support for `AF INET (udp)' on this system.
                netstat: no support for `AF INET (udplite)' on this system.
                netstat: no support for `AF INET (raw)' on this system.
                /proc/net/ipx/socket: Permission denied
                -- 255
            "#]],
        );
    }

    #[test]
    fn other_errors_end_the_program_even_with_c() {
        check(
            "-cgx",
            Small {
                missing: libc::ELOOP,
                ..FULL
            },
            expect![[r#"
                IPv6/IPv4 Group Memberships
                Interface       RefCnt Group
                --------------- ------ ---------------------
                --
                /proc/net/igmp: Too many levels of symbolic links
                -- 255
            "#]],
        );
    }

    #[test]
    fn processes_that_cannot_be_read_are_told_before_the_title() {
        check(
            "-xp",
            Small {
                access: OwnerAccess::Partial,
                ..FULL
            },
            expect![[r#"
                Active UNIX domain sockets (w/o servers)
                Proto RefCnt Flags       Type       State         I-Node   PID/Program name     Path
                unix  3      [ ]         STREAM     CONNECTED     77       -                    /run/x
                --
                (Not all processes could be identified, non-owned process info
                 will not be shown, you would have to be root to see it all.)
                -- 0
            "#]],
        );
    }

    #[test]
    fn bluetooth_is_never_supported() {
        check(
            "-2x",
            FULL,
            expect![[r#"
                Active UNIX domain sockets (w/o servers)
                Proto RefCnt Flags       Type       State         I-Node   Path
                unix  3      [ ]         STREAM     CONNECTED     77       /run/x
                --
                netstat: feature `AF BLUETOOTH' not supported.
                Please recompile `net-tools' with newer kernel source or full configuration.
                -- 1
            "#]],
        );
    }
}

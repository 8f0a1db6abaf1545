//! Lists of sockets as JSON, once or every second.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::Duration,
};

use rustc_hash::FxHashMap;

use crate::{
    clock,
    cmdline::{Family, JsonForm, Mode, Options},
    conn::types::Owner,
    proc::{self, Process},
    source::{Ends, Holders, InetTable, Line, SocketSource, Want},
    view::{
        inet, json,
        row::{InetRow, UnixRow},
        snapshot::{Container, Document, Head, Holder, Inet, Tail, Unix},
        unix,
    },
};

use super::sockets::reason;

/// Tables, and whether IPv6.
const TABLES: [(InetTable, bool); 8] = [
    (InetTable::Tcp, false),
    (InetTable::Tcp6, true),
    (InetTable::Udp, false),
    (InetTable::Udp6, true),
    (InetTable::UdpLite, false),
    (InetTable::UdpLite6, true),
    (InetTable::Raw, false),
    (InetTable::Raw6, true),
];

/// Why a command line has no JSON.
pub(super) fn refusal(options: &Options) -> Option<&'static str> {
    if options.mode != Mode::Sockets {
        return Some("--json and --json-lines list sockets: not with -r, -i, -s or -M");
    }
    let listed = TABLES.iter().any(|table| wanted(options, table.0, table.1));
    (!listed && !options.section(Family::Unix))
        .then_some("--json and --json-lines list tcp, udp, udplite, raw and Unix sockets only")
}

fn wanted(options: &Options, table: InetTable, v6: bool) -> bool {
    let protocols = options.protocols;
    let protocol = match table {
        InetTable::Tcp | InetTable::Tcp6 => protocols.tcp,
        InetTable::Udp | InetTable::Udp6 => protocols.udp,
        InetTable::UdpLite | InetTable::UdpLite6 => protocols.udplite,
        InetTable::Raw | InetTable::Raw6 => protocols.raw,
    };
    let family = if v6 { options.ipv6() } else { options.ipv4() };
    family && (!options.selected || protocol)
}

/// Prints once, or with `-c` every second until something fails. Gives the exit status.
pub(super) fn run(
    source: &mut dyn SocketSource,
    options: &Options,
    form: JsonForm,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    const PAUSE: Duration = Duration::from_secs(1);
    loop {
        let printed =
            round(source, options, Path::new("/proc")).and_then(|round| round.print(form, out));
        if let Err(error) = printed {
            let _ = writeln!(err, "netstat-bpf: {}", reason(&error));
            return 1;
        }
        if !options.continuous {
            return 0;
        }
        source.pause(PAUSE);
    }
}

pub(super) struct Round {
    head: Head,
    inet: Vec<Inet>,
    unix: Vec<Unix>,
}

impl Round {
    pub(super) fn print(&self, form: JsonForm, out: &mut dyn Write) -> io::Result<()> {
        let text = match form {
            JsonForm::Document => {
                let mut document = Document::begin(&self.head);
                self.inet.iter().for_each(|socket| document.push(socket));
                self.unix.iter().for_each(|socket| document.push(socket));
                document.end()
            }
            JsonForm::Lines => {
                let mut text = Vec::new();
                let end = |text: &mut Vec<u8>| text.push(b'\n');
                json::write(&mut text, &self.head);
                end(&mut text);
                for socket in &self.inet {
                    json::write(&mut text, socket);
                    end(&mut text);
                }
                for socket in &self.unix {
                    json::write(&mut text, socket);
                    end(&mut text);
                }
                let tail = Tail {
                    event: "end".to_owned(),
                    sockets: (self.inet.len() + self.unix.len()) as u64,
                };
                json::write(&mut text, &tail);
                end(&mut text);
                text
            }
        };
        out.write_all(&text)?;
        out.flush()
    }
}

/// One snapshot; `proc` is where processes are read.
pub(super) fn round(
    source: &mut dyn SocketSource,
    options: &Options,
    proc: &Path,
) -> io::Result<Round> {
    let shows = |table| wanted(options, table, false) || wanted(options, table, true);
    source.begin(Want {
        owners: true,
        timers: true,
        user: true,
        tcp: shows(InetTable::Tcp) && options.ipv4(),
        tcp6: shows(InetTable::Tcp) && options.ipv6(),
        udp: shows(InetTable::Udp) && options.ipv4(),
        udp6: shows(InetTable::Udp) && options.ipv6(),
        unix: options.section(Family::Unix),
    })?;
    let holders = source.holders();
    let facts = source.facts();
    let netns = own_netns()?;
    let mut gather = Gather {
        head: Head::new(clock::wall_ns(), netns, &source.standing(), holders.access),
        holders,
        proc,
        processes: FxHashMap::default(),
    };
    let mut sockets = Vec::new();
    for (table, v6) in TABLES {
        if !wanted(options, table, v6) {
            continue;
        }
        let mut rows: Vec<InetRow> = Vec::new();
        read(source.inet(table, &mut |line| {
            if let Line::Row(row) = line {
                rows.push(row);
            }
        }))?;
        rows.retain(|row| inet::shown(options, table, row));
        for row in rows {
            let fact = facts.get(&Ends::of(table, &row)).copied().flatten();
            let fact = fact.and_then(|fact| fact.in_state(row.state));
            let program = fact.and_then(|fact| fact.last_owner);
            let program = program.and_then(Gather::program);
            let held = gather.held(row.inode);
            sockets.push(Inet::new(netns, table, &row, fact.as_ref(), held, program));
        }
    }
    let mut unix_sockets = Vec::new();
    if options.section(Family::Unix) {
        let mut rows: Vec<UnixRow> = Vec::new();
        read(source.unix(&mut |line| {
            if let Line::Row(row) = line {
                rows.push(row);
            }
        }))?;
        rows.retain(|row| unix::shown(options, row));
        for row in rows {
            let held = gather.held(row.inode.unwrap_or(0));
            unix_sockets.push(Unix::new(netns, &row, held));
        }
    }
    Ok(Round {
        head: gather.head,
        inet: sockets,
        unix: unix_sockets,
    })
}

/// A kernel without a protocol has no sockets of it.
fn read(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

struct Gather<'a> {
    head: Head,
    proc: &'a Path,
    holders: Holders,
    processes: FxHashMap<u32, Process>,
}

impl Gather<'_> {
    fn process(&mut self, pid: u32) -> &Process {
        let known = self.processes.entry(pid);
        known.or_insert_with(|| proc::process(self.proc, pid))
    }

    fn held(&mut self, inode: u64) -> Vec<Holder> {
        if inode == 0 {
            return Vec::new();
        }
        let pids = self.holders.by_inode.get(&inode).cloned();
        let text = |bytes: &Vec<u8>| json::text(bytes).into_owned();
        let holder = |pid| {
            let process = self.process(pid);
            Holder {
                pid,
                program: process.program.as_ref().map(text),
                comm: process.comm.as_ref().map(text),
                cgroup: process.cgroup.path.as_ref().map(text),
                container: process
                    .cgroup
                    .container
                    .as_ref()
                    .map(|container| Container {
                        runtime: container.runtime.map(str::to_owned),
                        id: container.id.clone(),
                        pod: container.pod.clone(),
                    }),
            }
        };
        pids.unwrap_or_default().into_iter().map(holder).collect()
    }

    /// The name that the kernel saw: by now the process id may be another's.
    fn program(owner: Owner) -> Option<String> {
        let end = owner.comm.iter().position(|byte| *byte == 0);
        let comm = &owner.comm[..end.unwrap_or(owner.comm.len())];
        (!comm.is_empty()).then(|| json::text(comm).into_owned())
    }
}

fn own_netns() -> io::Result<u32> {
    let inode = fs::metadata("/proc/thread-self/ns/net")?.ino();
    u32::try_from(inode).map_err(io::Error::other)
}

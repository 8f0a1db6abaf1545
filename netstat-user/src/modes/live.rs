//! [`SocketSource`] over the live table; what the table does not carry comes from /proc.

use std::{
    fs::{self, File},
    io,
    path::Path,
    time::Duration,
};

use anyhow::Result;
use rustc_hash::FxHashMap;

use crate::{
    clock,
    kernel::{
        health::Doubt,
        object::Purpose,
        refresh::With,
        session::{News, SeedFrom, Session},
    },
    proc::{ProcSource, program},
    source::{
        Ends, Fact, Holders, InetTable, Line, OwnerAccess, Owners, SocketSource, Standing, Trust,
        Want,
    },
    view::{
        by_inode::{ByInode, NameId},
        row::{InetRow, UnixRow},
    },
};

use super::live_rows::{AF_INET6, inet_row, udp_row, unix_row};

/// `TCP_LISTEN`.
const LISTEN: i32 = 10;

/// The live table as a source of rows.
pub struct LiveSource {
    session: Session,
    proc: ProcSource,
    tcp: Vec<InetRow>,
    tcp6: Vec<InetRow>,
    /// `None`: read from /proc.
    udp: Option<[Vec<InetRow>; 2]>,
    unix: Option<Vec<UnixRow>>,
    /// Inode and process id, ascending.
    holders: Vec<(u64, u32)>,
    /// Whether the kernel can list UDP and Unix sockets.
    lists: bool,
    tick_ns: u64,
    remark: Option<String>,
    purpose: Purpose,
    /// Healings that a remark has told of.
    told_healings: u64,
    told_lost: u64,
    /// Whether a remark has told of the SYN flood that goes on.
    told_flood: bool,
}

impl LiveSource {
    /// Starts tracing.
    ///
    /// # Errors
    /// What this kernel or this user lacks.
    pub fn start(purpose: Purpose) -> Result<Self> {
        Ok(Self {
            session: Session::start(purpose, SeedFrom::Kernel, false)?,
            proc: ProcSource::default(),
            tcp: Vec::new(),
            tcp6: Vec::new(),
            udp: None,
            unix: None,
            lists: true,
            holders: Vec::new(),
            tick_ns: clock::tick_ns(),
            remark: None,
            purpose,
            told_healings: 0,
            told_lost: 0,
            told_flood: false,
        })
    }

    /// Whether the table has the sockets of all network namespaces.
    #[must_use]
    pub fn knows_all_namespaces(&self) -> bool {
        self.session.knows(0)
    }

    fn snapshot(&mut self, want: Want) -> Result<()> {
        let mut news = News::default();
        self.session.follow_thread()?;
        self.session.drain(&mut news)?;
        // A loss may have been found between two rounds.
        let health = self.session.health();
        let lost = health.lost.of_sockets();
        // A kernel that withholds events goes on doing so: that is said once.
        let untold = lost > self.told_lost || self.told_healings == 0;
        if health.healings != self.told_healings && untold {
            self.told_healings = health.healings;
            self.told_lost = lost;
            self.remark = Some(format!(
                "{lost} events lost and {} changes unseen since the start; \
                 the table was checked against the kernel",
                health.gaps.all
            ));
        }
        let flood = health.in_doubt == Some(Doubt::HalfOpen);
        if flood && !self.told_flood && self.remark.is_none() {
            self.told_flood = true;
            self.remark = Some(
                "SYN flood: events of half-open connections are kept out; their rows are read from \
                 the kernel's tables"
                    .to_owned(),
            );
        }
        self.told_flood &= flood;
        self.tcp.clear();
        self.tcp6.clear();
        if want.tcp || want.tcp6 {
            let Self {
                session,
                tcp,
                tcp6,
                tick_ns,
                ..
            } = self;
            let with = With {
                timers: want.timers,
                user: want.user,
            };
            session.rows(with, |row| {
                let table = if row.family == AF_INET6 {
                    &mut *tcp6
                } else {
                    &mut *tcp
                };
                table.push(inet_row(row, *tick_ns));
            })?;
            // Stable: within the two groups the order of the table stays.
            tcp.sort_by_key(|row| row.state != LISTEN);
            tcp6.sort_by_key(|row| row.state != LISTEN);
        }
        if let Err(error) = self.lists(want) {
            self.lists = false;
            self.remark = Some(format!(
                "UDP and Unix sockets are read from /proc: {error:#}"
            ));
        }
        if want.owners {
            self.holders = self.session.holders(&mut news)?;
        }
        Ok(())
    }
}

impl LiveSource {
    fn lists(&mut self, want: Want) -> Result<()> {
        (self.udp, self.unix) = (None, None);
        if !self.lists {
            return Ok(());
        }
        if want.udp || want.udp6 {
            let socks = self.session.udp()?;
            let table = |v6| {
                let of_family = socks.iter().filter(|sock| (sock.family == AF_INET6) == v6);
                of_family.map(udp_row).collect()
            };
            self.udp = Some([table(false), table(true)]);
        }
        if want.unix {
            self.unix = Some(self.session.unix()?.iter().map(unix_row).collect());
        }
        Ok(())
    }
}

/// Names owners: of each inode the first process whose command line can be read. Ascending, that is
/// the lowest, as netstat finds it.
#[derive(Default)]
pub(super) struct Naming {
    programs: FxHashMap<u32, Option<NameId>>,
    by_inode: ByInode,
    /// Neighbours mostly belong to one process.
    last: Option<(u32, Option<NameId>)>,
}

impl Naming {
    pub(super) fn add(&mut self, inode: u64, pid: u32) {
        let by_inode = &mut self.by_inode;
        let name = match self.last {
            Some((same, name)) if same == pid => name,
            _ => *self.programs.entry(pid).or_insert_with(|| {
                let name = program(Path::new("/proc"), pid).ok()?;
                Some(by_inode.name(name.into()))
            }),
        };
        self.last = Some((pid, name));
        if let Some(name) = name {
            by_inode.insert(inode, name);
        }
    }

    pub(super) fn owners(self) -> Owners {
        Owners {
            by_inode: self.by_inode,
            access: OwnerAccess::Full,
        }
    }
}

/// Whether /proc shows the processes of our own PID namespace: process ids from the kernel then
/// mean the same there.
#[must_use]
pub fn proc_is_ours() -> bool {
    let status = fs::read("/proc/self/status").unwrap_or_default();
    is_innermost(&status)
}

/// Whether a process of that status has one id only from the namespace of /proc on inwards. Its
/// number alone proves nothing: it may be the same in two namespaces.
fn is_innermost(status: &[u8]) -> bool {
    let mut lines = status.split(|byte| *byte == b'\n');
    let ids = lines.find_map(|line| line.strip_prefix(b"NSpid:"));
    ids.is_some_and(|ids| {
        ids.split(u8::is_ascii_whitespace)
            .filter(|id| !id.is_empty())
            .count()
            == 1
    })
}

impl SocketSource for LiveSource {
    fn begin(&mut self, want: Want) -> io::Result<()> {
        self.snapshot(want).map_err(io::Error::other)
    }

    fn owners(&mut self) -> Owners {
        let mut naming = Naming::default();
        for (inode, pid) in &self.holders {
            naming.add(*inode, *pid);
        }
        naming.owners()
    }

    fn inet(&mut self, table: InetTable, sink: &mut dyn FnMut(Line<InetRow>)) -> io::Result<()> {
        let rows = match table {
            InetTable::Tcp => &mut self.tcp,
            InetTable::Tcp6 => &mut self.tcp6,
            InetTable::Udp | InetTable::Udp6 => match &mut self.udp {
                Some([udp, udp6]) => {
                    if table == InetTable::Udp6 {
                        udp6
                    } else {
                        udp
                    }
                }
                None => return self.proc.inet(table, sink),
            },
            other => return self.proc.inet(other, sink),
        };
        for row in rows.drain(..) {
            sink(Line::Row(row));
        }
        Ok(())
    }

    fn unix(&mut self, sink: &mut dyn FnMut(Line<UnixRow>)) -> io::Result<()> {
        let Some(rows) = self.unix.take() else {
            return self.proc.unix(sink);
        };
        for row in rows {
            sink(Line::Row(row));
        }
        Ok(())
    }

    fn file(&mut self, name: &str) -> io::Result<File> {
        self.proc.file(name)
    }

    /// Keeps the ring from filling while nobody looks.
    fn pause(&mut self, time: Duration) {
        const POLL: Duration = Duration::from_millis(20);
        let begin = clock::now();
        let mut news = News::default();
        // As below.
        let _ = self.session.follow_thread();
        while let Some(left) = time
            .checked_sub(begin.elapsed())
            .filter(|left| !left.is_zero())
        {
            self.session.wait(left);
            let left = time.saturating_sub(begin.elapsed());
            clock::sleep(POLL.min(left));
            // A failure here shows again at the next round, which can report it.
            let _ = self.session.drain(&mut news);
            news.changes.clear();
        }
    }

    fn holders(&mut self) -> Holders {
        let mut by_inode: FxHashMap<u64, Vec<u32>> = FxHashMap::default();
        for (inode, pid) in &self.holders {
            by_inode.entry(*inode).or_default().push(*pid);
        }
        Holders {
            by_inode,
            access: OwnerAccess::Full,
        }
    }

    fn facts(&mut self) -> FxHashMap<Ends, Option<Fact>> {
        let mut facts = FxHashMap::default();
        if self.purpose == Purpose::Snapshot {
            return facts;
        }
        let now = clock::ktime();
        let netns = self.session.netns;
        let listed = self.session.table.listed();
        for conn in listed.filter(|conn| conn.netns == netns) {
            let fact = Fact {
                state: conn.state.number(),
                in_state_ns: conn.since.map(|since| now.since(since)),
                direction: conn.direction,
                last_owner: conn.owner,
            };
            let ends = facts.entry(Ends::of_conn(conn));
            ends.and_modify(|fact| *fact = None).or_insert(Some(fact));
        }
        facts
    }

    fn standing(&mut self) -> Standing {
        if self.purpose == Purpose::Snapshot {
            return Standing {
                source: "kernel",
                trust: None,
            };
        }
        let health = self.session.health();
        Standing {
            source: "events",
            trust: Some(Trust {
                exact_since_ns: health.exact_since.wall_ns,
                // Of what is newest, these rows are no table's: they were looked for.
                in_doubt: health.in_doubt.is_some_and(|doubt| doubt != Doubt::Newest),
                lost: health.lost.of_sockets(),
                healings: health.healings,
                mismatches: health.mismatches,
            }),
        }
    }

    fn remark(&mut self) -> Option<String> {
        self.remark.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_status_is_read(text: Vec<u8>, ids in "[0-9\t ]{0,20}") {
            let _ = is_innermost(&text);
            let line = format!("NSpid:{ids}\n");
            let one = ids.split_ascii_whitespace().count() == 1;
            proptest::prop_assert_eq!(is_innermost(line.as_bytes()), one);
        }
    }

    #[test]
    fn a_process_with_two_ids_is_seen_from_outside() {
        assert!(is_innermost(b"Name:\tx\nNSpid:\t12\nNSpgid:\t1\t2\n"));
        assert!(!is_innermost(b"Name:\tx\nNSpid:\t12\t12\n"));
        // A name cannot begin a line: the kernel escapes its line breaks.
        for unknown in [b"".as_slice(), b"NSpid:", b"NSpid:\n", b"Name:\tNSpid: 1\n"] {
            assert!(!is_innermost(unknown), "{unknown:?}");
        }
    }
}

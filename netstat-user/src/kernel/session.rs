//! One running tracer: the loaded object, its ring, and the table fed from it.
//!
//! The order at the start is what makes the table exact: attach first, then let the iterator write
//! the sockets that exist into the same ring, then drain. The ring is a total order over all CPUs,
//! so a socket that closes after the iterator saw it is taken out again by its own event.

use std::{
    io::Read as _,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya_log::EbpfLogger;
use netstat_common::{
    event::ProcEvent,
    listed::{UdpSock, UnixSock},
    names,
    row::{ROW_GONE, SockRow},
};

use crate::{
    clock,
    conn::{
        table::ConnTable,
        types::{Change, Conn, Owner, Provenance, SockId},
    },
    proc,
};

use super::{
    hooks::{self, Hook},
    listed::Lists,
    object::{Counters, Handlers, Object, Purpose},
    record::{Record, decode},
    refresh::Refresh,
    ring::Ring,
};

/// What a drain found besides the table's own changes.
#[derive(Default)]
pub struct News {
    /// Changes of the table, in the order of the events.
    pub changes: Vec<Change>,
    /// Events about processes.
    pub processes: Vec<ProcEvent>,
    /// Records that could not be decoded: a defect, counted and never silent.
    pub undecoded: u64,
}

/// Where the sockets of before our time come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedFrom {
    /// The kernel's iterators; /proc where the kernel has none and the log is wanted.
    Kernel,
    /// /proc, whatever the kernel has.
    Proc,
}

/// A running tracer.
pub struct Session {
    object: Object,
    ring: Ring,
    /// `None` where the kernel cannot loop in a program (before 5.17), or /proc was asked for.
    refresh: Option<Refresh>,
    /// Loaded when first asked for.
    lists: Option<Lists>,
    /// The table.
    pub table: ConnTable,
    /// What is attached, and what is not and why.
    pub hooks: Vec<Hook>,
    /// Inode number of our network namespace.
    pub netns: u32,
    /// Socket events taken in.
    pub events: u64,
    /// Times that the table was checked against the kernel because events had been lost.
    pub healings: u64,
    sleeping: super::map::Mapped<u64, true>,
    seen: Counters,
    pid_of_inode: Vec<(u64, u32)>,
    /// Reads what the programs log, where that was asked for.
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
}

impl Session {
    /// Loads, attaches and seeds.
    ///
    /// The log does with less than a table: on a kernel without iterators (before 5.9) or
    /// `bpf_loop` (before 5.17) it is seeded from /proc.
    ///
    /// # Errors
    /// Says what this kernel or this user lacks.
    pub fn start(purpose: Purpose, from: SeedFrom, debug: bool) -> Result<Self> {
        let handlers = match purpose {
            Purpose::Snapshot => Handlers::default(),
            Purpose::Table | Purpose::Log => hooks::handlers()?,
        };
        let mut object = Object::new(purpose, handlers, debug)?;
        let ring = object
            .ebpf
            .take_map(names::EVENTS)
            .context("no map EVENTS")?;
        let ring = Ring::new(ring)?;
        let readers = match from {
            SeedFrom::Kernel => load_readers(&mut object).map(Some),
            SeedFrom::Proc => Ok(None),
        };
        let refresh = match readers {
            Err(_) if purpose == Purpose::Log => None,
            readers => readers?,
        };
        // SAFETY: one word, which the programs read and write as a whole.
        let sleeping = unsafe { object.map_memory(names::CONTROL, 1)? };
        let hooks = hooks::attach(&mut object, purpose)?;
        let logger = if debug {
            Some(EbpfLogger::init(&mut object.ebpf).context("read the BPF programs' log")?)
        } else {
            None
        };
        let mut session = Self {
            object,
            ring,
            refresh,
            lists: None,
            table: ConnTable::default(),
            hooks,
            netns: own_netns()?,
            events: 0,
            healings: 0,
            sleeping,
            seen: Counters::default(),
            pid_of_inode: Vec::new(),
            logger,
        };
        let mut news = News::default();
        session.seed(&mut news)?;
        Ok(session)
    }

    /// Takes in everything that happened before the call.
    ///
    /// # Errors
    /// bpf(2), while healing after a loss.
    pub fn drain(&mut self, news: &mut News) -> Result<()> {
        self.take(news);
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        self.table.expire(clock::ktime(), &mut news.changes);
        let counters = self.object.counters()?;
        if counters.lost() > self.seen.lost() {
            self.heal(news)?;
            // Losses during the healing are found the next time.
            self.seen = counters;
        }
        Ok(())
    }

    fn take(&mut self, news: &mut News) {
        let Self {
            ring,
            table,
            events,
            pid_of_inode,
            ..
        } = self;
        ring.drain(|bytes| match decode(bytes) {
            Some(Record::Sock(event)) => {
                *events += 1;
                table.apply(&event, &mut news.changes);
            }
            Some(Record::End(event)) => table.apply_end(&event),
            Some(Record::Proc(event)) => news.processes.push(event),
            Some(Record::Seed(skaddr)) => table.seed(skaddr),
            Some(Record::Fds(chunk)) => {
                let held = chunk.inodes.iter().filter(|inode| **inode != 0);
                pid_of_inode.extend(held.map(|inode| (*inode, chunk.pid)));
            }
            None => news.undecoded += 1,
        });
    }

    /// Adds the sockets of our namespace that the table lacks, and completes them.
    fn seed(&mut self, news: &mut News) -> Result<()> {
        if self.refresh.is_none() {
            return self.seed_from_proc();
        }
        self.iterate("iter_tcp", news)?;
        let bare = self.table.bare();
        let Self {
            object,
            refresh: Some(refresh),
            table,
            ..
        } = self
        else {
            return Ok(());
        };
        refresh.read(object, &bare, |index, row| table.seed_row(bare[index], row))
    }

    /// What /proc lists and no event has told.
    fn seed_from_proc(&mut self) -> Result<()> {
        let seeds = proc::tcp_sockets(self.netns)?;
        let owners = proc::owners(Path::new("/proc")).by_inode;
        for seed in seeds {
            let text = owners.get(&seed.inode).filter(|_| seed.inode != 0);
            let owner = text.and_then(|text| proc::pid_of(text)).map(|pid| Owner {
                pid,
                comm: [0; 16],
                provenance: Provenance::Seeded,
            });
            self.table.seed_proc(Conn { owner, ..seed.conn });
        }
        Ok(())
    }

    /// Makes the table right after a loss: drops what is gone, adds what is missing.
    fn heal(&mut self, news: &mut News) -> Result<()> {
        self.healings += 1;
        let known = self.table.held();
        let state = |table: &ConnTable, skaddr| table.get(SockId::Kernel(skaddr)).map(|c| c.state);
        let Self {
            object,
            refresh: Some(refresh),
            table,
            ..
        } = self
        else {
            return Ok(());
        };
        let mut read = Vec::with_capacity(known.len());
        refresh.read(object, &known, |index, row| {
            read.push((known[index], state(table, known[index]), *row));
        })?;
        // What an event in the ring tells is told by that event, and is newer than the table was.
        self.take(news);
        let now = clock::ktime();
        for (skaddr, before, row) in read {
            if state(&self.table, skaddr) != before {
                continue;
            }
            if row.kind == ROW_GONE {
                self.table.forget(skaddr, now, &mut news.changes);
            } else {
                self.table.correct(skaddr, &row, now, &mut news.changes);
            }
        }
        self.seed(news)
    }

    /// Runs an iterator to its end, emptying the ring each time that it fills.
    fn iterate(&mut self, program: &str, news: &mut News) -> Result<()> {
        let mut file = self.object.iterate(program)?;
        let mut nothing = [0; 64];
        loop {
            let read = file.read(&mut nothing);
            self.take(news);
            match read {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // The ring was full; the kernel hands over the same object again.
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).with_context(|| format!("read {program}")),
            }
        }
    }

    /// Reads the live rows of our namespace.
    ///
    /// # Errors
    /// bpf(2).
    pub fn rows(&mut self, mut sink: impl FnMut(&SockRow)) -> Result<()> {
        let netns = self.netns;
        let ours = self.table.listed().filter(|conn| conn.netns == netns);
        let sockets: Vec<u64> = ours.filter_map(|conn| conn.id.kernel()).collect();
        let Self {
            object, refresh, ..
        } = self;
        let refresh = refresh
            .as_mut()
            .context("the refresh program is not loaded")?;
        refresh.read(object, &sockets, |_, row| {
            if row.kind != ROW_GONE && row.netns == netns {
                sink(row);
            }
        })
    }

    /// The UDP sockets of our namespace, now.
    ///
    /// # Errors
    /// The kernel cannot list them, or bpf(2).
    pub fn udp(&mut self) -> Result<Vec<UdpSock>> {
        let (lists, object) = self.lists()?;
        lists.udp(object)
    }

    /// The Unix sockets of our namespace, now.
    ///
    /// # Errors
    /// As [`Session::udp`].
    pub fn unix(&mut self) -> Result<Vec<UnixSock>> {
        let (lists, object) = self.lists()?;
        lists.unix(object)
    }

    fn lists(&mut self) -> Result<(&mut Lists, &mut Object)> {
        let Self { object, lists, .. } = self;
        let lists = match lists {
            Some(lists) => lists,
            none => none.insert(Lists::new(object)?),
        };
        Ok((lists, object))
    }

    /// Which processes have which sockets open: inode and process id, ascending.
    ///
    /// # Errors
    /// bpf(2).
    pub fn holders(&mut self, news: &mut News) -> Result<Vec<(u64, u32)>> {
        self.pid_of_inode.clear();
        if self.refresh.is_some() {
            self.iterate("iter_fds", news)?;
        }
        let mut holders = std::mem::take(&mut self.pid_of_inode);
        holders.sort_unstable();
        holders.dedup();
        Ok(holders)
    }

    /// The inode of each of these sockets that is listed; 0 where it has none.
    ///
    /// # Errors
    /// bpf(2).
    pub fn inodes(&mut self, sockets: &[u64]) -> Result<Vec<(u64, u64)>> {
        let mut found = Vec::new();
        let Self {
            object,
            refresh: Some(refresh),
            ..
        } = self
        else {
            return Ok(found);
        };
        refresh.read(object, sockets, |index, row| {
            if row.kind != ROW_GONE {
                found.push((sockets[index], row.inode));
            }
        })?;
        Ok(found)
    }

    /// Looks at the minisocks that may have changed without an event.
    ///
    /// # Errors
    /// bpf(2).
    pub fn look_at_half_closed(&mut self, changes: &mut Vec<Change>) -> Result<()> {
        let waiting = self.table.half_closed();
        if waiting.is_empty() {
            return Ok(());
        }
        let now = clock::ktime();
        let Self {
            object,
            refresh: Some(refresh),
            table,
            ..
        } = self
        else {
            return Ok(());
        };
        refresh.read(object, &waiting, |index, row| {
            table.observe(waiting[index], row, now, changes);
        })
    }

    /// Counters of the BPF programs.
    ///
    /// # Errors
    /// bpf(2).
    pub fn counters(&self) -> Result<Counters> {
        self.object.counters()
    }

    /// How often each program was skipped because it was active on its CPU.
    pub fn recursion_misses(&self, program: &str) -> Option<u64> {
        self.object.recursion_misses(program)
    }

    /// Waits until there is something to drain, or `at_most` is over.
    ///
    /// The programs wake us only if we have said that we sleep, so that a busy ring costs no
    /// wake-ups.
    pub fn wait(&mut self, at_most: Duration) {
        self.announce_sleep(true);
        if !self.ring.has_more() {
            let mut poll = libc::pollfd {
                fd: self.ring.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            let ms = i32::try_from(at_most.as_millis()).unwrap_or(i32::MAX);
            // SAFETY: one valid pollfd.
            unsafe { libc::poll(&raw mut poll, 1, ms) };
        }
        self.announce_sleep(false);
    }

    /// Tells the programs whether a wake-up is wanted.
    pub fn announce_sleep(&mut self, asleep: bool) {
        if let Some(word) = self.sleeping.get_mut().first_mut() {
            // SAFETY: a valid, aligned word; volatile, since BPF programs write it too.
            unsafe { (&raw mut *word).write_volatile(u64::from(asleep)) };
            std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        }
    }

    /// Whether a record waits.
    pub fn has_more(&self) -> bool {
        self.ring.has_more()
    }
}

impl std::os::fd::AsFd for Session {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// Loads what reads sockets and descriptors of before our time.
fn load_readers(object: &mut Object) -> Result<Refresh> {
    let refresh = Refresh::new(object)?;
    object.load_iter("iter_tcp", "tcp")?;
    object.load_iter("iter_fds", "task")?;
    Ok(refresh)
}

/// Inode number of the caller's network namespace.
fn own_netns() -> Result<u32> {
    let path = "/proc/thread-self/ns/net";
    let inode = std::fs::metadata(path)
        .with_context(|| format!("read {path}"))?
        .ino();
    u32::try_from(inode).with_context(|| format!("{path} has inode {inode}"))
}

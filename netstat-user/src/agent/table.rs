//! The table thread: keeps the ring empty, and makes snapshots for whoever waits.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::ErrorKind,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
    sync::{Arc, mpsc::Sender},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use netstat_common::row::{ROW_GONE, SockRow};
use zerocopy::little_endian::{U16, U32, U64};

use crate::{
    clock,
    conn::{tally::Tally, types::Ktime},
    kernel::{
        health::Doubt,
        refresh::With,
        session::{News, Session},
    },
    proto::{
        reply::{End, Head, Holder, Row, SEES_HOLDERS},
        status::{Clients, Hook, Losses, Process, Program, Status},
    },
    view::metrics::Listener,
};

use super::{
    lifecycle::Signals,
    log::Feeds,
    notify::Notify,
    shared::{Block, Budget, Inbox, Job, Part, SnapshotJob},
};

/// `AF_INET6`.
pub(super) const AF_INET6: u16 = 10;
/// Nanoseconds of a USER_HZ tick.
const USER_TICK_NS: u64 = 10_000_000;
/// Rows or holders in a part. A refresh reads as many at a time: the client gets the first while
/// the next are read.
pub(super) const PART: usize = 1024;
/// The longest sleep: a loss is found after it at the latest.
const IDLE: Duration = Duration::from_secs(1);
/// How long events gather before they are taken in while nobody asks.
const GATHER: Duration = Duration::from_millis(20);
/// Room for so many changes is kept from one drain to the next: made anew, each page of it would fault.
const ROOM: usize = 8192;

/// The table thread's own.
pub struct Table {
    pub(super) session: Session,
    inbox: Inbox,
    pub(super) budget: Budget,
    pub(super) tick_ns: u64,
    started: Ktime,
    holders_before: usize,
    drain_errors: u64,
    pub(super) tally: Tally,
    feeds: Feeds,
    /// Empty between two drains.
    news: News,
    /// Listeners that the metrics show by themselves.
    pub(super) shown: BTreeSet<Listener>,
}

/// Why [`Table::wait`] came back.
enum Woken {
    /// There may be jobs or events.
    Work,
    /// A signal asks for the end.
    Stop,
}

impl Table {
    /// A table around a session that has been seeded.
    #[must_use]
    pub fn new(session: Session, inbox: Inbox, budget: Budget) -> Self {
        let now = clock::ktime();
        Self {
            session,
            inbox,
            budget,
            tick_ns: clock::tick_ns(),
            started: now,
            holders_before: 0,
            drain_errors: 0,
            tally: Tally::default(),
            feeds: Feeds::new(),
            news: News::default(),
            shown: BTreeSet::new(),
        }
    }

    /// Works until a signal asks for the end.
    ///
    /// # Errors
    /// poll(2).
    pub fn run(&mut self, signals: &Signals, notify: &Notify) -> Result<()> {
        let mut alive_at = clock::now();
        loop {
            if let Some(every) = notify.every()
                && clock::now() >= alive_at
            {
                notify.alive();
                alive_at = clock::now() + every;
            }
            if matches!(self.wait(signals, alive_at, notify.every())?, Woken::Stop) {
                return Ok(());
            }
            self.inbox.bell.hush();
            // In this order: whoever has asked sees all that had happened by then.
            let jobs: Vec<_> = self.inbox.queue.try_iter().collect();
            self.drain();
            self.work(jobs);
            if self.feeds.turn(&mut self.session).is_err() {
                self.drain_errors += 1;
            }
        }
    }

    /// Sleeps until a job, a signal, or events and the time in which they gather.
    fn wait(
        &mut self,
        signals: &Signals,
        alive_at: Instant,
        watchdog: Option<Duration>,
    ) -> Result<Woken> {
        let idle = match watchdog {
            Some(_) => IDLE.min(alive_at.saturating_duration_since(clock::now())),
            None => IDLE,
        };
        let (idle, gather) = match self.feeds.patience(&self.session) {
            Some((at_most, gather)) => (idle.min(at_most), gather),
            None => (idle, GATHER),
        };
        let idle = self.session.rest_in().map_or(idle, |rest| idle.min(rest));
        self.session.announce_sleep(true);
        let ready = if self.session.has_more() {
            Ok([false; 3])
        } else {
            let files = [
                self.session.as_fd(),
                self.inbox.bell.as_fd(),
                signals.as_fd(),
            ];
            poll(files, idle)
        };
        self.session.announce_sleep(false);
        let [_, job, signal] = ready?;
        if signal {
            return Ok(Woken::Stop);
        }
        if !job && self.session.has_more() {
            // Only jobs and signals end this: the ring has room for much longer.
            let bell = self.inbox.bell.as_fd();
            let [_, _, signal] = poll([bell, bell, signals.as_fd()], gather)?;
            if signal {
                return Ok(Woken::Stop);
            }
        }
        Ok(Woken::Work)
    }

    /// Takes in what has happened.
    fn drain(&mut self) {
        let mut news = std::mem::take(&mut self.news);
        if self.session.drain(&mut news).is_err() {
            // The loss is still there to be found the next time.
            self.drain_errors += 1;
        }
        self.hear(&mut news);
        news.changes.shrink_to(ROOM);
        news.processes.shrink_to(ROOM);
        self.news = news;
    }

    /// Counts what has happened, and keeps it for those who follow the log. Leaves nothing of it.
    pub(super) fn hear(&mut self, news: &mut News) {
        news.changes
            .iter()
            .for_each(|change| self.tally.add(change));
        self.feeds.hear(news);
    }

    fn work(&mut self, jobs: Vec<Job>) {
        let mut snapshots = Vec::new();
        for job in jobs {
            match job {
                Job::Snapshot(job) if !self.knows(&job) => {
                    let reason = "older sockets of that network namespace are not known";
                    tell([&job], &Part::Failed(reason.to_owned()));
                }
                Job::Snapshot(job) => snapshots.push(job),
                Job::Audit(audit, answer) => self.audit(audit, &answer),
                Job::Status(answer) => self.status(&answer),
                Job::Log(feed) => self.feeds.add(feed, &mut self.session),
                Job::Metrics(answer) => {
                    let sample = self.sample().map_err(|error| format!("{error:#}"));
                    // Who asked may be gone.
                    drop(answer.send(sample));
                }
            }
        }
        if !snapshots.is_empty() {
            self.snapshots(&snapshots);
        }
    }

    fn knows(&self, job: &SnapshotJob) -> bool {
        // No namespace has the number 0: it stands for all others.
        self.session.knows(job.netns.unwrap_or(0))
    }

    /// One pass for all who wait.
    fn snapshots(&mut self, jobs: &[SnapshotJob]) {
        if !self.budget.is_open() {
            tell(jobs, &Part::Busy);
            return;
        }
        // A failure leaves the doubt.
        let _ = self.session.settle();
        if self.session.health().in_doubt == Some(Doubt::Everything) {
            let reason = "events were lost, and the table is not healed yet";
            tell(jobs, &Part::Failed(reason.to_owned()));
            return;
        }
        let at = clock::ktime();
        let health = self.session.health();
        for job in jobs {
            let rows = self.session.table.len();
            let head = Head {
                ktime_ns: U64::new(at.0),
                exact_since_ns: U64::new(health.exact_since.ktime.0),
                lost: U64::new(health.lost.of_sockets()),
                netns: U32::new(job.netns.unwrap_or(0)),
                flags: U32::ZERO,
                rows_hint: U32::new(u32::try_from(rows).unwrap_or(u32::MAX)),
                holders_hint: U32::new(u32::try_from(self.holders_before).unwrap_or(u32::MAX)),
            };
            tell([job], &Part::Head(head));
        }
        if let Err(error) = self.answer(jobs) {
            tell(jobs, &Part::Failed(format!("{error:#}")));
        }
    }

    fn answer(&mut self, jobs: &[SnapshotJob]) -> Result<()> {
        let with_holders: Vec<_> = jobs.iter().filter(|job| job.wanted.holders).collect();
        let holders = if with_holders.is_empty() {
            0
        } else {
            self.holders(&with_holders)?
        };
        let mut by_netns: BTreeMap<Option<u32>, Vec<&SnapshotJob>> = BTreeMap::new();
        for job in jobs {
            by_netns.entry(job.netns).or_default().push(job);
        }
        for (netns, jobs) in by_netns {
            let [rows, rows6] = self.rows(netns, &jobs)?;
            for job in jobs {
                let count = |wanted: bool, number: usize| if wanted { number as u64 } else { 0 };
                let end = End {
                    holders: U64::new(count(job.wanted.holders, holders)),
                    rows: U64::new(count(job.wanted.tcp, rows) + count(job.wanted.tcp6, rows6)),
                };
                tell([job], &Part::End(end));
            }
        }
        Ok(())
    }

    fn holders(&mut self, jobs: &[&SnapshotJob]) -> Result<usize> {
        let mut news = News::default();
        let found = self.session.holders(&mut news)?;
        self.hear(&mut news);
        self.holders_before = found.len();
        for part in found.chunks(PART) {
            let part = part.iter().map(|&(inode, pid)| Holder {
                inode: U64::new(inode),
                pid: U32::new(pid),
                pad: U32::ZERO,
            });
            let part = Arc::new(Block::new(part.collect(), &self.budget));
            tell(jobs.iter().copied(), &Part::Holders(part));
        }
        Ok(found.len())
    }

    /// Sends the rows of a namespace, or of all; gives how many of each family were sent.
    fn rows(&mut self, netns: Option<u32>, jobs: &[&SnapshotJob]) -> Result<[usize; 2]> {
        let Self {
            session,
            budget,
            tick_ns,
            ..
        } = self;
        let mut counts = [0; 2];
        let mut parts: [Vec<Row>; 2] = Default::default();
        let send = |rows: &mut Vec<Row>, v6: bool| {
            let rows = std::mem::take(rows);
            if rows.is_empty() {
                return;
            }
            let block = Arc::new(Block::new(rows, budget));
            for job in jobs {
                let (wanted, part) = if v6 {
                    (job.wanted.tcp6, Part::Rows6(Arc::clone(&block)))
                } else {
                    (job.wanted.tcp, Part::Rows(Arc::clone(&block)))
                };
                if wanted {
                    tell([*job], &part);
                }
            }
        };
        if jobs.iter().any(|job| job.wanted.tcp || job.wanted.tcp6) {
            // What one of them wants, all get.
            let with = With {
                timers: jobs.iter().any(|job| job.wanted.timers),
                user: jobs.iter().any(|job| job.wanted.user),
            };
            session.rows_of(netns, with, |row| {
                let v6 = row.family == AF_INET6;
                let part = &mut parts[usize::from(v6)];
                if part.capacity() == 0 {
                    part.reserve_exact(PART);
                }
                part.push(wire(row, *tick_ns));
                counts[usize::from(v6)] += 1;
                if part.len() == PART {
                    send(part, v6);
                }
            })?;
        }
        let [v4, v6] = &mut parts;
        send(v4, false);
        send(v6, true);
        Ok(counts)
    }

    fn status(&mut self, answer: &Sender<Status>) {
        let mut states: BTreeMap<String, u64> = BTreeMap::new();
        for conn in self.session.table.listed() {
            *states.entry(conn.state.name().to_owned()).or_default() += 1;
        }
        let health = self.session.health();
        let now = clock::ktime();
        let status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: crate::proto::VERSION,
            pid: std::process::id(),
            uptime_ns: now.since(self.started),
            now_ns: now.0,
            exact_since_ns: health.exact_since.ktime.0,
            exact_since_wall_ns: health.exact_since.wall_ns,
            in_doubt: health.in_doubt.map(|doubt| doubt.name().to_owned()),
            sockets: self.session.table.len() as u64,
            states,
            events: self.session.events,
            lost: Losses {
                ring_full: health.lost.ring_full,
                unreadable: health.lost.unreadable,
                undecoded: health.lost.undecoded,
                skipped: health.lost.skipped,
            },
            healings: health.healings,
            audits: health.audits,
            mismatches: health.mismatches,
            gaps: health.gaps.all,
            over_budget: health.over_budget,
            drain_errors: self.drain_errors,
            second_copy: health.second_copy,
            hooks: self.hooks(),
            programs: self.programs(),
            answers_bytes: self.budget.used() as u64,
            process: process(),
            clients: Clients::default(),
        };
        // The client may be gone.
        let _ = answer.send(status);
    }

    fn hooks(&self) -> Vec<Hook> {
        let hooks = self.session.hooks.iter();
        hooks
            .map(|hook| Hook {
                program: hook.program.to_owned(),
                target: hook.target.to_owned(),
                rung: hook.rung.to_owned(),
                refused: hook.refused.clone(),
            })
            .collect()
    }

    fn programs(&self) -> Vec<Program> {
        let programs = self.session.program_costs();
        programs
            .into_iter()
            .map(|(program, cost)| Program {
                program,
                run_time_ns: cost.run_time_ns,
                run_count: cost.run_count,
                recursion_misses: cost.recursion_misses,
            })
            .collect()
    }
}

/// Marks a head for a client that is shown the holders.
pub(super) fn show_holders(head: &mut Head, shown: bool) {
    head.flags = U32::new(if shown { SEES_HOLDERS } else { 0 });
}

/// Hands a part to those who want it; who has gone away does not count.
fn tell<'a>(jobs: impl IntoIterator<Item = &'a SnapshotJob>, part: &Part) {
    for job in jobs {
        let _ = job.answer.send(part.clone());
    }
}

/// What the client is told of a row; the kernel's addresses stay here.
pub(super) fn wire(row: &SockRow, tick_ns: u64) -> Row {
    debug_assert_ne!(row.kind, ROW_GONE);
    let ticks = u64::try_from(row.timer_jiffies)
        .unwrap_or(0)
        .saturating_mul(tick_ns)
        / USER_TICK_NS;
    Row {
        inode: U64::new(row.inode),
        cookie: U64::new(row.cookie),
        saddr: row.saddr,
        daddr: row.daddr,
        uid: U32::new(row.uid),
        rx_queue: U32::new(row.rx_queue),
        tx_queue: U32::new(row.tx_queue),
        timer_ticks: U32::new(u32::try_from(ticks).unwrap_or(u32::MAX)),
        netns: U32::new(row.netns),
        sport: U16::new(row.sport),
        dport: U16::new(row.dport),
        state: row.state,
        timer: row.timer,
        retransmits: row.retransmits,
        probes: row.probes,
        kind: row.kind,
        pad: [0; 3],
    }
}

/// Which of three descriptors are ready.
fn poll(files: [BorrowedFd<'_>; 3], at_most: Duration) -> Result<[bool; 3]> {
    let mut polls = files.map(|file| libc::pollfd {
        fd: file.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    let ms = i32::try_from(at_most.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
    // SAFETY: three valid pollfds.
    if unsafe { libc::poll(polls.as_mut_ptr(), 3, ms) } < 0 {
        let error = std::io::Error::last_os_error();
        if error.kind() != ErrorKind::Interrupted {
            return Err(error).context("wait for events and clients");
        }
    }
    Ok(polls.map(|poll| poll.revents != 0))
}

/// The number after a name in a file of /proc with a line for each.
fn number_after(name: &str, text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line?.split_whitespace().next()?.parse().ok()
}

/// The agent's own cost.
pub(super) fn process() -> Process {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name| number_after(name, &status).unwrap_or(0);
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    Process {
        cpu_ns: clock::cpu_ns(),
        rss_bytes: field("VmRSS:") * 1024,
        maps_bytes: maps_bytes(),
        // Without the one that lists them.
        descriptors: (open as u64).saturating_sub(1),
        threads: field("Threads:"),
    }
}

/// What the kernel says of the memory of each BPF map that is open; a file that is closed meanwhile counts
/// nothing.
fn maps_bytes() -> u64 {
    let Ok(open) = fs::read_dir("/proc/self/fdinfo") else {
        return 0;
    };
    let texts = open.filter_map(|file| fs::read_to_string(file.ok()?.path()).ok());
    // By map, of which there may be several descriptors; a program has a `memlock` and no `map_id`.
    let maps = texts.filter_map(|text| {
        let map = number_after("map_id:", &text)?;
        Some((map, number_after("memlock:", &text)?))
    });
    maps.collect::<BTreeMap<_, _>>().values().sum()
}

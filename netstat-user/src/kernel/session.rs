//! One running tracer: the loaded object, its ring, and the table fed from it.
//!
//! The order at the start is what makes the table exact: attach first, then let the iterator write
//! the sockets that exist into the same ring, then drain. The ring is a total order over all CPUs,
//! so a socket that closes after the iterator saw it is taken out again by its own event.

use std::{
    fmt,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya_log::EbpfLogger;
use netstat_common::{
    control,
    event::{ProcEvent, TablesRecord},
    lost::Counter,
    names,
};

use crate::{
    clock,
    conn::{
        gaps::{Expected, Gaps, Older},
        table::ConnTable,
        trail::Trail,
        types::{Change, Ktime},
    },
};

use super::{
    checkup::CheckUps,
    descriptors::Descriptors,
    heal::{OLD_NS, this_moment},
    health::{Doubt, Health},
    hooks::{self, Hook},
    intake::Intake,
    listed::Lists,
    object::{Cost, Counters, Object, Purpose},
    refresh::Refresh,
    ring::Ring,
    walk::Walk,
};

/// What a drain found besides the table's own changes.
#[derive(Default)]
pub struct News {
    /// Changes of the table, in the order of the events.
    pub changes: Vec<Change>,
    /// Events about processes.
    pub processes: Vec<ProcEvent>,
}

/// Lists the TCP sockets of our namespace where the hash tables cannot be walked.
pub(super) const ITER_TCP: &str = "iter_tcp";

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
    pub(super) object: Object,
    ring: Ring,
    /// `None` where the kernel cannot loop in a program (before 5.17), or /proc was asked for.
    pub(super) refresh: Option<Refresh>,
    /// Reads a few sockets where [`Session::refresh`] is not (Linux 5.10).
    pub(super) few: Option<Refresh>,
    /// `None` where the kernel's hash tables cannot be walked (before 6.1): `iter/tcp` serves then,
    /// which sees our namespace only.
    pub(super) walk: Option<Walk>,
    pub(super) tables_found: Vec<TablesRecord>,
    pub(super) purpose: Purpose,
    /// Loaded when first asked for, or before the kernel's types are released; or why not.
    pub(super) lists: Option<Result<Lists, String>>,
    /// The table.
    pub table: ConnTable,
    /// What is attached, and what is not and why.
    pub hooks: Vec<Hook>,
    /// Inode number of our network namespace.
    pub netns: u32,
    /// Socket events taken in.
    pub events: u64,
    /// Those of our namespace.
    pub(super) events_of_ours: u64,
    /// Its doubt without those of a flood and of a healing's rest: [`Session::health`] adds them.
    pub(super) health: Health,
    pub(super) check_ups: CheckUps,
    /// CPU time in which threads have taken events in, nanoseconds.
    pub(super) taking_ns: u64,
    /// CPU time of threads that walked, nanoseconds.
    pub(super) walking_ns: u64,
    pub(super) trail: Trail,
    /// When the trail was last asked for.
    pub(super) looked_at: Option<Ktime>,
    /// When a healing was that has left something: sockets that were too young to be judged, or events
    /// of which it may have seen no effect yet. Until the rest is healed, too.
    pub(super) rest: Option<Ktime>,
    /// When an audit has left sockets that were too young to be judged.
    pub(super) recheck: Option<Ktime>,
    /// What came in while rows were read.
    pub(super) later: News,
    /// Why the ring could not be read to its end.
    deaf: Option<std::io::Error>,
    control: super::map::Mapped<u64, true>,
    /// Every change since some moment was sent, and the table was right about all states then.
    pub(super) hears_all: bool,
    /// Losses that a healing has dealt with.
    pub(super) healed: u64,
    /// Contradicting events that a comparison with the kernel has dealt with, and when the next may.
    pub(super) gaps_healed: Gaps,
    pub(super) gaps_due: Ktime,
    pub(super) pid_of_inode: Vec<(u64, u32)>,
    /// Room for the addresses of a refresh, kept from one to the next; without a table, the addresses.
    pub(super) addresses: Vec<u64>,
    /// `None` where [`Session::refresh`] is.
    pub(super) descriptors: Option<Descriptors>,
    /// Reads what the programs log, where that was asked for.
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    /// What the table does not know of the time before it because this kernel lacks something.
    pub limit: Option<String>,
}

/// What this kernel refuses, and what serves instead.
enum Limit {
    /// The refresh: /proc.
    Proc(anyhow::Error),
    /// The walk: `iter/tcp`.
    OwnNamespace(anyhow::Error),
}

impl Limit {
    fn hook(&self) -> Hook {
        let (program, rung, purpose, error) = match self {
            Self::Proc(error) => ("refresh", "/proc", "sockets older than us", error),
            Self::OwnNamespace(error) => ("walk", "iter/tcp", "sockets of all namespaces", error),
        };
        Hook {
            program,
            target: "",
            rung,
            purpose,
            refused: Some(format!("{error:#}")),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, error) = match self {
            Self::Proc(error) => (
                "older sockets and their owners are read from /proc, of this network namespace only",
                error,
            ),
            Self::OwnNamespace(error) => (
                "older sockets are known of this network namespace only",
                error,
            ),
        };
        // A verifier's log has many lines; its first says what is refused.
        let reason = format!("{error:#}");
        write!(out, "{what}: {}", reason.lines().next().unwrap_or_default())
    }
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
        // Some 50 ms of reading, beside all that is done until hooks are attached.
        let handlers = match purpose {
            Purpose::Snapshot => None,
            Purpose::Table | Purpose::Log | Purpose::Agent => Some(thread::spawn(hooks::handlers)),
        };
        let mut object = Object::new(purpose, debug)?;
        let ring = object
            .ebpf
            .take_map(names::EVENTS)
            .context("no map EVENTS")?;
        let ring = Ring::new(ring)?;
        let readers = match from {
            SeedFrom::Kernel => load_readers(&mut object).map(Some),
            SeedFrom::Proc => Ok(None),
        };
        let (readers, limit) = match readers {
            Ok(Some((refresh, fds, Ok(walk)))) => (Some((refresh, fds, Some(walk))), None),
            Ok(Some((refresh, fds, Err(error)))) => {
                (Some((refresh, fds, None)), Some(Limit::OwnNamespace(error)))
            }
            Ok(None) => (None, None),
            Err(error) if purpose == Purpose::Log => (None, Some(Limit::Proc(error))),
            Err(error) => return Err(error),
        };
        let (refresh, descriptors, walk) = match readers {
            Some((refresh, fds, walk)) => (Some(refresh), Some(fds), walk),
            None => (None, None, None),
        };
        let few = match refresh {
            // Without it some lines of the log are missing, which is no reason to have none.
            None if purpose == Purpose::Log => Refresh::of_few(&mut object).ok(),
            _ => None,
        };
        // SAFETY: words, which the programs read and write as a whole.
        let control = unsafe { object.map_memory(names::CONTROL, control::WORDS as usize)? };
        if let Some(handlers) = handlers {
            // Unknown ones are a reason to take another rung.
            let found = handlers.join().ok().and_then(Result::ok);
            object.tell_handlers(found.unwrap_or_default())?;
        }
        let mut hooks = hooks::attach(&mut object, purpose)?;
        let logger = if debug {
            Some(EbpfLogger::init(&mut object.ebpf).context("read the BPF programs' log")?)
        } else {
            None
        };
        hooks.extend(limit.as_ref().map(Limit::hook));
        let mut session = Self {
            object,
            ring,
            refresh,
            few,
            lists: None,
            walk,
            tables_found: Vec::new(),
            purpose,
            table: ConnTable::default(),
            hooks,
            netns: own_netns()?,
            events: 0,
            events_of_ours: 0,
            health: Health::default(),
            check_ups: CheckUps::default(),
            taking_ns: 0,
            walking_ns: 0,
            trail: Trail::default(),
            looked_at: None,
            rest: None,
            recheck: None,
            later: News::default(),
            deaf: None,
            control,
            hears_all: purpose == Purpose::Log,
            healed: 0,
            gaps_healed: Gaps::default(),
            gaps_due: Ktime::default(),
            pid_of_inode: Vec::new(),
            addresses: Vec::new(),
            descriptors,
            logger,
            limit: limit.map(|limit| limit.to_string()),
        };
        let mut news = News::default();
        session.seed(&mut news)?;
        session.hears()?;
        session.table.expect(session.expected());
        session.health.exact_since = this_moment();
        session.checked_now();
        session.later = news;
        if purpose != Purpose::Snapshot {
            if session.walk.is_some() {
                // The walk may fail later, when nothing can be loaded any more.
                session.object.load_iter(ITER_TCP, "tcp")?;
            }
            let Session { object, lists, .. } = &mut session;
            *lists = Some(Lists::load(object));
            session.object.release_types();
        }
        Ok(session)
    }

    /// Takes in everything that happened before the call.
    ///
    /// # Errors
    /// bpf(2), while healing after a loss.
    pub fn drain(&mut self, news: &mut News) -> Result<()> {
        news.changes.append(&mut self.later.changes);
        news.processes.append(&mut self.later.processes);
        // Before: a timer that was started again by then is in the ring, however late we are.
        let now = clock::ktime();
        self.take(news);
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        self.table.expire(now, &mut news.changes);
        let counters = self.object.counters()?;
        self.health.lost.count(&counters);
        self.health.second_copy = counters.get(Counter::SecondCopy);
        let lost = self.health.lost.of_sockets();
        if lost > self.healed {
            self.heal(news)?;
            // Losses during the healing are found the next time.
            self.healed = lost;
            // What the last of these events told of may have come to pass after we looked.
            self.rest = Some(clock::ktime());
        }
        self.heal_the_rest(news)?;
        self.audit_again(news)?;
        self.notice_flood(&counters);
        self.follow_flood(news)?;
        self.table.expect(self.expected());
        self.forget_trail();
        self.check_up(news)?;
        self.heal_gaps(news)?;
        self.health.gaps = self.table.gaps();
        self.hears()
    }

    /// Whether all events that were waited for could be read.
    fn hears(&mut self) -> Result<()> {
        let deaf = self.deaf.take().map_or(Ok(()), Err);
        deaf.context(
            "map a part of the ring of events (remedy: more memory, or a higher limit of it)",
        )
    }

    /// What the table may take for granted of this kernel's events at the moment.
    fn expected(&self) -> Expected {
        let by_timers = |hook: &Hook| {
            let of_requests = ["timer_start", "timer_cancel"].contains(&hook.program);
            of_requests && hook.refused.is_none()
        };
        Expected {
            every_change: self.purpose == Purpose::Log,
            older: match (self.can_look(), &self.walk) {
                (false, _) => Older::Unknown,
                (true, None) => Older::Of(self.netns),
                (true, Some(_)) => Older::All,
            },
            half_open: !self.in_flood() && self.hooks.iter().any(by_timers),
        }
    }

    /// How far the table can be believed, as of the last drain.
    #[must_use]
    pub fn health(&self) -> Health {
        let flood = self.in_flood().then_some(Doubt::HalfOpen);
        let rest = self.rest.map(|_| Doubt::Newest);
        Health {
            in_doubt: self.health.in_doubt.or(flood).or(rest),
            ..self.health
        }
    }

    /// How long nothing need be done about what a healing or an audit has left.
    #[must_use]
    pub fn rest_in(&self) -> Option<Duration> {
        let left = [self.rest, self.recheck].into_iter().flatten().min()?;
        let due = Ktime(left.0 + OLD_NS);
        Some(Duration::from_nanos(due.since(clock::ktime())))
    }

    /// Makes the calling thread's network namespace ours: what is listed and counted as our own.
    ///
    /// # Errors
    /// /proc is not there.
    pub fn follow_thread(&mut self) -> Result<()> {
        self.netns = own_netns()?;
        Ok(())
    }

    pub(super) fn take(&mut self, news: &mut News) {
        self.split().intake.take(news);
    }

    /// What takes in events and what walks, for two threads.
    pub(super) fn split(&mut self) -> Split<'_> {
        Split {
            intake: Intake {
                ring: &mut self.ring,
                table: &mut self.table,
                events: &mut self.events,
                events_of_ours: &mut self.events_of_ours,
                netns: self.netns,
                pid_of_inode: &mut self.pid_of_inode,
                health: &mut self.health,
                tables_found: &mut self.tables_found,
                purpose: self.purpose,
                addresses: &mut self.addresses,
                trail: &mut self.trail,
                deaf: &mut self.deaf,
                taking_ns: &mut self.taking_ns,
            },
            object: &mut self.object,
            walk: self.walk.as_mut(),
            walking_ns: &mut self.walking_ns,
        }
    }

    /// CPU time of this thread and of those that work for it, nanoseconds.
    pub(super) fn cpu_ns(&self) -> u64 {
        let reading = self.refresh.as_ref().map_or(0, Refresh::helpers_ns);
        clock::thread_cpu_ns() + self.walking_ns + reading
    }

    /// Counters of the BPF programs.
    ///
    /// # Errors
    /// bpf(2).
    pub fn counters(&self) -> Result<Counters> {
        self.object.counters()
    }

    /// What the kernel says of each program that is loaded.
    pub fn program_costs(&self) -> Vec<(String, Cost)> {
        self.object.costs()
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
        self.tell_programs(control::SLEEPS, asleep);
    }

    /// Tells the programs whether every change is wanted; [`Purpose::Log`]'s are told nothing and
    /// send all.
    ///
    /// What happens while this is called may be sent or not, and a state may be stored a moment after
    /// its event: [`Session::catch_up`] is for later.
    pub fn want_every_change(&mut self, wanted: bool) {
        if self.purpose == Purpose::Agent {
            self.hears_all = false;
            self.tell_programs(control::WANTS_ALL, wanted);
        }
    }

    /// Whether every change is sent, and each is told from the state that the socket had.
    #[must_use]
    pub fn hears_all(&self) -> bool {
        self.hears_all
    }

    /// Sets right the states that went by while only births and ends were sent. What it changes is
    /// no news to anybody who begins to listen now.
    ///
    /// # Errors
    /// bpf(2).
    pub fn catch_up(&mut self, news: &mut News) -> Result<()> {
        self.audit(news)?;
        self.hears_all = true;
        Ok(())
    }

    fn tell_programs(&mut self, word: u32, value: bool) {
        if let Some(word) = self.control.get_mut().get_mut(word as usize) {
            // SAFETY: a valid, aligned word; volatile, since BPF programs read and write it too.
            unsafe { (&raw mut *word).write_volatile(u64::from(value)) };
            std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        }
    }

    /// Whether a record waits.
    pub fn has_more(&self) -> bool {
        self.ring.has_more()
    }
}

/// The parts of a session that two threads may work with.
pub(super) struct Split<'a> {
    pub(super) intake: Intake<'a>,
    pub(super) object: &'a mut Object,
    pub(super) walk: Option<&'a mut Walk>,
    pub(super) walking_ns: &'a mut u64,
}

impl std::os::fd::AsFd for Session {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// Loads what reads sockets and descriptors of before our time: the walk, or where this kernel
/// refuses it, why, and the iterator instead.
fn load_readers(object: &mut Object) -> Result<(Refresh, Descriptors, Result<Walk>)> {
    let refresh = Refresh::new(object)?;
    let walk = Walk::new(object);
    if walk.is_err() {
        object.load_iter(ITER_TCP, "tcp")?;
    }
    let descriptors = load_fds(object)?;
    Ok((refresh, descriptors, walk))
}

/// Loads what reads the descriptors of all processes.
///
/// # Errors
/// Linux before 5.17 (no `bpf_loop`).
pub fn load_fds(object: &mut Object) -> Result<Descriptors> {
    let loaded = Descriptors::new(object);
    object.need_loops(loaded)
}

/// Says that `iter/tcp` serves instead of the walk, and why.
pub(super) fn no_walk(reason: String) -> Hook {
    Hook {
        program: "walk",
        target: "",
        rung: "iter/tcp",
        purpose: "sockets of all namespaces",
        refused: Some(reason),
    }
}

/// Inode number of the caller's network namespace.
///
/// # Errors
/// /proc is not there.
pub fn own_netns() -> Result<u32> {
    let path = "/proc/thread-self/ns/net";
    let inode = std::fs::metadata(path)
        .with_context(|| format!("read {path}"))?
        .ino();
    u32::try_from(inode).with_context(|| format!("{path} has inode {inode}"))
}

//! `netstat-bpf log`: every change of state as it happens.

mod output;
mod owners;

use std::{
    collections::HashMap,
    io::{self, IsTerminal as _},
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use netstat_common::event::{KIND_EXEC, KIND_EXIT, KIND_FORK, ProcEvent};
use time::UtcOffset;
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

use crate::{
    cli, clock,
    conn::{
        filter::Filter,
        types::{Change, Owner},
    },
    kernel::{
        health::Doubt,
        object::Purpose,
        session::{News, SeedFrom, Session},
    },
    view::{
        journal,
        log::{Line, json, json_dropped, json_flood, json_lost, text},
    },
};

use self::{
    output::{Output, Piece, Sink},
    owners::Owners,
};

use super::privilege;

/// How long events gather before they are printed.
const BATCH: Duration = Duration::from_millis(5);
/// How long the log sleeps at most; the programs wake it earlier.
const IDLE: Duration = Duration::from_millis(200);
/// Between two looks at the minisocks that may leave FIN_WAIT2 without an event.
const LOOK_EVERY_NS: u64 = 100_000_000;
/// Between two notes about a SYN flood.
const FLOOD_EVERY_NS: u64 = 1_000_000_000;
/// For so long a program's name is believed: a process may change its command line.
const NAME_HOLDS_NS: u64 = 1_000_000_000;

/// Logs until SIGINT, SIGTERM or a closed pipe.
///
/// # Errors
/// Names the right or the feature that is missing, and the remedy.
pub fn run(options: &cli::Log) -> Result<()> {
    if let Some(missing) = privilege::missing() {
        return Err(anyhow!("log: {missing}"));
    }
    // Asked for while there is one thread: later the C library cannot tell.
    let offset = UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC);
    let namespaces = options.namespaces.iter().map(|name| namespace(name));
    let filter = options.filter(namespaces.collect::<Result<_>>()?);
    let sink = options.journal.clone().map_or(Sink::Stdout, Sink::Journal);
    let format = match (&sink, options.json) {
        (Sink::Journal(_), _) => Format::Journal,
        (Sink::Stdout, true) => Format::Json,
        (Sink::Stdout, false) => Format::Text,
    };
    let output = Output::start(sink, usize::from(options.buffer) << 20)?;
    let session = Session::start(Purpose::Log, SeedFrom::Kernel, debug_wanted()).context("log")?;
    if let Some(limit) = &session.limit {
        eprintln!("netstat-bpf: {limit}");
    }
    privilege::drop_all_but_tracing()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the event loop")?;
    let mut log = Log {
        session,
        programs: HashMap::new(),
        proc_is_ours: super::live::proc_is_ours(),
        offset,
        filter,
        format,
        output,
        lines: 0,
        inferred: 0,
        healings: 0,
        lost_told: 0,
        gaps_told: false,
        kept_out: 0,
        flood_due: 0,
        owners: Owners::default(),
        later: News::default(),
        looked_at: 0,
        batch: Batch::default(),
        terminal: io::stdout().is_terminal(),
    };
    log.owners.seed(&mut log.session, &mut log.later)?;
    let ended = runtime.block_on(log.run());
    let format = log.format;
    let ended = ended.and_then(|()| log.output.finish(|lines| dropped(format, lines)));
    match ended {
        Err(error) if is_broken_pipe(&error) => Ok(()),
        Err(error) => Err(error),
        Ok(()) => {
            log.summary();
            Ok(())
        }
    }
}

/// `NETSTAT_BPF_DEBUG=1` turns on the log statements inside the BPF programs, for work on a hook:
/// they go to stderr. They cost much and are not in the loaded programs otherwise.
fn debug_wanted() -> bool {
    let wanted = std::env::var_os("NETSTAT_BPF_DEBUG").is_some_and(|value| value != "0");
    if wanted {
        env_logger::Builder::new()
            .filter_level(log::LevelFilter::Debug)
            .init();
    }
    wanted
}

/// Whether a reader has gone, which is a normal end.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    io.into_iter()
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Inode number of a network namespace, by the names that `ip netns` and `ss -N` know too.
fn namespace(name: &str) -> Result<u32> {
    if let Ok(inode) = name.parse() {
        return Ok(inode);
    }
    let path = match name {
        "self" => "/proc/thread-self/ns/net".to_owned(),
        path if path.contains('/') => path.to_owned(),
        name => format!("/run/netns/{name}"),
    };
    let found = std::fs::metadata(&path).with_context(|| format!("log: --netns {name}: {path}"))?;
    u32::try_from(found.ino()).with_context(|| format!("log: {path} is no network namespace"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
    Journal,
}

/// Lines that gather until they are handed to the output.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    entries: Vec<Vec<u8>>,
    lines: u64,
}

struct Log {
    session: Session,
    /// Program names by process id, and when they were read; forgotten at exec, and when the id is
    /// used again.
    programs: HashMap<u32, (Vec<u8>, u64)>,
    proc_is_ours: bool,
    offset: UtcOffset,
    filter: Filter,
    format: Format,
    output: Output,
    lines: u64,
    /// Among the lines those that no event told.
    inferred: u64,
    healings: u64,
    lost_told: u64,
    gaps_told: bool,
    /// Events of half-open connections over the budget that were told of, and when more may be.
    kept_out: u64,
    flood_due: u64,
    owners: Owners,
    /// What came in while owners were looked up.
    later: News,
    looked_at: u64,
    batch: Batch,
    terminal: bool,
}

impl Log {
    async fn run(&mut self) -> Result<()> {
        let mut stop = [
            signal(SignalKind::interrupt()).context("listen for SIGINT")?,
            signal(SignalKind::terminate()).context("listen for SIGTERM")?,
        ];
        let ring = self
            .session
            .as_fd()
            .try_clone_to_owned()
            .context("duplicate the ring's fd")?;
        // SAFETY: `ring` is an open descriptor that the AsyncFd owns and nobody else closes.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }
            .map_err(|error| anyhow!("poll the ring: {error}"))?;
        loop {
            self.session.announce_sleep(true);
            if !self.session.has_more() {
                let at_most = if self.session.table.has_limbo() {
                    BATCH
                } else {
                    IDLE
                };
                tokio::select! {
                    biased;
                    () = stopped(&mut stop) => break,
                    ready = ring.readable() => ready.context("poll the ring")?.clear_ready(),
                    () = sleep(at_most) => {}
                }
            }
            self.session.announce_sleep(false);
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                () = sleep(BATCH) => {}
            }
            self.turn()?;
        }
        self.turn()
    }

    fn turn(&mut self) -> Result<()> {
        let mut news = std::mem::take(&mut self.later);
        self.session.drain(&mut news)?;
        let now = clock::ktime().0;
        if now.saturating_sub(self.looked_at) >= LOOK_EVERY_NS {
            self.looked_at = now;
            self.session.look_at_half_closed(&mut news.changes)?;
        }
        for event in &std::mem::take(&mut news.processes) {
            self.process(event, &mut news.changes);
        }
        self.owners
            .correct(&mut self.session, &mut news, &mut self.later)?;
        // Ends of minisocks are told a little later than they happen.
        news.changes.sort_by_key(|change| change.at);
        self.print(&news.changes)?;
        self.report_loss()?;
        self.report_flood()?;
        self.output.check()
    }

    fn process(&mut self, event: &ProcEvent, changes: &mut [Change]) {
        match event.kind {
            KIND_FORK => {
                // The name is that of the process that had this id before.
                let past = self.programs.remove(&event.tgid);
                let name = past.as_ref().map(|(name, _)| name.as_slice());
                self.session.table.name_past_owner(event.tgid, name);
                let owners = changes
                    .iter_mut()
                    .filter_map(|change| change.conn.owner.as_mut());
                owners.for_each(|owner| owner.name_if_past(event.tgid, name));
                // The child holds what the parent holds, and the lowest process id owns.
                if event.tgid < event.parent {
                    self.session.table.owner_may_have_changed(event.parent);
                }
            }
            KIND_EXEC => {
                self.programs.remove(&event.tgid);
                self.session.table.owner_may_have_changed(event.tgid);
            }
            KIND_EXIT => {
                // Its sockets may live on with a child. The name is kept until the id is used
                // again: lines about its last sockets are still to come.
                self.session.table.owner_may_have_changed(event.tgid);
            }
            _ => {}
        }
    }

    fn print(&mut self, changes: &[Change]) -> Result<()> {
        let offset_ns = clock::wall_ns().saturating_sub(clock::ktime().0);
        for change in changes.iter() {
            if !self.filter.wants(change) {
                continue;
            }
            let program = self.program(change.conn.owner);
            if !self.filter.wants_program(&program) {
                continue;
            }
            let line = Line {
                change,
                wall_ns: change.at.0.saturating_add(offset_ns),
                offset: self.offset,
                own_netns: self.session.netns,
                program: &program,
            };
            match self.format {
                Format::Text => text(&mut self.batch.bytes, &line),
                Format::Json => json(&mut self.batch.bytes, &line),
                Format::Journal => self.batch.entries.push(journal::entry(&line)),
            }
            self.lines += 1;
            self.inferred += u64::from(change.inferred);
            self.batch.lines += 1;
            let gathered = self.batch.bytes.len() > 1 << 16 || self.batch.entries.len() > 256;
            if self.terminal || gathered {
                self.flush()?;
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        let piece = match self.format {
            Format::Text | Format::Json if !batch.bytes.is_empty() => Piece::Lines(batch.bytes),
            Format::Journal if !batch.entries.is_empty() => Piece::Entries(batch.entries),
            _ => return Ok(()),
        };
        let format = self.format;
        self.output
            .push(piece, batch.lines, |lines| dropped(format, lines))
    }

    /// Tells that something happened to the log itself.
    fn note(&mut self, text: String) -> Result<()> {
        let format = self.format;
        if format == Format::Journal {
            let piece = Piece::Entries(vec![journal::note(&text)]);
            self.output.push(piece, 1, |lines| dropped(format, lines))?;
        }
        self.output
            .push(Piece::Note(format!("netstat-bpf: {text}")), 0, |lines| {
                dropped(format, lines)
            })
    }

    fn program(&mut self, owner: Option<Owner>) -> Vec<u8> {
        let Some(owner) = owner else {
            return Vec::new();
        };
        if owner.is_past() {
            return owners::comm(owner);
        }
        let now = clock::ktime().0;
        let known = self.programs.get(&owner.pid);
        if let Some((name, _)) = known.filter(|(_, at)| now.saturating_sub(*at) < NAME_HOLDS_NS) {
            return name.clone();
        }
        // A process that has ended keeps the name that it had.
        let before = || known.map(|(name, _)| name.clone());
        let read = if self.proc_is_ours {
            owners::program(owner)
        } else {
            None
        };
        let name = read.or_else(before).unwrap_or_else(|| owners::comm(owner));
        // Bounded: forgotten as a whole rather than grown without end.
        if self.programs.len() > 1 << 16 {
            self.programs.clear();
        }
        if !name.is_empty() {
            self.programs.insert(owner.pid, (name.clone(), now));
        }
        name
    }

    fn report_loss(&mut self) -> Result<()> {
        let health = self.session.health();
        if health.healings == self.healings {
            return Ok(());
        }
        self.healings = health.healings;
        let lost = health.lost.of_sockets();
        let gaps = health.gaps.all;
        if self.format == Format::Json {
            let healed = !matches!(
                health.in_doubt,
                Some(Doubt::Everything | Doubt::OtherNamespaces)
            );
            json_lost(&mut self.batch.bytes, clock::wall_ns(), lost, gaps, healed);
            self.flush()?;
        }
        // A kernel that withholds events goes on doing so: one note, and the sum at the end.
        let known = lost == self.lost_told && self.gaps_told;
        self.lost_told = lost;
        self.gaps_told = true;
        if known {
            return Ok(());
        }
        let others = health.in_doubt == Some(Doubt::OtherNamespaces);
        let checked = match (self.session.can_look(), others) {
            (true, false) => "the table was checked against the kernel",
            (true, true) => {
                "the table was checked against the kernel's list of this network namespace; \
                 sockets of other namespaces are in doubt"
            }
            (false, false) => "the table was compared with /proc",
            (false, true) => {
                "the table was compared with /proc of this network namespace; sockets of other \
                 namespaces are in doubt"
            }
        };
        self.note(format!(
            "{lost} events lost since the start, {gaps} changes inferred: lines are missing; {checked}"
        ))
    }

    /// Tells of half-open connections that have no lines, at most once a second.
    fn report_flood(&mut self) -> Result<()> {
        let kept_out = self.session.health().over_budget;
        let now = clock::ktime().0;
        if kept_out == self.kept_out || now < self.flood_due {
            return Ok(());
        }
        self.kept_out = kept_out;
        self.flood_due = now + FLOOD_EVERY_NS;
        if self.format == Format::Json {
            json_flood(&mut self.batch.bytes, clock::wall_ns(), kept_out);
            self.flush()?;
        }
        self.note(format!(
            "SYN flood: {kept_out} events of half-open connections kept out since the start: their \
             lines are missing"
        ))
    }

    fn summary(&self) {
        let health = self.session.health();
        let lost = health.lost;
        let misses = |program| self.session.recursion_misses(program).unwrap_or(0);
        eprintln!(
            "netstat-bpf: {} events, {} lines, {} of them dropped (slow output), \
             {} of them inferred; {} gaps in all; lost: {} ring full, {} unreadable, {} undecoded, \
             {} process events; healed {} times; first copy of the state hook skipped {} times, \
             second {}, {} events came from the second only",
            self.session.events,
            self.lines,
            self.output.dropped,
            self.inferred,
            health.gaps.all,
            lost.ring_full,
            lost.unreadable,
            lost.undecoded,
            lost.process_events,
            health.healings,
            misses("tcp_state"),
            misses("tcp_state_2"),
            health.second_copy,
        );
    }
}

/// What tells the reader that lines are missing here.
fn dropped(format: Format, lines: u64) -> Vec<Piece> {
    let text = format!("{lines} lines dropped: the output does not take them fast enough");
    let mut pieces = vec![Piece::Note(format!("netstat-bpf: {text}"))];
    match format {
        Format::Text => {}
        Format::Json => {
            let mut line = Vec::new();
            json_dropped(&mut line, clock::wall_ns(), lines);
            pieces.push(Piece::Lines(line));
        }
        Format::Journal => pieces.push(Piece::Entries(vec![journal::note(&text)])),
    }
    pieces
}

async fn stopped(signals: &mut [Signal; 2]) {
    let [interrupt, terminate] = signals;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

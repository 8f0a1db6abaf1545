//! `netstat-bpf log`: every change of state as it happens.

mod alone;
mod by_agent;
mod output;

use std::{
    collections::HashMap,
    io::{self, IsTerminal as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use anyhow::{Context as _, Result};
use time::UtcOffset;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    cli, client, clock,
    conn::{
        filter::Filter,
        types::{Change, Owner},
    },
    kernel::{health::Doubt, session::own_netns},
    proc,
    view::{
        journal,
        log::{Line, json, json_dropped, json_flood, json_gap, json_lost, text},
    },
};

use self::{
    alone::Alone,
    by_agent::Ended,
    output::{Output, Piece, Sink},
};

/// Between two notes about a SYN flood.
const FLOOD_EVERY_NS: u64 = 1_000_000_000;
/// For so long a program's name is believed: a process may change its command line.
const NAME_HOLDS_NS: u64 = 1_000_000_000;
/// Names that are kept. Forgotten as a whole rather than grown without end.
const NAMES: usize = 1 << 16;

/// Logs until SIGINT, SIGTERM or a closed pipe.
///
/// # Errors
/// Names the right or the feature that is missing, and the remedy.
pub fn run(options: &cli::Log) -> Result<()> {
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
    let debug = debug_wanted();
    // Before anything is begun: what is missing is told at once.
    let feed = if options.no_agent || debug {
        None
    } else {
        by_agent::begin(debug)
    };
    let alone = match feed {
        Some(_) => None,
        None => Some(Alone::start(debug)?),
    };
    let output = Output::start(sink, usize::from(options.buffer) << 20)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the event loop")?;
    let mut log = Log {
        own_netns: own_netns()?,
        programs: HashMap::new(),
        past: HashMap::new(),
        proc_is_ours: super::live::proc_is_ours(),
        offset,
        filter,
        format,
        output,
        lines: 0,
        inferred: 0,
        lost: 0,
        healings: 0,
        lost_told: 0,
        gaps_told: false,
        kept_out: 0,
        flood_due: 0,
        batch: Batch::default(),
        terminal: io::stdout().is_terminal(),
    };
    let ended = runtime.block_on(log.run(feed, alone));
    let format = log.format;
    let ended = ended.and_then(|summary| {
        let finished = log.output.finish(|lines| dropped(format, lines));
        finished.map(|()| summary)
    });
    match ended {
        Err(error) if is_broken_pipe(&error) => Ok(()),
        Err(error) => Err(error),
        Ok(summary) => {
            log.summary(&summary);
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

/// What a source of changes has lost so far.
#[derive(Clone, Copy)]
struct Loss {
    healings: u64,
    /// Events.
    lost: u64,
    /// Changes that no event told and others prove.
    gaps: u64,
    /// What of the table could not be set right.
    in_doubt: Option<Doubt>,
    /// It was compared with the kernel's own tables.
    can_look: bool,
}

/// What a source of changes tells of itself at the end.
struct Summary {
    /// Socket events that it took in.
    events: u64,
    /// What was lost, and more.
    rest: String,
}

/// What is printed, and how; where the changes come from does not matter here.
struct Log {
    own_netns: u32,
    /// Program names by process id, and when they were read; forgotten at exec, and when the id is
    /// used again.
    programs: HashMap<u32, (Vec<u8>, u64)>,
    /// Names of processes whose id another has now, where the table cannot be told.
    past: HashMap<u32, Vec<u8>>,
    proc_is_ours: bool,
    offset: UtcOffset,
    filter: Filter,
    format: Format,
    output: Output,
    lines: u64,
    lost: u64,
    /// Among the lines those that no event told.
    inferred: u64,
    healings: u64,
    lost_told: u64,
    gaps_told: bool,
    /// Events of half-open connections over the budget that were told of, and when more may be.
    kept_out: u64,
    flood_due: u64,
    batch: Batch,
    terminal: bool,
}

impl Log {
    /// Follows the agent for as long as there is one, or the session alone.
    async fn run(&mut self, feed: Option<client::Feed>, alone: Option<Alone>) -> Result<Summary> {
        let mut stop = [
            signal(SignalKind::interrupt()).context("listen for SIGINT")?,
            signal(SignalKind::terminate()).context("listen for SIGTERM")?,
        ];
        let mut alone = alone;
        if let Some(feed) = feed {
            match by_agent::run(self, feed, &mut stop).await? {
                Ended::Stopped(summary) => return Ok(summary),
                Ended::Lost { reason, heard_ns } => {
                    let started = Alone::start(false).with_context(|| {
                        format!("log: {reason}, and the log cannot go on without the agent")
                    })?;
                    self.gap(&reason, heard_ns)?;
                    alone = Some(started);
                }
            }
        }
        let mut alone = alone.context("log: nobody tells changes")?;
        alone.run(self, &mut stop).await?;
        Ok(alone.summary())
    }

    /// Tells that nothing is known of what happened since `heard_ns` (wall time).
    fn gap(&mut self, reason: &str, heard_ns: u64) -> Result<()> {
        // Counted anew by who goes on.
        (self.lost, self.healings, self.kept_out) = (0, 0, 0);
        let now = clock::wall_ns();
        if self.format == Format::Json {
            json_gap(&mut self.batch.bytes, now, heard_ns, reason);
            self.flush()?;
        }
        let seconds = now.saturating_sub(heard_ns) as f64 / 1e9;
        self.note(format!(
            "{reason}: lines of the last {seconds:.3} s are missing; the log goes on without the agent"
        ))
    }

    /// A process is another: its name is to be read anew. Gives the one that it had.
    fn forget(&mut self, pid: u32) -> Option<Vec<u8>> {
        self.programs.remove(&pid).map(|(name, _)| name)
    }

    /// As [`Log::forget`], where only the log can keep the name of who had the id before.
    fn forget_and_keep(&mut self, pid: u32) {
        if let Some(name) = self.forget(pid) {
            if self.past.len() > NAMES {
                self.past.clear();
            }
            self.past.insert(pid, name);
        }
    }

    /// Prints changes; `offset_ns` makes wall time of the clock of the events.
    fn print(&mut self, changes: &[Change], offset_ns: u64) -> Result<()> {
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
                own_netns: self.own_netns,
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
            let past = self.past.get(&owner.pid).cloned();
            return past.unwrap_or_else(|| comm(owner));
        }
        let now = clock::ktime().0;
        let known = self.programs.get(&owner.pid);
        if let Some((name, _)) = known.filter(|(_, at)| now.saturating_sub(*at) < NAME_HOLDS_NS) {
            return name.clone();
        }
        // A process that has ended keeps the name that it had.
        let before = || known.map(|(name, _)| name.clone());
        let read = if self.proc_is_ours {
            program(owner)
        } else {
            None
        };
        let name = read.or_else(before).unwrap_or_else(|| comm(owner));
        if self.programs.len() > NAMES {
            self.programs.clear();
        }
        if !name.is_empty() {
            self.programs.insert(owner.pid, (name.clone(), now));
        }
        name
    }

    /// Tells of losses, once for each healing.
    fn report_loss(&mut self, loss: Loss) -> Result<()> {
        if loss.healings == self.healings {
            return Ok(());
        }
        (self.healings, self.lost) = (loss.healings, loss.lost);
        let Loss {
            lost,
            gaps,
            in_doubt,
            ..
        } = loss;
        if self.format == Format::Json {
            let healed = !matches!(in_doubt, Some(Doubt::Everything | Doubt::OtherNamespaces));
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
        let others = in_doubt == Some(Doubt::OtherNamespaces);
        let checked = match (loss.can_look, others) {
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
    fn report_flood(&mut self, kept_out: u64) -> Result<()> {
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

    fn summary(&self, of: &Summary) {
        eprintln!(
            "netstat-bpf: {} events, {} lines, {} of them dropped (slow output), {} of them inferred; {}",
            of.events, self.lines, self.output.dropped, self.inferred, of.rest
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

/// netstat's name of a process, from its command line; `None` if that is gone or empty.
fn program(owner: Owner) -> Option<Vec<u8>> {
    let name = proc::program_name(Path::new("/proc"), owner.pid).ok();
    name.filter(|name| !name.is_empty())
}

/// The name that the kernel knew the process by.
fn comm(owner: Owner) -> Vec<u8> {
    let end = owner.comm.iter().position(|byte| *byte == 0);
    owner.comm[..end.unwrap_or(owner.comm.len())].to_vec()
}

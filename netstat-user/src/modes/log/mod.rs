//! `netstat-bpf log`: every change of state as it happens.

mod owners;

use std::{
    collections::HashMap,
    io::{self, IsTerminal as _, Write},
    os::fd::AsFd as _,
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
    conn::types::{Change, Owner},
    kernel::{
        object::Purpose,
        session::{News, SeedFrom, Session},
    },
    view::log::{Line, json, json_lost, text},
};

use self::owners::Owners;

use super::privilege;

/// How long events gather before they are printed.
const BATCH: Duration = Duration::from_millis(5);
/// How long the log sleeps at most; the programs wake it earlier.
const IDLE: Duration = Duration::from_millis(200);
/// Between two looks at the minisocks that may leave FIN_WAIT2 without an event.
const LOOK_EVERY_NS: u64 = 100_000_000;

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
    let session = Session::start(Purpose::Log, SeedFrom::Kernel, debug_wanted()).context("log")?;
    privilege::drop_all_but_tracing()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the event loop")?;
    let mut log = Log {
        session,
        programs: HashMap::new(),
        names_are_global: proc_shows_all_processes(),
        offset,
        json: options.json,
        lines: 0,
        healings: 0,
        owners: Owners::default(),
        later: News::default(),
        looked_at: 0,
        batch: Vec::new(),
        terminal: io::stdout().is_terminal(),
    };
    log.owners.seed(&mut log.session, &mut log.later)?;
    let ended = runtime.block_on(log.run());
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

/// Whether process ids of the kernel (the initial PID namespace) mean the same in our /proc.
fn proc_shows_all_processes() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    /// Inode of the initial PID namespace, fixed in the kernel (`PROC_PID_INIT_INO`).
    const INITIAL: u64 = 0xeffffffc;
    let initial = std::fs::metadata("/proc/self/ns/pid").is_ok_and(|ns| ns.ino() == INITIAL);
    initial && super::live::proc_is_ours()
}

struct Log {
    session: Session,
    /// Program names by process id, forgotten at exec and exit.
    programs: HashMap<u32, Vec<u8>>,
    names_are_global: bool,
    offset: UtcOffset,
    json: bool,
    lines: u64,
    healings: u64,
    owners: Owners,
    /// What came in while owners were looked up.
    later: News,
    looked_at: u64,
    batch: Vec<u8>,
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
        for event in &news.processes {
            self.process(event);
        }
        self.owners
            .correct(&mut self.session, &mut news, &mut self.later)?;
        // Ends of minisocks are told a little later than they happen.
        news.changes.sort_by_key(|change| change.at);
        self.print(&news.changes)?;
        self.report_loss()
    }

    fn process(&mut self, event: &ProcEvent) {
        match event.kind {
            KIND_FORK => {
                self.programs.remove(&event.tgid);
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
        for change in changes {
            let program = self.program(change.conn.owner);
            let line = Line {
                change,
                wall_ns: change.at.0.saturating_add(offset_ns),
                offset: self.offset,
                own_netns: self.session.netns,
                program: &program,
            };
            if self.json {
                json(&mut self.batch, &line);
            } else {
                text(&mut self.batch, &line);
            }
            self.lines += 1;
            if self.terminal || self.batch.len() > 1 << 16 {
                self.flush()?;
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        if !self.batch.is_empty() {
            let mut out = io::stdout().lock();
            out.write_all(&self.batch)
                .and_then(|()| out.flush())
                .context("write the log")?;
            self.batch.clear();
        }
        Ok(())
    }

    fn program(&mut self, owner: Option<Owner>) -> Vec<u8> {
        let Some(owner) = owner else {
            return Vec::new();
        };
        if let Some(known) = self.programs.get(&owner.pid) {
            return known.clone();
        }
        let name = owners::program(owner, self.names_are_global);
        // Bounded: forgotten as a whole rather than grown without end.
        if self.programs.len() > 1 << 16 {
            self.programs.clear();
        }
        if !name.is_empty() {
            self.programs.insert(owner.pid, name.clone());
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
        if self.json {
            json_lost(&mut self.batch, clock::wall_ns(), lost);
            self.flush()?;
        }
        eprintln!(
            "netstat-bpf: {lost} events lost since the start: lines are missing; \
             the table was checked against the kernel"
        );
        Ok(())
    }

    fn summary(&self) {
        let health = self.session.health();
        let lost = health.lost;
        let misses = |program| self.session.recursion_misses(program).unwrap_or(0);
        eprintln!(
            "netstat-bpf: {} events, {} lines; lost: {} ring full, {} unreadable, {} undecoded, \
             {} process events; healed {} times; first copy of the state hook skipped {} times, \
             second {}, {} events came from the second only",
            self.session.events,
            self.lines,
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

async fn stopped(signals: &mut [Signal; 2]) {
    let [interrupt, terminate] = signals;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

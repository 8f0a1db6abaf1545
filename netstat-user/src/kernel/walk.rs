//! The walk over the kernel's hash tables: the TCP sockets of all network namespaces.

use std::{
    collections::BTreeMap,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use anyhow::{Context as _, Result, bail};
use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun as _};
use netstat_common::{
    event::TablesRecord,
    names,
    walk::{BROKEN, DONE, LISTENER_MARKERS, WalkState},
};

use crate::clock;

use super::{
    map::Mapped,
    object::Object,
    session::{News, Session, Split},
};

/// Runs without getting on after which the walk is given up: a chain that is longer than the ring,
/// or one that never stands still.
const PATIENCE: u32 = 1000;

/// What walking says before [`Walk::new`]: a defect of ours.
const NOT_LOADED: &str = "the walk is not loaded";

/// Names of the programs that walk a table.
const PROGRAMS: [&str; 2] = ["walk_cast", "walk"];

/// The programs' parameters and results.
pub struct Walk {
    program: &'static str,
    state: Mapped<WalkState, true>,
}

impl Walk {
    /// Loads the programs.
    ///
    /// # Errors
    /// Linux before 6.1, whose namespaces do not name their tables; or mmap(2).
    pub fn new(object: &mut Object) -> Result<Self> {
        if !object.knows_tables {
            bail!(
                "this kernel's BTF does not tell where a namespace's TCP hash tables are (6.1 does)"
            );
        }
        object.load_raw("walk_nets")?;
        let program = object.load_either(PROGRAMS, |object, program| object.load_raw(program))?;
        // SAFETY: one element, every byte pattern of which is valid; the programs write it only
        // while they run, which they do inside `run`.
        let state = unsafe { object.map_memory(names::WALK, 1)? };
        Ok(Self { program, state })
    }
}

/// Runs a program on a state, which it finds in `memory` and changes there.
fn run(program: &RawTracePoint, memory: &mut [WalkState], state: WalkState) -> Result<WalkState> {
    let memory = memory.first_mut().context("map WALK is empty")?;
    *memory = state;
    program.test_run(RawTracePointRunOptions::new())?;
    // SAFETY: as in `Walk::new`; volatile, since the kernel has written it.
    Ok(unsafe { (&raw const *memory).read_volatile() })
}

/// Goes on with a program until it is through a table or cannot; hands over the state after each
/// run.
fn run_on(
    program: &RawTracePoint,
    memory: &mut [WalkState],
    mut state: WalkState,
    done: &SyncSender<Result<WalkState>>,
) {
    loop {
        // Where the last run stood, another object may be by now: the chain is walked again.
        state.node = 0;
        let result = run(program, memory, state);
        let more = result
            .as_ref()
            .ok()
            .filter(|state| ![DONE, BROKEN].contains(&state.status))
            .copied();
        if done.send(result).is_err() {
            return;
        }
        match more {
            Some(more) => state = more,
            None => return,
        }
    }
}

/// How far a table's runs have come.
struct Progress {
    /// The bucket that the next run starts at.
    bucket: u32,
    /// Runs in a row that did not get past it.
    stuck: u32,
}

impl Progress {
    /// Before the first run.
    const fn before(first: &WalkState) -> Self {
        Self {
            bucket: first.next,
            stuck: 0,
        }
    }

    /// Whether the run that left this state was the last.
    ///
    /// # Errors
    /// A table that cannot be read, or one whose chain never stands still.
    fn is_through(&mut self, state: &WalkState) -> Result<bool> {
        match state.status {
            DONE => return Ok(true),
            BROKEN => bail!("a TCP hash table of the kernel cannot be read"),
            _ => {}
        }
        let bucket = self.bucket;
        self.stuck = if state.next == bucket {
            self.stuck + 1
        } else {
            0
        };
        if self.stuck > PATIENCE {
            bail!(
                "bucket {bucket} of a TCP hash table never stood still (status {}, {} sockets, \
                 {} chains walked again)",
                state.status,
                state.found,
                state.again
            );
        }
        self.bucket = state.next;
        Ok(false)
    }
}

/// Takes in what the first run found, and each after it, until the last.
fn follow(
    mut progress: Progress,
    runs: Receiver<Result<WalkState>>,
    mut take: impl FnMut(),
) -> Result<()> {
    take();
    for state in runs {
        let state = state?;
        take();
        if progress.is_through(&state)? {
            return Ok(());
        }
    }
    bail!("a thread that walks the TCP hash tables died")
}

impl Session {
    /// Notes every TCP socket that is `only` of this kind (`ONLY_*` bits; 0: all of them).
    ///
    /// # Errors
    /// bpf(2), or a table that cannot be walked.
    pub(super) fn walk(&mut self, only: u32, news: &mut News) -> Result<()> {
        let tables = self.tables(news)?;
        let mut listeners = None;
        for table in tables.values() {
            self.walk_table(
                WalkState {
                    buckets: table.connections,
                    stride: 8,
                    count: table.connections_mask.wrapping_add(1),
                    only,
                    ..WalkState::default()
                },
                news,
            )?;
            // Namespaces with connections of their own share the listeners.
            if listeners.replace(table.listeners) != Some(table.listeners) {
                let (stride, head) = self.object.listener_bucket;
                self.walk_table(
                    WalkState {
                        buckets: table.listeners.wrapping_add(head),
                        stride,
                        count: table.listeners_mask.wrapping_add(1),
                        marker_base: LISTENER_MARKERS,
                        only,
                        ..WalkState::default()
                    },
                    news,
                )?;
            }
        }
        Ok(())
    }

    /// The hash tables of all namespaces, by address.
    fn tables(&mut self, news: &mut News) -> Result<BTreeMap<u64, TablesRecord>> {
        for _ in 0..PATIENCE {
            self.tables_found.clear();
            let state = self.run_walk("walk_nets", WalkState::default())?;
            self.take(news);
            match state.status {
                DONE => {
                    let found = self.tables_found.drain(..);
                    return Ok(found.map(|table| (table.connections, table)).collect());
                }
                BROKEN => bail!("the kernel's list of network namespaces cannot be followed"),
                _ => {}
            }
        }
        bail!("the ring was full whenever the network namespaces were listed")
    }

    /// Walks a table; what one run has found is taken in during the next.
    fn walk_table(&mut self, first: WalkState, news: &mut News) -> Result<()> {
        let Split {
            mut intake,
            object,
            walk,
            walking_ns,
        } = self.split();
        let walk = walk.context(NOT_LOADED)?;
        let name = walk.program;
        let program = &*object.raw(name)?;
        let memory = walk.state.get_mut();
        // Most tables are through after one run, for which a thread would not pay.
        let mut progress = Progress::before(&first);
        let begun = run(program, memory, first).and_then(|state| {
            let through = progress.is_through(&state)?;
            Ok((state, through))
        });
        let (begun, through) = begun.with_context(|| format!("run {name}"))?;
        if through {
            intake.take(news);
            return Ok(());
        }
        thread::scope(|scope| {
            // Without room: a walk is one run ahead at most.
            let (done, runs) = sync_channel(0);
            let work = move || {
                run_on(program, memory, begun, &done);
                clock::thread_cpu_ns()
            };
            let walker = thread::Builder::new()
                .spawn_scoped(scope, work)
                .context("start a thread that walks the TCP hash tables")?;
            let walked = follow(progress, runs, || intake.take(news));
            let walked = walked.with_context(|| format!("run {name}"));
            *walking_ns += walker.join().unwrap_or(0);
            walked
        })
    }

    fn run_walk(&mut self, program: &str, state: WalkState) -> Result<WalkState> {
        let Split { object, walk, .. } = self.split();
        let walk = walk.context(NOT_LOADED)?;
        run(object.raw(program)?, walk.state.get_mut(), state)
            .with_context(|| format!("run {program}"))
    }
}
